//! Runs histories of one cluster: `sim [--nodes N] [--seed S] [--count C]`. Prints what each is made of and how it ended;
//! ends with status 1 at the first that breaks a rule.

use mars_sim::{Scenario, run};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

struct Wanted {
    nodes: Option<u16>,
    seed: u64,
    count: u64,
    epochs: bool,
}

const USAGE: &str = "usage: sim [--nodes N] [--seed S] [--count C] [--epochs]
  --nodes N  number of nodes, 3 to 4000 (default: 3 to 20, by the seed)
  --seed S   first seed (default 1)
  --count C  number of seeds (default 1)
  --epochs   begin epochs of the cluster's clock at any time, on any node";

fn wanted() -> Option<Wanted> {
    let mut wanted = Wanted {
        nodes: None,
        seed: 1,
        count: 1,
        epochs: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        if name == "--epochs" {
            wanted.epochs = true;
            continue;
        }
        let value = args.next()?;
        match name.as_str() {
            "--nodes" => wanted.nodes = Some(value.parse().ok()?),
            "--seed" => wanted.seed = value.parse().ok()?,
            "--count" => wanted.count = value.parse().ok()?,
            _ => return None,
        }
    }
    let possible = wanted.nodes.is_none_or(|nodes| (3..=4000).contains(&nodes));
    possible.then_some(wanted)
}

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let Some(wanted) = wanted() else {
        writeln!(out, "{USAGE}")?;
        return Ok(ExitCode::from(2));
    };
    for seed in wanted.seed..wanted.seed.saturating_add(wanted.count) {
        let scenario = match wanted.nodes {
            Some(nodes) => Scenario::with_nodes(seed, nodes),
            None => Scenario::new(seed),
        };
        let scenario = if wanted.epochs {
            scenario.with_epochs()
        } else {
            scenario
        };
        writeln!(out, "{scenario:?}")?;
        let began = Instant::now();
        match run(&scenario) {
            Ok(outcome) => writeln!(out, "held in {:.1?}: {outcome:?}\n", began.elapsed())?,
            Err(broken) => {
                writeln!(out, "BROKEN: {broken}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
