//! One program for all targets: `TARGET` in the environment chooses. Each of its own would link the same
//! libraries eighteen times.

#![no_main]

mod targets;

use std::sync::LazyLock;

use targets::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target).unwrap_or_else(|| {
        let names = targets::ALL.map(|(name, _)| name);
        panic!("TARGET is {name:?}; it must be one of {}", names.join(", "))
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (*TARGET)(data));
