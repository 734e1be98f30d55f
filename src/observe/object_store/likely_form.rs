//! The form of the dates in a key, guessed from one object and from when it was written.

use std::cmp::Reverse;

use crate::domain::time::Timestamp;
use crate::domain::time_zone::TimeZone;

/// What stands for the name of a tenant in a key of the configuration.
const TENANT: &str = "{tenant}";
/// Fields of two digits in the order in which they are tried.
const SHORT: [char; 4] = ['m', 'd', 'H', 'M'];
/// Runs of more digits, as they are written without anything in between.
const LONG: [(usize, &str); 5] =
    [(4, "%Y"), (6, "%Y%m"), (8, "%Y%m%d"), (10, "%Y%m%d%H"), (12, "%Y%m%d%H%M")];

/// The folders of `key` with time fields for what is the date of `written`: `archive/%Y/%m/%d/`. `None` if there is no
/// complete date in them.
pub(super) fn likely_form(key: &str, written: Timestamp, zone: &TimeZone) -> Option<String> {
    let folders = &key[..=key.rfind('/')?];
    let mut form = String::new();
    let mut used = String::new();
    let mut rest = folders;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[start..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |len| start + len);
        form.push_str(&rest[..start]);
        let digits = &rest[start..end];
        match field(digits, &used, written, zone) {
            Some(field) => {
                form.push_str(&field);
                used.extend(field.chars().filter(char::is_ascii_alphabetic));
            }
            None => form.push_str(digits),
        }
        rest = &rest[end..];
    }
    form.push_str(rest);
    let is_date = used.contains('Y') && (used.contains('j') || (used.contains('m') && used.contains('d')));
    is_date.then_some(form)
}

/// A form of folders with `{tenant}` in the place of a tenant's name: where the key as `written` has it, and wherever the
/// name is a whole folder, or all of it behind a `=`. So the key is that of every tenant.
pub(super) fn with_placeholder(form: &str, names: &[&str], written: &str) -> String {
    let mut names = names.to_vec();
    // `acme` is a prefix of `acme-eu`.
    names.sort_by_key(|name| Reverse(name.len()));
    let (mut found, mut rest) = (String::new(), form);
    while let Some(first) = rest.chars().next() {
        let fits =
            |name: &&&str| rest.strip_prefix(**name).is_some_and(|after| is_tenant(&found, after, written));
        match names.iter().find(fits) {
            Some(name) => {
                rest = &rest[name.len()..];
                found.push_str(TENANT);
            }
            None => {
                rest = &rest[first.len_utf8()..];
                found.push(first);
            }
        }
    }
    found
}

/// Whether a name between these is that of a tenant.
fn is_tenant(before: &str, after: &str, written: &str) -> bool {
    let is_folder = (before.is_empty() || before.ends_with(['/', '='])) && after.starts_with('/');
    let is_written = written.strip_prefix(before).is_some_and(|at| at.starts_with(TENANT));
    is_folder || (is_written && !after.starts_with(char::is_alphanumeric))
}

/// The field, or fields, that these digits are at that time, if it was not used yet.
fn field(digits: &str, used: &str, written: Timestamp, zone: &TimeZone) -> Option<String> {
    let is = |field: &str| zone.strftime(written, field) == digits;
    if let Some((_, field)) = LONG.iter().find(|(len, field)| *len == digits.len() && is(field)) {
        return Some((*field).to_owned());
    }
    if digits.len() == 3 && is("%j") {
        return Some("%j".to_owned());
    }
    let fits = |field: &&char| {
        let is_hour = **field == 'H';
        // An object is written some time after the first of its records.
        let earlier = written - std::time::Duration::from_hours(1);
        !used.contains(**field)
            && (is(&format!("%{field}")) || (is_hour && zone.strftime(earlier, "%H") == digits))
    };
    SHORT.iter().find(fits).map(|field| format!("%{field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(key: &str) -> Option<String> {
        likely_form(key, Timestamp::parse_rfc3339("2026-11-26T21:04:09Z").unwrap(), &TimeZone::UTC)
    }

    #[test]
    fn the_usual_forms_of_dates_are_recognised() {
        for (key, expected) in [
            ("archive/2026/11/26/x1.gz", "archive/%Y/%m/%d/"),
            ("a1/26-11-2026/21/x.gz", "a1/%d-%m-%Y/%H/"),
            ("a/tenant=7/dt=2026-11-26/hour=20/x", "a/tenant=7/dt=%Y-%m-%d/hour=%H/"),
            ("a/20261126/x", "a/%Y%m%d/"),
            ("a/2026112621/x", "a/%Y%m%d%H/"),
            ("a/2026/330/x", "a/%Y/%j/"),
        ] {
            assert_eq!(form(key).as_deref(), Some(expected), "{key}");
        }
    }

    #[test]
    fn the_name_of_a_tenant_is_written_as_its_placeholder() {
        let names = ["acme", "acme-eu"];
        for (form, written, expected) in [
            ("archive/tenant=acme/%Y/%m/%d/", "in/%Y/%m/%d/", "archive/tenant={tenant}/%Y/%m/%d/"),
            ("acme-eu/%Y/%m/%d/acme/", "in/%Y/%m/%d/", "{tenant}/%Y/%m/%d/{tenant}/"),
            ("logs-acme/%Y/%m/%d/", "logs-{tenant}/%d/%m/%Y/", "logs-{tenant}/%Y/%m/%d/"),
            // Only a part of a folder, in a place where the configuration has no tenant.
            ("logs-acme/%Y/%m/%d/", "in/%Y/%m/%d/", "logs-acme/%Y/%m/%d/"),
            ("acmes/acme.d/%Y/%m/%d/", "{tenant}/%Y/%m/%d/", "acmes/acme.d/%Y/%m/%d/"),
        ] {
            assert_eq!(with_placeholder(form, &names, written), expected);
        }
        assert_eq!(with_placeholder("%Y/%m/%d/", &["Y", "m"], "%d/"), "%Y/%m/%d/");
    }

    #[test]
    fn what_is_no_date_of_the_object_is_no_form() {
        for key in ["archive/x.gz", "2025/01/02/x", "a/2026/x", "x", "a/11/26/x"] {
            assert_eq!(form(key), None, "{key}");
        }
    }
}
