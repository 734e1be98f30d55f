//! Records that are made to take long.

use super::*;

#[test]
fn a_genuine_tag_that_is_repeated_without_end_is_one_copy_and_the_rest_is_over_the_limit() {
    let repeated = text(&tag(1, 10_240)).repeat(50_000);
    for record in [repeated.clone().into_bytes(), gzip(repeated.as_bytes())] {
        let scan = scan(record);
        assert_eq!((scan.found.len(), scan.is_over_limit(), scan.exhausted), (1, true, true));
    }
}

#[test]
fn a_copy_before_many_repeats_of_another_tag_is_found() {
    let repeated = text(&tag(2, 10_240)).repeat(50_000);
    let scan = scan(gzip(format!("{}\n{repeated}", canary(1)).as_bytes()));
    assert_eq!(scan.found[0].tag, tag(1, 500));
    assert_eq!(scan.found[0].integrity, Integrity::Intact);
}

#[test]
fn a_few_more_names_of_a_canary_than_usual_are_no_reason_to_stop() {
    let tag = tag(1, 500);
    let scan = scan(format!("{} {}", line(&tag), text(&tag).repeat(500)));
    assert_eq!((scan.found.len(), scan.exhausted), (1, false));
}

#[test]
fn thousands_of_canaries_do_not_exhaust_a_record() {
    let lines = (0..250).map(|n| canary(n) + "\n").collect::<String>().repeat(20);
    let scan = scan(gzip(lines.as_bytes()));
    assert_eq!((scan.found.len(), scan.exhausted), (5_000, false));
}

#[test]
fn hundreds_of_canaries_on_one_line_do_not_exhaust_a_record() {
    let canaries: Vec<_> = (0..250).map(canary).collect();
    let envelope = envelope(&canaries.iter().map(String::as_str).collect::<Vec<_>>());
    let scan = scan(gzip(envelope.repeat(4).as_bytes()));
    let intact = scan.found.iter().filter(|found| found.integrity == Integrity::Intact).count();
    assert_eq!((scan.found.len(), intact, scan.exhausted), (1_000, 1_000, false));
}

#[test]
fn forged_tags_are_counted_until_they_exhaust_the_record() {
    let mut rng = fastrand::Rng::with_seed(3);
    let forged: String =
        (0..20_000).map(|_| format!("zqtp2{:032x}{}\n", rng.u128(..), "0".repeat(29))).collect();
    let scan = scan(forged);
    assert_eq!((scan.foreign_tags, scan.exhausted), (20_000, false));
}

#[test]
fn a_scan_that_is_ended_returns_what_it_found_and_says_that_there_was_more() {
    let halt = Halt::default();
    halt.set();
    let text = format!("{}\n{}", canary(1), "noise\n".repeat(500_000));
    let scan = scan_until(&halt, &recognizer(), Limits::RECORD, text.as_bytes());
    assert_eq!((scan.found.len(), scan.exhausted), (1, true));
    assert_eq!(
        scan.unreadable,
        [(Unreadable { shape: Shape::NONE, reason: UnreadableReason::OverLimit }, 1)]
    );
}

/// How many more bytes of input a scanner takes once it is to end.
fn taken_after_the_halt(input: &[u8]) -> usize {
    let halt = Halt::default();
    let mut scanner = Scanner::until(halt.clone(), recognizer(), Limits::RECORD);
    halt.set();
    let pieces = input.chunks(PIECE).take_while(|piece| {
        scanner.push(piece);
        !scanner.is_over()
    });
    pieces.map(<[u8]>::len).sum()
}

#[test]
fn a_scan_ends_soon_after_it_is_to() {
    let mut rng = fastrand::Rng::with_seed(3);
    let noise: Vec<u8> = (0..4 << 20).map(|_| rng.u8(..)).collect();
    let gzipped: Vec<u8> = gzip(&vec![b' '; 1 << 20]).repeat(2_000);
    for (input, at_most) in [
        (noise.clone(), 1 << 20),
        (STANDARD.encode(&noise).into_bytes(), 1 << 20),
        (text(&tag(1, 100)).repeat(60_000).into_bytes(), 1 << 20),
        (gzip(&noise), 1 << 20),
        (gzipped, PIECE),
    ] {
        let taken = taken_after_the_halt(&input);
        assert!(taken <= at_most, "{taken} bytes of {:?}...", &input[..8]);
    }
}

#[test]
fn a_tag_is_found_wherever_it_stands_and_whatever_adjoins_it() {
    let tags = [tag(1, 500), old(1, 500)].map(|tag| text(&tag));
    for (tag, before, len) in tags.iter().flat_map(|tag| {
        let befores = ["a ", "A", "\n", "9/", "\\n", "\\u003d", "=", "zqtp"];
        befores.into_iter().flat_map(move |before| (0..70).map(move |len| (tag, before, len)))
    }) {
        let before = before.repeat(len);
        for record in [format!("{before}{tag}"), format!("{before}{tag}{before} and more of the line\n")] {
            let scan = scan(record.clone());
            assert_eq!(scan.found.len(), 1, "{record}");
        }
    }
}

#[test]
fn an_aggregate_of_as_many_short_records_as_are_read_does_not_exhaust_a_record() {
    let scan = scan(kpl(&vec![&b"hello"[..]; Limits::RECORD.max_kpl_records]));
    assert!(!scan.exhausted);
}
