//! Text that must not be printed.

use std::borrow::Cow;
use std::fmt;

/// A text that prints as `…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text so that it is not printed by accident.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself. Use it only in the call that needs it, never in a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Masks what may be secret in the URLs of a text: user and password, query and fragment. `https://u:p@host/a?key=k`
/// becomes `https://…@host/a?…`. Only URLs of the web are looked for: a key in a bucket may hold a `?`.
#[must_use]
pub(crate) fn masked_urls(text: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(start) = next_url(rest) {
        let (before, url) = rest.split_at(start);
        masked.push_str(before);
        // A password may have quotation marks and brackets, which end a URL elsewhere.
        let authority = url.find(|c: char| c.is_whitespace() || "/?#".contains(c)).unwrap_or(url.len());
        let url = url[..authority].rfind('@').map_or(url, |at| {
            masked.push_str("…@");
            &url[at + 1..]
        });
        let end = url.find(|c: char| c.is_whitespace() || "\"'`<>()".contains(c)).unwrap_or(url.len());
        mask_url(&url[..end], &mut masked);
        rest = &url[end..];
    }
    if masked.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

/// Where the part behind `http://` or `https://` begins.
fn next_url(text: &str) -> Option<usize> {
    let ends_with = |text: &str, scheme: &str| {
        let start = text.len().checked_sub(scheme.len());
        start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(scheme))
    };
    let mut marks = text.match_indices("://");
    marks
        .find(|(at, _)| ends_with(&text[..*at], "http") || ends_with(&text[..*at], "https"))
        .map(|(at, _)| at + 3)
}

/// Masks a URL without its scheme, user and password.
fn mask_url(url: &str, masked: &mut String) {
    let path = url.find(['/', '?', '#']).unwrap_or(url.len());
    let (host, path) = url.split_at(path);
    masked.push_str(host);
    match path.find(['?', '#']) {
        // Nothing follows: the mark of a question behind a URL, as in `did you mean …?`.
        Some(at) if at + 1 < path.len() => {
            masked.push_str(&path[..=at]);
            masked.push('…');
        }
        _ => masked.push_str(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_password_query_and_fragment_of_urls_are_masked() {
        for (text, masked) in [
            ("https://user:pass@host:1/a/b?key=k#f", "https://…@host:1/a/b?…"),
            (
                "at HTTP://tok@en@host, twice: (http://h/?x=1) \"https://h#f\"",
                "at HTTP://…@host, twice: (http://h/?…) \"https://h#…\"",
            ),
            ("https://u:it's@host/a'", "https://…@host/a'"),
            ("(https://u:a)`\"<b>@host)", "(https://…@host)"),
            ("'https://host', 'a@b'", "'https://host', 'a@b'"),
            ("https://host/a@b and s3://bucket/a?b", "https://host/a@b and s3://bucket/a?b"),
            ("https://host?a=https://u:p@x", "https://host?…"),
            ("did you mean https://host/?", "did you mean https://host/?"),
            ("no url: user:pass@host?", "no url: user:pass@host?"),
        ] {
            assert_eq!(masked_urls(text), masked);
            assert_eq!(masked_urls(masked), masked);
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hush");
        assert_eq!(format!("{secret} {secret:?}"), "… …");
    }
}
