//! Quotes external names in the shell commands that pages show.

use super::foreign::cleaned;

/// Returns `text` as one word of a POSIX shell command, quoted if necessary.
///
/// A name with control or invisible characters is written with escapes, which are in POSIX since 2024 and in all
/// usual shells: it must stay exact to be found, and harmless where it is pasted.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else if cleaned(text) != text {
        format!("$'{}'", text.bytes().map(escaped).collect::<String>())
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns `command` with names in the place of their placeholders, each quoted as its place needs it: as a
/// part of a word, within single quotes, or in a comment. Within double quotes, where a shell would interpret a name, and
/// where a name cannot be written, the placeholder stays.
///
/// A placeholder is a whole word of capitals, digits and `_`.
#[must_use]
pub fn filled(command: &str, name_of: impl Fn(&str) -> Option<String>) -> String {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let (mut filled, mut place, mut rest) = (String::with_capacity(command.len()), Place::Bare, command);
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            place = place.after(first, filled.chars().next_back());
            filled.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        let is_placeholder = !word.chars().any(|c| c.is_ascii_lowercase());
        let name = if is_placeholder { name_of(word) } else { None };
        filled.push_str(&name.and_then(|name| place.written(&name)).unwrap_or_else(|| word.to_owned()));
        rest = after;
    }
    filled
}

/// Where in a command a character is.
#[derive(Clone, Copy)]
enum Place {
    Bare,
    SingleQuotes,
    DoubleQuotes,
    Comment,
}

impl Place {
    const fn after(self, c: char, before: Option<char>) -> Self {
        match (self, c) {
            (Self::Bare, '\'') => Self::SingleQuotes,
            (Self::Bare, '"') => Self::DoubleQuotes,
            (Self::Bare, '#') if matches!(before, None | Some(' ' | '\n')) => Self::Comment,
            (Self::SingleQuotes, '\'') | (Self::DoubleQuotes, '"') | (Self::Comment, '\n') => Self::Bare,
            (same, _) => same,
        }
    }

    fn written(self, name: &str) -> Option<String> {
        let is_harmless = cleaned(name) == name;
        match self {
            Self::Bare => Some(quoted(name)),
            Self::SingleQuotes => is_harmless.then(|| name.replace('\'', r"'\''")),
            Self::Comment => is_harmless.then(|| name.to_owned()),
            Self::DoubleQuotes => None,
        }
    }
}

fn escaped(byte: u8) -> String {
    match byte {
        b' '..=b'~' if !b"'\\".contains(&byte) => char::from(byte).to_string(),
        // Three octal digits: `\x` may take more than two in some shells.
        _ => format!("\\{byte:03o}"),
    }
}

/// Unpacks gzip in a pipe, and lets everything else through (GNU and BSD gzip, `-f` with `-c`).
pub const UNPACK: &str = "gzip -dcf";

/// Returns ` --region eu-central-1`, to be appended to an `aws` command.
#[must_use]
pub fn in_region(region: &str) -> String {
    format!(" --region {}", quoted(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_a_shell_would_interpret_is_quoted() {
        assert_eq!(quoted("s3://b/a%20b"), "s3://b/a%20b");
        assert_eq!(quoted("it's; rm -rf"), r"'it'\''s; rm -rf'");
        assert_eq!(quoted(""), "''");
    }

    fn fill(command: &str, name: &str) -> String {
        filled(command, |placeholder| (placeholder == "NAME").then(|| name.to_owned()))
    }

    #[test]
    fn a_name_takes_the_place_of_its_placeholder_only() {
        assert_eq!(fill("ls s3://NAME/x --NAMES OTHER", "logs"), "ls s3://logs/x --NAMES OTHER");
    }

    #[test]
    fn a_name_is_quoted_as_its_place_needs_it() {
        const EVIL: &str = "a'; rm -rf /";
        assert_eq!(fill("cat NAME.txt", EVIL), r"cat 'a'\''; rm -rf /'.txt");
        assert_eq!(fill("q 'FROM `NAME`' NAME", EVIL), r"q 'FROM `a'\''; rm -rf /`' 'a'\''; rm -rf /'");
        assert_eq!(
            fill("# account NAME\nls NAME", "the probe's"),
            "# account the probe's\nls 'the probe'\\''s'"
        );
    }

    #[test]
    fn a_name_that_cannot_be_written_safely_leaves_its_placeholder() {
        assert_eq!(fill("echo \"NAME\"", "$(reboot)"), "echo \"NAME\"");
        assert_eq!(fill("q 'NAME'", "a\nb"), "q 'NAME'");
        assert_eq!(fill("# NAME", "a\nreboot"), "# NAME");
    }

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        assert_eq!(quoted("a\n\u{1b}'\\b"), r"$'a\012\033\047\134b'");
        assert_eq!(quoted("\u{202e}x"), r"$'\342\200\256x'");
    }
}
