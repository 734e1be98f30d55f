//! Finds the tenant in a key that names it after the time fields: `transit/2026/11/22/04/acme-0017.gz`.

use std::sync::Arc;

use crate::domain::foreign::ForeignText;

/// How keys name their tenant, directly after the listed prefix, which all tenants share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyLabels {
    /// What follows the tenant's name. It may contain `{tenant}`, which stands for the same name again.
    after: String,
    /// The names of the tenants and their labels, in the order of the names.
    names: Vec<(Arc<str>, Arc<str>)>,
}

impl KeyLabels {
    /// `after` is what follows a name in keys, `names` are the tenants' names with their labels.
    #[must_use]
    pub fn new(after: impl Into<String>, names: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        Self { after: after.into(), names }
    }

    /// Returns whose an object is by its key; `suffix` is the key without the listed prefix. The name of an unknown
    /// tenant is its own label, so that our canaries there count as leaked.
    ///
    /// Where one name begins another, a key may fit both: `acme-eu-0017.gz` may be the object `0017.gz` of `acme-eu` or
    /// the object `eu-0017.gz` of `acme`. Neither is accused of holding what the other may have written.
    pub(super) fn of(&self, suffix: &str) -> KeyOwner {
        let fits = |(name, _): &&(Arc<str>, Arc<str>)| {
            let after = suffix.strip_prefix(&**name);
            after.is_some_and(|after| after.starts_with(&self.after.replace("{tenant}", name)))
        };
        let mut known = self.names.iter().filter(fits);
        match (known.next(), known.next()) {
            (Some(_), Some(_)) => KeyOwner::Anybody,
            (Some((_, label)), None) => KeyOwner::Label(ForeignText::label(label)),
            (None, _) if self.after.is_empty() => KeyOwner::Unknown,
            (None, _) => match suffix.find(&self.after).map(|end| &suffix[..end]) {
                Some(name) if !name.is_empty() && !name.contains('/') => {
                    KeyOwner::Label(ForeignText::label(name))
                }
                Some(_) | None => KeyOwner::Unknown,
            },
        }
    }
}

/// Whose an object is, as its key says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum KeyOwner {
    /// The key does not have the configured form, so the object is none of ours.
    Unknown,
    /// Keys do not name their tenant, or several fit this one.
    Anybody,
    /// The tenant with this label.
    Label(ForeignText),
}

impl KeyOwner {
    pub(super) fn label(self) -> Option<ForeignText> {
        match self {
            Self::Label(label) => Some(label),
            Self::Unknown | Self::Anybody => None,
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
    fn a_key_names_the_tenant_whose_name_is_in_its_place() {
        for (after, suffix, label) in [
            ("-", "acme-0017.gz", Some("ACME")),
            ("/", "acme-eu/x.gz", Some("ACME-EU")),
            ("", "acme0017.gz", Some("ACME")),
            ("/{tenant}-", "acme/acme-0017.gz", Some("ACME")),
            ("/{tenant}-", "acme-eu/acme-eu-0017.gz", Some("ACME-EU")),
            ("/part-", "acme/part-1", Some("ACME")),
            ("/part-", "acme/other-1", None),
            ("-", "globex-0017.gz", Some("globex")),
            ("-", "-0017.gz", None),
            ("-", "a/b-0017.gz", None),
            ("", "manifest", None),
        ] {
            let owner = label.map_or(KeyOwner::Unknown, |label| KeyOwner::Label(ForeignText::label(label)));
            assert_eq!(labels(after).of(suffix), owner, "{after} {suffix}");
        }
    }

    #[test]
    fn a_key_that_fits_two_tenants_names_neither() {
        for (after, suffix) in
            [("-", "acme-eu-0017.gz"), ("-", "acme-eu-west-1-0017.gz"), ("", "acme-eu-1.gz")]
        {
            assert_eq!(labels(after).of(suffix), KeyOwner::Anybody, "{after} {suffix}");
        }
    }
}
