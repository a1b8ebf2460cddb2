//! The administrator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    marsadm::run::main(std::env::args_os())
}
