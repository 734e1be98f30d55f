//! What is written for people: comments, string literals and documents, as words with the lines they stand
//! on.

use super::rust_text::{Kind, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Comment,
    Literal,
    Document,
}

/// A text without a break: the comment lines that follow one another, one literal, one document.
#[derive(Debug)]
pub struct Prose {
    pub written: Written,
    /// In lower case, each with its line.
    pub words: Vec<(usize, String)>,
}

impl Prose {
    /// The lines where the phrase begins.
    pub fn lines_of(&self, phrase: &str) -> Vec<usize> {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        let begins = self
            .words
            .windows(phrase.len())
            .filter(|window| window.iter().zip(&phrase).all(|((_, word), expected)| word == expected));
        begins.map(|window| window[0].0).collect()
    }

    /// What follows "is no" or "are no", unless "there" stands before it.
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
    // The line after the last comment, while nothing else has come since.
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

/// `_` belongs to a word, so that a name in code is one.
fn words(text: &str, first_line: usize) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate();
    let words = lines.flat_map(|(at, line)| {
        // An escape would be taken for a part of the word behind it.
        let line = line.replace("\\n", " ").to_lowercase();
        let words: Vec<String> =
            line.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
        words.into_iter().map(move |word| (first_line + at, word))
    });
    words.filter(|(_, word)| !word.is_empty()).collect()
}
