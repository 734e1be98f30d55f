//! The piece of regular expressions that the sandbox's BigQuery understands: letters, digits, `[0-9a-f]`,
//! `{n}` after either, and one group in parentheses. All else is refused.

/// What a text must look like, and which part of it counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Which letters may follow each other.
    letters: Vec<Vec<char>>,
    /// Which of them are the group.
    group: (usize, usize),
}

impl Pattern {
    /// # Errors
    /// The message that BigQuery's `invalidQuery` would carry.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("Cannot parse regular expression here: {text}");
        let mut letters: Vec<Vec<char>> = Vec::new();
        let (mut from, mut to) = (None, None);
        let mut rest = text.chars();
        while let Some(letter) = rest.next() {
            match letter {
                '(' if from.is_none() => from = Some(letters.len()),
                ')' if from.is_some() && to.is_none() => to = Some(letters.len()),
                '[' => letters.push(set(&until(&mut rest, ']').ok_or_else(wrong)?).ok_or_else(wrong)?),
                '{' => {
                    let times: usize =
                        until(&mut rest, '}').and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
                    let last = letters.pop().filter(|_| (1..=64).contains(&times)).ok_or_else(wrong)?;
                    letters.extend(vec![last; times]);
                }
                letter if letter.is_ascii_alphanumeric() => letters.push(vec![letter]),
                _ => return Err(wrong()),
            }
        }
        let group = from.zip(to).filter(|_| !letters.is_empty()).ok_or_else(wrong)?;
        Ok(Self { letters, group })
    }

    /// The group of each match, none of which overlap.
    pub(super) fn groups(&self, text: &str) -> Vec<String> {
        let text: Vec<char> = text.chars().collect();
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(window) = text.get(at..at + self.letters.len()) {
            let matches = window.iter().zip(&self.letters).all(|(letter, set)| set.contains(letter));
            if matches {
                found.push(window[self.group.0..self.group.1].iter().collect());
            }
            at += if matches { self.letters.len() } else { 1 };
        }
        found
    }
}

fn until(letters: &mut impl Iterator<Item = char>, end: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match letters.next()? {
            letter if letter == end => return Some(text),
            letter => text.push(letter),
        }
    }
}

/// The letters of `0-9a-f`.
fn set(text: &str) -> Option<Vec<char>> {
    let text: Vec<char> = text.chars().collect();
    let (mut letters, mut at) = (Vec::new(), 0);
    while let Some(first) = text.get(at) {
        match (text.get(at + 1), text.get(at + 2)) {
            (Some('-'), Some(last)) => {
                letters.extend(*first..=*last);
                at += 3;
            }
            _ => {
                letters.push(*first);
                at += 1;
            }
        }
    }
    letters.iter().all(char::is_ascii_alphanumeric).then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_every_match_counts() {
        let pattern = Pattern::parse("zq[12][0-9a-f]{2}([0-9a-f]{3})").unwrap();
        assert_eq!(pattern.groups("zqzq1abc0fzq3 zq200123"), ["c0f", "123"]);
        assert!(pattern.groups("zq1abc0").is_empty());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in
            ["", "a", "(a", "a)", "(a)*", "(.)", "([^a])", "(a{x})", "({3})", "(a{9999})", "([a", "(a)(b)"]
        {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
