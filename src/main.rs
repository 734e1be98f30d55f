//! The program. Its code is in the library, so that nothing is compiled twice: see `traceprobe::commands`.

use std::process::ExitCode;

fn main() -> ExitCode {
    traceprobe::commands::run_program()
}
