//! Which key of a text is there twice, where the parser says no more than that one is.

use toml::de::Error;

/// What the parser says of it.
const DUPLICATE: &str = "duplicate key";
/// The tables of which there may be several.
const LISTS: [&str; 2] = ["tenant", "stage"];

/// What follows the parser's message: the name of the key, and how tables of which there may be several are written.
/// Empty for other errors. Nothing but the key is quoted: what stands beside it may be a secret.
pub(super) fn named(text: &str, error: &Error) -> String {
    let Some(span) = error.span().filter(|_| error.message() == DUPLICATE) else { return String::new() };
    let key = text.get(span.clone()).map(|key| key.trim_matches(['"', '\'']));
    let is_bare = |key: &&str| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let Some(key) = key.filter(is_bare) else { return String::new() };
    let line = text.get(..span.start).and_then(|before| text.lines().nth(before.matches('\n').count()));
    // `[tenant]` or `[[tenant]]`, and not a table below it.
    let is_header = line.is_some_and(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        line.starts_with('[') && line.trim_matches(['[', ']', ' ']) == key
    });
    if is_header && LISTS.contains(&key) {
        format!(" `{key}`; write [[{key}]] for each {key}, also for the first")
    } else {
        format!(" `{key}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        named(text, &text.parse::<toml::Table>().unwrap_err())
    }

    #[test]
    fn a_table_of_which_there_may_be_several_is_told_with_how_to_write_it() {
        for text in
            ["[tenant]\nname = \"a\"\n[tenant]\n", "[tenant]\n[[tenant]]\n", "[[tenant]]\n[ tenant ] # b\n"]
        {
            assert_eq!(of(text), " `tenant`; write [[tenant]] for each tenant, also for the first", "{text}");
        }
        assert!(of("[stage]\n[stage]\n").contains("write [[stage]]"));
        assert_eq!(of("[[tenant]]\n[tenant.stage]\n[tenant.stage]\n"), " `stage`");
        assert_eq!(of("[probe]\n[log]\n[probe]\n"), " `probe`");
    }

    #[test]
    fn only_the_key_is_quoted() {
        assert_eq!(of("[otlp]\nheaders = \"hush\"\nheaders = \"hush\"\n"), " `headers`");
        assert_eq!(of("x = { a = 1, \"a\" = \"hush\" }\n"), " `a`");
        assert_eq!(of("\"a b\" = 1\n\"a b\" = \"hush\"\n"), "");
        assert_eq!(of("a = hush\n"), "", "it is another error");
    }
}
