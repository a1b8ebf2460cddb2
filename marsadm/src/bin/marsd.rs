//! The metadata daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    marsadm::daemon::main("marsd", std::env::args_os(), marsadm::daemon::marsd::serve)
}
