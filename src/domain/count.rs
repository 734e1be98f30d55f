//! Numbers of things, for people.

/// `1 tenant`, `2 tenants`. `noun` is singular and takes an `s`.
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The same for a length.
#[must_use]
pub fn counted_len(count: usize, noun: &str) -> String {
    counted(count as u64, noun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_singular_and_none_is_plural() {
        assert_eq!(
            [counted(0, "tenant"), counted_len(1, "tenant"), counted(2, "tenant")],
            ["0 tenants", "1 tenant", "2 tenants"]
        );
    }
}
