use super::*;
use crate::domain::time::Timestamp;
use proptest::prelude::*;

const KEY: &str = "0123456789abcdef";
/// `tag(10_240)`, as the last release that wrote version 1 signed it with `KEY`.
const V1: &str = "zqtp101a201845b8377078707070707070707g8ljaala0a00b85rssvgun8r";
/// The same in version 2.
const V2: &str = "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a000lv4o2uhkunem";

fn ring(secret: &str) -> Keyring {
    Keyring::new(TagKey::new(secret).unwrap(), Vec::new())
}

fn read(text: &str) -> Result<Tag, NotOurs> {
    ring(KEY).read(text.as_bytes())
}

fn tag(size: u32) -> Tag {
    let trace = TraceId::new(Timestamp::from_millis(1_795_321_781_123), [7; 10]);
    Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("probe-1"), size, Purpose::Probe)
}

/// The same canary, as a release that wrote version 1 would have tagged it.
fn old(size: u32) -> Tag {
    let Tag { trace, instance, .. } = tag(size);
    Tag::remembered(trace, Claim::V1 { tenant: TenantCode::of("acme").prefix() }, instance, size)
}

#[test]
fn a_tag_is_one_token_of_fixed_length() {
    let text = ring(KEY).sign(&tag(10_240));
    assert_eq!((text.as_str().len(), TAG_LEN), (66, 66));
    assert!(text.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{text}");
    assert!(text.as_str().starts_with(MARKER));
}

#[test]
fn a_tag_of_every_version_begins_as_clients_are_promised() {
    let promise = include_str!("../../../docs/recipes/filter-canaries.md");
    assert!(promise.contains("\n    zqtp[0-9][0-9a-f]{32}\n"));
    for text in [ring(KEY).sign(&tag(10_240)), ring(KEY).sign(&old(10_240))] {
        let (head, rest) = text.as_str().split_at(5);
        assert!(head.starts_with("zqtp") && head.ends_with(|c: char| c.is_ascii_digit()), "{text}");
        assert!(rest[..32].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{text}");
    }
}

#[test]
fn the_layout_of_both_versions_has_not_changed() {
    assert_eq!(ring(KEY).sign(&tag(10_240)).as_str(), V2);
    assert_eq!(read(V2), Ok(tag(10_240)));
    assert_eq!(ring(KEY).sign(&old(10_240)).as_str(), V1);
    assert_eq!(read(V1), Ok(old(10_240)));
    assert_eq!(ring(KEY).sign(&old(10_240)).signature(), "b85rssvgun8r");
    assert_eq!(ring(KEY).sign(&tag(10_240)).signature(), "lv4o2uhkunem");
}

#[test]
fn every_purpose_has_its_digit_and_reserved_ones_survive() {
    for (purpose, text) in [
        (Purpose::Check, "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a001mf1mnpb70df7"),
        (Purpose::Load, "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a002s3shf82fpjv7"),
        (Purpose::Drill, "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a003m1r8jj5gngtt"),
        (
            Purpose::from_value(4).unwrap(),
            "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a00400sh10dnrvfa",
        ),
    ] {
        assert_eq!(read(text).map(|tag| tag.purpose()), Ok(purpose));
        assert_eq!(ring(KEY).sign(&read(text).unwrap()).as_str(), text);
    }
    for value in 0..32 {
        assert_eq!(Purpose::from_value(value).map(Purpose::value), Some(value));
    }
    assert_eq!(Purpose::from_value(32), None);
}

#[test]
fn a_new_tag_is_of_version_2_and_one_of_version_1_has_the_purpose_probe() {
    assert_eq!((tag(100).version(), old(100).version()), (Version::V2, Version::V1));
    assert_eq!((old(100).purpose(), old(100).tenant_digits()), (Purpose::Probe, "g8lj".to_owned()));
}

#[test]
fn a_tag_of_an_unknown_version_is_not_read_as_another() {
    for digit in ('0'..='9').chain('a'..='z') {
        for text in [V1, V2] {
            let other = format!("{MARKER}{digit}{}", &text[HEAD_LEN..]);
            if other == text {
                continue;
            }
            // Neither a cut to the length of version 1 nor what follows the tag may make it valid in the
            // other version.
            for other in [other.clone(), other + "00000"] {
                assert!(read(&other).is_err(), "{other}");
            }
        }
        let shape = Shape::of(format!("{MARKER}{digit}").as_bytes());
        assert_eq!(shape == Shape::Unfinished, matches!(digit, '1' | '2'), "{digit}");
    }
}

#[test]
fn a_truncated_tag_of_version_2_is_not_one_of_version_1() {
    for at in 0..V2.len() {
        assert_eq!(read(&V2[..at]), Err(NotOurs::Malformed), "{at}");
        assert_eq!(Shape::of(&V2.as_bytes()[..at]), Shape::Unfinished, "{at}");
    }
    assert_eq!(Shape::of(V2.as_bytes()), Shape::Whole(66));
    assert_eq!(Shape::of(V1.as_bytes()), Shape::Whole(61));
}

#[test]
fn a_flipped_bit_makes_a_tag_invalid_unless_it_only_changes_the_case() {
    for text in [V1, V2] {
        let original = read(text).unwrap();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.as_bytes().to_vec();
                flipped[at] ^= 1 << bit;
                let result = ring(KEY).read(&flipped);
                if flipped.eq_ignore_ascii_case(text.as_bytes()) {
                    assert_eq!(bit, 5);
                    assert_eq!(result, Ok(original), "{at} {bit}");
                } else {
                    assert!(result.is_err(), "{at} {bit}: {result:?}");
                }
            }
        }
    }
}

#[test]
fn a_tag_of_version_2_names_the_tenant_with_its_code() {
    let codes = ["globex", "acme", "initech"].map(TenantCode::of);
    assert_eq!(tag(1).tenant_among(codes, |code| *code), Some(TenantCode::of("acme")));
    let others = ["globex", "initech"].map(TenantCode::of);
    assert_eq!(tag(1).tenant_among(others, |code| *code), None);
    // Equal first 20 bits are not enough.
    let near = TenantCode(TenantCode::of("acme").0 ^ 1);
    assert_eq!(tag(1).tenant_among([near], |code| *code), None);
}

#[test]
fn a_tag_of_version_1_that_matches_two_tenants_names_neither() {
    let acme = TenantCode::of("acme");
    let near = TenantCode(acme.0 ^ 1);
    assert_eq!(acme.prefix(), near.prefix());
    assert_eq!(old(1).tenant_among([TenantCode::of("globex"), acme], |code| *code), Some(acme));
    assert_eq!(old(1).tenant_among([acme, near], |code| *code), None);
    assert_eq!(tag(1).tenant_among([acme, near], |code| *code), Some(acme));
}

#[test]
fn the_digits_of_a_code_begin_with_those_of_its_prefix() {
    let code = TenantCode::of("acme");
    assert_eq!((code.to_string(), code.prefix().to_string()), ("g8lj7bc7".to_owned(), "g8lj".to_owned()));
    assert_eq!(InstanceCode::of("probe-1").to_string(), "aala");
}

#[test]
fn too_large_values_are_not_codes() {
    assert_eq!(TenantCode::from_value(1 << 40), None);
    assert_eq!(TenantPrefix::from_value(1 << 20), None);
    assert_eq!(InstanceCode::from_value(1 << 20), None);
    assert_eq!(TenantCode::from_value((1 << 40) - 1).map(TenantCode::value), Some((1 << 40) - 1));
}

#[test]
fn the_id_carries_the_planned_injection_and_is_a_version_7_uuid() {
    let tag = tag(100);
    assert_eq!(tag.trace.planned_at(), Timestamp::from_millis(1_795_321_781_123));
    assert_eq!(uuid::Uuid::from_u128(tag.trace.as_u128()).get_version_num(), 7);
}

#[test]
fn a_tag_signed_with_another_key_is_foreign() {
    for tag in [tag(100), old(100)] {
        let text = ring("another key, sixteen+").sign(&tag);
        assert_eq!(read(text.as_str()), Err(NotOurs::Foreign));
    }
}

#[test]
fn the_versions_have_different_signatures() {
    let key = TagKey::new(KEY).unwrap();
    let text = ring(KEY).sign(&tag(100));
    assert_ne!(key.mac(&text), key.mac(&TagText { version: Version::V1, ..text }));
}

#[test]
fn a_rotated_key_is_still_accepted() {
    let old = TagKey::new(KEY).unwrap();
    let text = Keyring::new(old.clone(), Vec::new()).sign(&tag(100));
    let rotated = Keyring::new(TagKey::new("fedcba9876543210").unwrap(), vec![old]);
    assert_eq!(rotated.read(text.as_str().as_bytes()), Ok(tag(100)));
    assert_ne!(rotated.sign(&tag(100)), text);
}

#[test]
fn a_short_key_is_refused_and_no_key_is_ever_printed() {
    assert!(TagKey::new("too short").is_none());
    assert_eq!(format!("{:?}", TagKey::new(KEY).unwrap()), "TagKey(…)");
}

fn claim() -> impl Strategy<Value = Claim> {
    let purpose = (0_u8..32).prop_map(|value| Purpose::from_value(value).unwrap());
    let new = (".{0,12}", purpose)
        .prop_map(|(tenant, purpose)| Claim::V2 { tenant: TenantCode::of(&tenant), purpose });
    let old = ".{0,12}".prop_map(|tenant: String| Claim::V1 { tenant: TenantCode::of(&tenant).prefix() });
    prop_oneof![3 => new, 1 => old]
}

proptest! {
    #[test]
    fn a_tag_parses_in_any_case_whatever_follows(
        millis in 0_i64..(1 << 47), random: [u8; 10], claim in claim(), instance in ".{0,12}",
        size in 0..=MAX_SIZE, upper in prop::collection::vec(any::<bool>(), TAG_LEN), after in ".{0,8}",
    ) {
        let trace = TraceId::new(Timestamp::from_millis(millis), random);
        let tag = Tag::remembered(trace, claim, InstanceCode::of(&instance), size);
        let text = ring(KEY).sign(&tag);
        prop_assert_eq!(text.as_str().len(), tag.version().tag_len());
        let recased: String = text
            .as_str()
            .chars()
            .zip(upper)
            .map(|(letter, upper)| if upper { letter.to_ascii_uppercase() } else { letter })
            .collect();
        prop_assert_eq!(read(&(recased.clone() + &after)), Ok(tag));
        prop_assert_eq!(Shape::of((recased + &after).as_bytes()), Shape::Whole(tag.version().tag_len()));
        prop_assert_eq!(tag.trace.planned_at(), Timestamp::from_millis(millis));
    }

    #[test]
    fn a_tag_with_one_wrong_character_or_cut_short_is_not_ours(
        at in 0..TAG_LEN, with in "[0-9a-z]", size in 0..=MAX_SIZE, is_old: bool,
    ) {
        let text = ring(KEY).sign(&if is_old { old(size) } else { tag(size) }).to_string();
        prop_assume!(at < text.len());
        prop_assert!(read(&text[..at]).is_err());
        let mut wrong = text.clone();
        wrong.replace_range(at..=at, &with);
        if wrong != text {
            prop_assert!(read(&wrong).is_err());
        }
    }

    #[test]
    fn the_shape_of_bytes_does_not_depend_on_where_they_are_cut(
        head in prop::sample::select(vec!["", "z", "zqtp", "zqtp1", "ZQTP2", "zqtp3", V1, V2]), cut in 0..=TAG_LEN,
        tail in "[0-9a-v]{0,70}",
    ) {
        let text = format!("{}{tail}", &head[..head.len().min(cut)]);
        let whole = Shape::of(text.as_bytes());
        for at in 0..text.len() {
            let part = Shape::of(&text.as_bytes()[..at]);
            prop_assert!(part == whole || part == Shape::Unfinished, "{text} {at}");
        }
    }
}
