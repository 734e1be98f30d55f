//! The target `key_template` alone: its runs are so short that the counters of the others would take most of the time.

#![no_main]

#[expect(dead_code, reason = "the targets of the other programs")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::keys::key_template(data));
