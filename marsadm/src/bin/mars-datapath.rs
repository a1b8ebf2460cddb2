//! The data plane.

use std::process::ExitCode;

fn main() -> ExitCode {
    marsadm::daemon::main(
        "mars-datapath",
        std::env::args_os(),
        marsadm::daemon::datapath::serve,
    )
}
