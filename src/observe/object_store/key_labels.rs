//! Finds the tenant in a key that names it after the time fields: `transit/2026/11/22/04/acme-0017.gz`.

use std::sync::Arc;

use crate::domain::foreign::ForeignText;

/// How keys name their tenant, directly after the listed prefix, which all tenants share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyLabels {
    /// What follows the tenant's name. It may contain `{tenant}`, which stands for the same name again.
    after: String,
    /// The names of the tenants and their labels; longer names first.
    names: Vec<(Arc<str>, Arc<str>)>,
}

impl KeyLabels {
    /// `after` is what follows a name in keys, `names` are the tenants' names with their labels.
    #[must_use]
    pub fn new(after: impl Into<String>, names: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        // `acme` is a prefix of `acme-eu`.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self { after: after.into(), names }
    }

    /// Returns the label of the tenant that a key names; `suffix` is the key without the listed prefix.
    /// `None` if the key does not have this form. The name of an unknown tenant is its own label, so that our
    /// canaries there count as leaked.
    pub(super) fn of(&self, suffix: &str) -> Option<ForeignText> {
        let known = self.names.iter().find(|(name, _)| {
            let after = suffix.strip_prefix(&**name);
            after.is_some_and(|after| after.starts_with(&self.after.replace("{tenant}", name)))
        });
        match known {
            Some((_, label)) => Some(ForeignText::label(label)),
            None if self.after.is_empty() => None,
            None => {
                let name = &suffix[..suffix.find(&self.after)?];
                (!name.is_empty() && !name.contains('/')).then(|| ForeignText::label(name))
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
    fn the_longest_matching_tenant_name_wins() {
        for (after, suffix, label) in [
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
            assert_eq!(labels(after).of(suffix).as_deref(), label, "{after} {suffix}");
        }
    }
}
