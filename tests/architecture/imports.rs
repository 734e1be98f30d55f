//! Which folders of `src/` a file imports, read from its tokens.
//!
//! A text search for `crate::` misses `super::super::web`, a nested group, and whatever follows the tests of
//! a file. So the text is split into tokens, `super::` is resolved against the module that it stands in, and
//! only items under `#[cfg(test)]` are left out: tests may import anything.

use std::collections::BTreeSet;
use std::path::Path;

/// Stands for a path that would import everything at once, such as `use crate::*`.
pub(crate) const EVERYTHING: &str = "*";

/// The first names of all paths that begin at the root of the crate: `domain` for `crate::domain::time`.
pub(crate) fn of_file(file: &Path, text: &str) -> BTreeSet<String> {
    let mut reader = Reader { tokens: tokens(text), at: 0, module: module_of(file), found: BTreeSet::new() };
    reader.read();
    reader.found
}

/// `["web", "view", "lane"]` for `src/web/view/lane.rs`, nothing for `src/lib.rs`.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").expect("only files of src/ are read").with_extension("");
    let mut module: Vec<_> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    module.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    module
}

/// Words and punctuation, `::` in one piece. Comments, literals and lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string_len(rest),
            '\'' => quote_len(rest),
            ':' if rest.starts_with("::") => 2,
            first if first.is_alphabetic() || first == '_' => {
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                raw_string_len(&rest[..word], &rest[word..]).map_or(word, |string| word + string)
            }
            first => first.len_utf8(),
        };
        let token = &rest[..taken];
        let is_left_out =
            token.starts_with(['"', '\'']) || token.contains(['"', '\n']) || token.starts_with("//");
        if !is_left_out && !token.starts_with("/*") && !token.trim().is_empty() {
            tokens.push(token.to_owned());
        }
        rest = &rest[taken..];
    }
    tokens
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The rest of `r"…"`, `r#"…"#` or `br"…"` after its prefix.
fn raw_string_len(prefix: &str, text: &str) -> Option<usize> {
    if !matches!(prefix, "r" | "br" | "cr") {
        return None;
    }
    let hashes = text.len() - text.trim_start_matches('#').len();
    let body = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len()))
}

/// A character in quotes, or a lifetime.
fn quote_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            text[after..].find('\'').map_or(text.len(), |end| after + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1 + text[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - 1),
    }
}

struct Reader {
    tokens: Vec<String>,
    at: usize,
    /// The module in which the next token stands.
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Reader {
    fn next_are(&self, expected: &[&str]) -> bool {
        self.tokens[self.at..].iter().zip(expected).filter(|(token, wanted)| token == wanted).count()
            == expected.len()
    }

    fn token(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn read(&mut self) {
        // Braces that are open, and whether each is the body of a module.
        let mut open: Vec<bool> = Vec::new();
        while self.at < self.tokens.len() {
            if self.next_are(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.at += 7;
                self.skip_item();
                continue;
            }
            let named = self.tokens.get(self.at + 1).cloned().unwrap_or_default();
            if self.token() == "mod" && self.tokens.get(self.at + 2).is_some_and(|token| token == "{") {
                self.module.push(named);
                open.push(true);
                self.at += 3;
                continue;
            }
            match self.token() {
                "{" => open.push(false),
                "}" if open.pop() == Some(true) => {
                    self.module.pop();
                }
                "crate" | "traceprobe" if named == "::" || named == "as" => self.path(Vec::new()),
                "super" if named == "::" || named == "as" => {
                    let parent = self.module[..self.module.len().saturating_sub(1)].to_vec();
                    self.path(parent);
                }
                "self" if named == "::" => self.path(self.module.clone()),
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Skips to the end of the next item: its closing brace, or the semicolon or comma before any brace.
    fn skip_item(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            match self.token() {
                "(" | "[" | "{" => depth += 1,
                "}" if depth == 0 => return,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let ends = depth == 0 && matches!(self.token(), "}" | ";" | ",");
            self.at += 1;
            if ends {
                return;
            }
        }
    }

    /// Follows a path from `base`, which the current token names. Ends on the path's last token.
    fn path(&mut self, mut base: Vec<String>) {
        if self.tokens[self.at + 1] == "as" {
            self.record(&base, EVERYTHING);
            return;
        }
        self.at += 2;
        while self.next_are(&["super", "::"]) {
            base.pop();
            self.at += 2;
        }
        self.tree(&base);
    }

    fn tree(&mut self, base: &[String]) {
        if self.token() != "{" {
            let name = self.token().to_owned();
            self.record(base, &name);
            return;
        }
        self.at += 1;
        while !matches!(self.token(), "}" | "") {
            match self.token() {
                "," => self.at += 1,
                "super" if self.next_are(&["super", "::"]) => {
                    let parent = base[..base.len().saturating_sub(1)].to_vec();
                    self.path(parent);
                    self.at += 1;
                }
                "self" if self.next_are(&["self", "::"]) => {
                    self.path(base.to_vec());
                    self.at += 1;
                }
                _ => {
                    let name = self.token().to_owned();
                    self.record(base, &name);
                    self.skip_element();
                }
            }
        }
    }

    /// Skips to the comma or brace that ends one element of a group.
    fn skip_element(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            match self.token() {
                "," | "}" if depth == 0 => return,
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn record(&mut self, base: &[String], name: &str) {
        self.found.insert(base.first().map_or(name, String::as_str).to_owned());
    }
}

#[test]
fn every_way_to_write_an_import_is_seen() {
    let found =
        |file: &str, text: &str| of_file(Path::new(file), text).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("src/web/page.rs", "use crate::{domain::{a, b}, store as s};"), "domain store");
    assert_eq!(
        found("src/web/page.rs", "fn f() { super::super::inject::g(); super::app::h() }"),
        "inject web"
    );
    assert_eq!(found("src/web/view/mod.rs", "use super::{app, super::config::Config};"), "config web");
    assert_eq!(found("src/web/mod.rs", "mod a { use super::super::cloud; } use super::keys;"), "cloud keys");
    assert_eq!(found("src/web/mod.rs", "use self::super::daemon;"), "daemon");
    assert_eq!(found("src/web/mod.rs", "use super::*;"), EVERYTHING);
    assert_eq!(found("src/main.rs", "fn main() { traceprobe::commands::run_program() }"), "commands");
}

#[test]
fn comments_literals_and_tests_are_not_imports() {
    let text = r##"
        // crate::store
        const A: &str = "crate::store \" crate::web"; const B: &str = r#"crate::store "x" "#; const C: char = '"';
        fn f<'a>(x: &'a str) { /* crate::store */ crate::cloud::g('\'', x) }
        #[cfg(test)]
        #[expect(dead_code, reason = "x")]
        mod tests { use crate::store; fn g() {} }
        #[cfg(test)]
        use crate::store;
        use crate::keys;
    "##;
    let found = of_file(Path::new("src/web/page.rs"), text);
    assert_eq!(found, ["cloud", "keys"].map(str::to_owned).into());
}
