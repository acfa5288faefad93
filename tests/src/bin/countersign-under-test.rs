//! The program that the process tests start: what `crates/server/src/main.rs` is, built together with the tests,
//! so that they can never meet an older one.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::cli::main()
}
