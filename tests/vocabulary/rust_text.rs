//! Splits Rust source into identifiers, comments and literals. Handles raw strings, nested comments, and
//! quotes that begin a character or a lifetime.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Identifier,
    Comment,
    /// A string of any sort, or a character; with its quotes.
    Literal,
}

#[derive(Debug)]
pub struct Token<'a> {
    pub kind: Kind,
    /// Counted from 1.
    pub line: usize,
    pub text: &'a str,
}

/// In the order of the source, without punctuation and numbers.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = if let Some(length) = comment(rest) {
            (Some(Kind::Comment), length)
        } else if let Some(length) = literal(rest) {
            (Some(Kind::Literal), length)
        } else if is_of_a_name(first) {
            let length = rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len());
            ((!first.is_ascii_digit()).then_some(Kind::Identifier), length)
        } else {
            (None, first.len_utf8())
        };
        let (text, after) = rest.split_at(length);
        if let Some(kind) = kind {
            tokens.push(Token { kind, line, text });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment that `text` begins with. Block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// The length of the string or character that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| text.starts_with(prefix))?;
    let rest = &text[prefix.len()..];
    let length = if prefix.ends_with('r') { raw(rest)? } else { quoted(rest)? };
    Some(prefix.len() + length)
}

/// After the `r`. Without a quote behind its hashes it is a raw identifier, such as `r#type`.
fn raw(text: &str) -> Option<usize> {
    let hashes = text.find(|c| c != '#')?;
    let body = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len()))
}

fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if quote == '\'' {
        // One character and a quote, or an escape; all else that begins with a quote is a lifetime.
        let mut following = text.chars().skip(1);
        let is_character = following.next()? == '\\' || following.next() == Some('\'');
        if !is_character {
            return None;
        }
    }
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

#[test]
fn only_code_holds_identifiers() {
    let source = r####"
        /* /* sweep */ look */ let first = r#"sweep "quoted" "#; // look
        let second: &'static [u8] = b"sweep \" look"; let third = ['\'', '"', '/'];
        r#fourth("//", br"\", fifth)
    "####;
    let found: Vec<_> = tokens(source)
        .into_iter()
        .filter(|token| token.kind == Kind::Identifier)
        .map(|token| token.text)
        .collect();
    let expected = ["let", "first", "let", "second", "static", "u8", "let", "third", "r", "fourth", "fifth"];
    assert_eq!(found, expected);
}

#[test]
fn a_token_knows_its_line() {
    let source = "a\n/* b\n */ \"c\n\" d";
    let lines: Vec<_> = tokens(source).iter().map(|token| token.line).collect();
    assert_eq!(lines, [1, 2, 3, 4]);
}
