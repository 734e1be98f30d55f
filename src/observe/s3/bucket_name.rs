//! Names of S3 buckets, and ARNs of access points, which the API accepts in place of a name.

/// Largest and smallest length of a bucket name (S3 User Guide, general purpose bucket naming rules).
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=63;
/// Largest and smallest length of an access point name (S3 User Guide, rules for naming access points).
const ACCESS_POINT_LENGTH: std::ops::RangeInclusive<usize> = 3..=50;

/// Checks a bucket name or the ARN of an access point.
///
/// Reserved prefixes and suffixes are not refused: a name that ends with `-s3alias` is the alias of an access
/// point, and is accepted in place of a bucket name.
pub(super) fn check(text: String) -> Result<String, String> {
    let fault = if text.starts_with("arn:") { arn_fault(&text) } else { name_fault(&text) };
    match fault {
        None => Ok(text),
        Some(rule) => Err(format!("\"{text}\" is not a valid bucket name: {rule}")),
    }
}

/// Returns the rule that a bucket name breaks (S3 User Guide, general purpose bucket naming rules).
fn name_fault(name: &str) -> Option<&'static str> {
    if !NAME_LENGTH.contains(&name.len()) {
        Some("it must have 3 to 63 characters")
    } else if !name.bytes().all(|b| is_outer(b) || b == b'.' || b == b'-') {
        Some("it may contain only lower-case letters, digits, dots and hyphens")
    } else if !begins_and_ends_well(name) {
        Some("it must begin and end with a lower-case letter or a digit")
    } else if name.contains("..") {
        Some("it must not contain two dots in a row")
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        Some("it must not look like an IP address")
    } else {
        None
    }
}

/// Returns what is wrong with the ARN of an access point.
///
/// The forms are those of access points in a region, of Object Lambda and on Outposts (Service Authorization
/// Reference). A multi-region access point has no region in its ARN and is refused: it needs SigV4A
/// signatures, for which the S3 client is not built.
fn arn_fault(arn: &str) -> Option<&'static str> {
    const FORM: &str = "the ARN of an access point is written arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME, \
                        for example \"arn:aws:s3:eu-central-1:111111111111:accesspoint/archive\"";
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = parts.as_slice() else {
        return Some(FORM);
    };
    let name = match (*service, resource.split('/').collect::<Vec<_>>().as_slice()) {
        ("s3" | "s3-object-lambda", ["accesspoint", name])
        | ("s3-outposts", ["outpost", _, "accesspoint", name]) => *name,
        _ => return Some(FORM),
    };
    let good = partition.starts_with("aws")
        && !region.is_empty()
        && region.bytes().all(|b| is_outer(b) || b == b'-')
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && ACCESS_POINT_LENGTH.contains(&name.len())
        && name.bytes().all(|b| is_outer(b) || b == b'-')
        && begins_and_ends_well(name);
    (!good).then_some(FORM)
}

fn begins_and_ends_well(name: &str) -> bool {
    name.bytes().next().is_some_and(is_outer) && name.bytes().next_back().is_some_and(is_outer)
}

/// Whether a character may begin and end a name.
fn is_outer(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        check(text.to_owned()).expect_err(text)
    }

    fn accepted(text: &str) -> bool {
        check(text.to_owned()).is_ok()
    }

    #[test]
    fn names_of_letters_digits_dots_and_hyphens_are_accepted() {
        for name in ["abc", "sre-archive", "logs.example.com", "0a-9", "a--b", "my-point-abc123-s3alias"] {
            assert!(accepted(name), "{name}");
        }
    }

    #[test]
    fn a_name_has_3_to_63_characters() {
        assert!(accepted(&"a".repeat(63)));
        for name in ["ab", &"a".repeat(64)] {
            assert!(fault(name).contains("3 to 63 characters"), "{name}");
        }
    }

    #[test]
    fn capitals_underscores_and_spaces_are_refused() {
        for name in ["Archive", "sre_archive", "sre archive", "archive/", "archív"] {
            assert!(fault(name).contains("only lower-case letters"), "{name}");
        }
    }

    #[test]
    fn a_name_begins_and_ends_with_a_letter_or_digit() {
        for name in ["-ab", "ab-", ".ab", "ab."] {
            assert!(fault(name).contains("begin and end"), "{name}");
        }
    }

    #[test]
    fn two_dots_in_a_row_are_refused() {
        assert!(fault("a..b").contains("two dots in a row"));
    }

    #[test]
    fn an_ip_address_is_refused() {
        assert!(fault("192.168.5.4").contains("IP address"));
        assert!(accepted("192.168.5.4.logs"));
    }

    #[test]
    fn the_arn_of_an_access_point_is_accepted() {
        for arn in [
            "arn:aws:s3:eu-central-1:111111111111:accesspoint/archive",
            "arn:aws-us-gov:s3:us-gov-west-1:111111111111:accesspoint/archive",
            "arn:aws:s3-object-lambda:eu-central-1:111111111111:accesspoint/archive",
            "arn:aws:s3-outposts:eu-central-1:111111111111:outpost/op-01ac5d28a6a232904/accesspoint/archive",
        ] {
            assert!(accepted(arn), "{arn}");
        }
    }

    #[test]
    fn any_other_arn_is_refused_with_the_right_form() {
        for arn in [
            "arn:",
            "arn:aws:s3:::sre-archive",
            "arn:aws:s3:eu-central-1:111:accesspoint/archive",
            "arn:aws:s3:eu-central-1:111111111111:accesspoint/",
            "arn:aws:s3:eu-central-1:111111111111:accesspoint/-archive",
            "arn:aws:s3:eu-central-1:111111111111:accesspoint/archive/object/key",
            "arn:aws:s3::111111111111:accesspoint/mfzwi23gnjvgw.mrap",
            "arn:aws:kinesis:eu-central-1:111111111111:stream/archive",
        ] {
            assert!(fault(arn).contains("arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"), "{arn}");
        }
    }

    #[test]
    fn a_fault_quotes_the_name() {
        assert_eq!(
            fault("-ab"),
            "\"-ab\" is not a valid bucket name: it must begin and end with a lower-case letter or a digit"
        );
    }
}
