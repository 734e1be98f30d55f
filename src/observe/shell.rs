//! Quotes external names in the shell commands that the page shows.

/// Returns `text` as one word of a POSIX shell command, quoted if necessary.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

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
}
