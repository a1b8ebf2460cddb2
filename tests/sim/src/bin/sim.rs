//! Runs random histories: `sim FIRST_SEED [COUNT]`. Ends with status 1 at the first that breaks a rule.

use mars_sim::{Scenario, run};
use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (first, count) = match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), None) => (first, 1),
        (Some(Ok(first)), Some(Ok(count))) => (first, count),
        _ => {
            writeln!(out, "usage: sim FIRST_SEED [COUNT]")?;
            return Ok(ExitCode::from(2));
        }
    };
    for seed in first..first.saturating_add(count) {
        match run(Scenario::new(seed)) {
            Ok(outcome) => writeln!(out, "seed {seed}: {outcome:?}")?,
            Err(broken) => {
                writeln!(out, "{broken}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
