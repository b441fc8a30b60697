//! The `hsmsign` program: parse, run, print, exit.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hsmsign::cli::main()
}
