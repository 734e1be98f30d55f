//! The target `tag` alone: its runs are so short that the counters of the others would take most of the time.

#![no_main]

#[expect(dead_code, reason = "the targets of the other programs")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::tags::tag(data));
