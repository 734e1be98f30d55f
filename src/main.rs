//! The program. Its code is in the library, so that nothing is compiled twice: see `traceprobe::commands`.

use std::process::ExitCode;

/// glibc's allocator takes a quarter of the processor time at high rates, and keeps the freed memory of each thread
/// apart (docs/benchmarks.md, Rate).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    traceprobe::commands::run_program()
}
