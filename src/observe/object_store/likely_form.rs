//! The form of the dates in a key, guessed from one object and from when it was written.

use crate::domain::time::Timestamp;
use crate::domain::time_zone::TimeZone;

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
    fn what_is_no_date_of_the_object_is_no_form() {
        for key in ["archive/x.gz", "2025/01/02/x", "a/2026/x", "x", "a/11/26/x"] {
            assert_eq!(form(key), None, "{key}");
        }
    }
}
