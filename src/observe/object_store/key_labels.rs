//! Whose an object is, where its key says so after the time: `transit/2026/11/22/04/acme-0017.gz`.

use std::sync::Arc;

/// How the tenant stands in a key, right behind the prefix that is listed for all tenants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyLabels {
    /// What follows the tenant's name, in which `{tenant}` is the name again.
    after: String,
    /// The names of the tenants, and how each is labelled elsewhere; longer names first.
    names: Vec<(Arc<str>, Arc<str>)>,
}

impl KeyLabels {
    /// With what follows a name in keys, and the tenants' names with their labels.
    #[must_use]
    pub fn new(after: impl Into<String>, names: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        // `acme-eu` also begins like `acme`.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { after: after.into(), names }
    }

    /// Whose the object is, by its key without the listed prefix; `None` for one that is not of this kind. A name that
    /// is no tenant's is its own label: what lies there lies at somebody else's.
    pub(super) fn of(&self, rest: &str) -> Option<Arc<str>> {
        let known = self.names.iter().find(|(name, _)| {
            let after = rest.strip_prefix(&**name);
            after.is_some_and(|after| after.starts_with(&self.after.replace("{tenant}", name)))
        });
        match known {
            Some((_, label)) => Some(label.clone()),
            None if self.after.is_empty() => None,
            None => {
                let name = &rest[..rest.find(&self.after)?];
                (!name.is_empty() && !name.contains('/')).then(|| name.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(after: &str) -> KeyLabels {
        let names = [("acme", "ACME"), ("acme-eu", "ACME-EU")];
        KeyLabels::new(after, names.map(|(name, label)| (name.into(), label.into())))
    }

    #[test]
    fn the_longest_name_that_fits_is_the_tenants() {
        for (after, rest, label) in [
            ("-", "acme-0017.gz", Some("ACME")),
            ("-", "acme-eu-0017.gz", Some("ACME-EU")),
            ("/", "acme-eu/x.gz", Some("ACME-EU")),
            ("", "acme0017.gz", Some("ACME")),
            ("/{tenant}-", "acme/acme-0017.gz", Some("ACME")),
            ("/part-", "acme/part-1", Some("ACME")),
            ("/part-", "acme/other-1", None),
            ("-", "globex-0017.gz", Some("globex")),
            ("-", "-0017.gz", None),
            ("-", "a/b-0017.gz", None),
            ("", "manifest", None),
        ] {
            assert_eq!(labels(after).of(rest).as_deref(), label, "{after} {rest}");
        }
    }
}
