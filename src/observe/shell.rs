//! Quotes external names in the shell commands that the page shows.

use crate::domain::foreign::cleaned;

/// Returns `text` as one word of a POSIX shell command, quoted if necessary.
///
/// A name with control or invisible characters is written with escapes, which are in POSIX since 2024 and in all
/// usual shells: it must stay exact to be found, and harmless where it is pasted.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else if cleaned(text) != text {
        format!("$'{}'", text.bytes().map(escaped).collect::<String>())
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
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
pub(super) const UNPACK: &str = "gzip -dcf";

/// Returns ` --region eu-central-1`, to be appended to an `aws` command.
pub(super) fn in_region(region: &str) -> String {
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

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        assert_eq!(quoted("a\n\u{1b}'\\b"), r"$'a\012\033\047\134b'");
        assert_eq!(quoted("\u{202e}x"), r"$'\342\200\256x'");
    }
}
