//! Collects prose: the words of comments, string literals and documents, with their lines.

use super::rust_text::{Kind, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Comment,
    Literal,
    Document,
}

/// One text: consecutive comment lines, a literal, or a document.
#[derive(Debug)]
pub struct Prose {
    pub written: Written,
    /// In lower case, with their lines.
    pub words: Vec<(usize, String)>,
}

impl Prose {
    /// Whether the words from `at` on are those of the phrase.
    pub fn has_at(&self, at: usize, phrase: &str) -> bool {
        let mut words = self.words[at..].iter().map(|(_, word)| word);
        phrase.split(' ').all(|expected| words.next().is_some_and(|word| word == expected))
    }

    /// The lines of "is no" and "are no" with the next word, except after "there".
    pub fn after_is_no(&self) -> Vec<(usize, &str)> {
        let word = |at: usize| self.words.get(at).map_or("", |(_, word)| word);
        let begins = (0..self.words.len()).filter(|&at| {
            let is_after_there = at > 0 && word(at - 1) == "there";
            matches!(word(at), "is" | "are") && word(at + 1) == "no" && !is_after_there
        });
        begins.map(|at| (self.words[at].0, word(at + 2))).collect()
    }
}

pub fn of_rust(tokens: &[Token<'_>]) -> Vec<Prose> {
    let mut prose: Vec<Prose> = Vec::new();
    // The line after the last comment, if no other token followed it.
    let mut next_line = None;
    for token in tokens {
        let written = match token.kind {
            Kind::Comment => Written::Comment,
            Kind::Literal => Written::Literal,
            Kind::Identifier => {
                next_line = None;
                continue;
            }
        };
        let words = words(token.text, token.line);
        let continues = written == Written::Comment && next_line == Some(token.line);
        match prose.last_mut().filter(|_| continues) {
            Some(last) => last.words.extend(words),
            None => prose.push(Prose { written, words }),
        }
        next_line = (written == Written::Comment).then(|| token.line + token.text.matches('\n').count() + 1);
    }
    prose
}

pub fn of_document(text: &str) -> Prose {
    Prose { written: Written::Document, words: words(text, 1) }
}

/// `_` is part of a word, so that a name in code is one word.
fn words(text: &str, first_line: usize) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate();
    let words = lines.flat_map(|(at, line)| {
        // The `n` of an escape is not part of the next word.
        let line = line.replace("\\n", " ").to_lowercase();
        let words: Vec<String> =
            line.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
        words.into_iter().map(move |word| (first_line + at, word))
    });
    words.filter(|(_, word)| !word.is_empty()).collect()
}
