//! Measures foca, chitchat and iroh-gossip on the simulated work of `docs/performance.md`:
//! `gossip-bench [--nodes N,N,..] [--updates U] [--what spread,idle,heal,crash] [--subject NAME] [--seed S]`.
//!
//! Figures, machine and conclusion: `docs/performance.md`, `docs/adr/0022-own-membership-and-dissemination.md`.

mod chitchat_nodes;
mod foca_nodes;
mod iroh_nodes;
mod queue;
mod scenario;
mod subject;

use chitchat_nodes::ChitchatNodes;
use foca_nodes::FocaNodes;
use iroh_nodes::IrohNodes;
use scenario::Lengths;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use subject::{ONE_WAY, Subject};

const USAGE: &str = "usage: gossip-bench [--nodes N,N,..] [--updates U] [--what WHAT,WHAT,..] [--subject NAME,NAME,..]
                    [--loss L] [--runs R] [--lengths full|short] [--seed S]
  WHAT: spread, idle, heal, crash (default: all)
  NAME: foca, foca-eager, foca-sure, foca-lan, chitchat, chitchat-slow, chitchat-fast, iroh, iroh-fast (default: all)
  defaults: 10 nodes, 50 updates, loss 0.01, 5 runs of a crash, full lengths, seed 1";

const SUBJECTS: [&str; 9] = [
    "foca",
    "foca-eager",
    "foca-sure",
    "foca-lan",
    "chitchat",
    "chitchat-slow",
    "chitchat-fast",
    "iroh",
    "iroh-fast",
];
const WHATS: [&str; 4] = ["spread", "idle", "heal", "crash"];

struct Wanted {
    nodes: Vec<usize>,
    updates: u32,
    what: Vec<String>,
    subjects: Vec<String>,
    loss: f64,
    runs: u64,
    lengths: Lengths,
    seed: u64,
}

fn wanted() -> Option<Wanted> {
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
    let mut wanted = Wanted {
        nodes: vec![10],
        updates: 50,
        what: names(&WHATS),
        subjects: names(&SUBJECTS),
        loss: 0.01,
        runs: 5,
        lengths: Lengths::FULL,
        seed: 1,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next()?;
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match name.as_str() {
            "--nodes" => {
                wanted.nodes = value
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .ok()?
            }
            "--updates" => wanted.updates = value.parse().ok()?,
            "--what" => wanted.what = list(),
            "--subject" => wanted.subjects = list(),
            "--loss" => wanted.loss = value.parse().ok()?,
            "--runs" => wanted.runs = value.parse().ok()?,
            "--lengths" => {
                wanted.lengths = match value.as_str() {
                    "full" => Lengths::FULL,
                    "short" => Lengths::SHORT,
                    _ => return None,
                };
            }
            "--seed" => wanted.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    let possible = wanted.nodes.iter().all(|nodes| (2..=4000).contains(nodes))
        && wanted
            .what
            .iter()
            .all(|what| WHATS.contains(&what.as_str()))
        && wanted
            .subjects
            .iter()
            .all(|name| SUBJECTS.contains(&name.as_str()))
        && (0.0..1.0).contains(&wanted.loss)
        && wanted.runs > 0
        && wanted.updates > 0;
    possible.then_some(wanted)
}

/// chitchat at about our bytes at rest (50 to 60 B/s): what it sends grows with the number of nodes.
fn slow_interval(nodes: usize) -> Duration {
    Duration::from_secs(if nodes <= 10 {
        18
    } else {
        7 * nodes as u64 / 10
    })
}

fn subject(name: &str, nodes: usize, loss: f64, seed: u64) -> Box<dyn Subject> {
    let chitchat =
        |interval| ChitchatNodes::new(chitchat_nodes::Setting { interval }, nodes, loss, seed);
    match name {
        "foca" => Box::new(FocaNodes::new(foca_nodes::Setting::Wan, nodes, loss, seed)),
        "foca-eager" => Box::new(FocaNodes::new(
            foca_nodes::Setting::Eager,
            nodes,
            loss,
            seed,
        )),
        "foca-lan" => Box::new(FocaNodes::new(foca_nodes::Setting::Lan, nodes, loss, seed)),
        "foca-sure" => Box::new(FocaNodes::new(foca_nodes::Setting::Sure, nodes, loss, seed)),
        "iroh" => Box::new(IrohNodes::new(
            iroh_nodes::Setting::Default,
            nodes,
            loss,
            seed,
        )),
        "iroh-fast" => Box::new(IrohNodes::new(iroh_nodes::Setting::Fast, nodes, loss, seed)),
        "chitchat-slow" => Box::new(chitchat(slow_interval(nodes))),
        "chitchat-fast" => Box::new(chitchat(Duration::from_millis(50))),
        _ => Box::new(chitchat(Duration::from_secs(1))),
    }
}

fn main() -> ExitCode {
    let Some(wanted) = wanted() else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    for &nodes in &wanted.nodes {
        for name in &wanted.subjects {
            let mut make = |seed| subject(name, nodes, wanted.loss, seed);
            println!(
                "{}: {nodes} nodes, one way {} ms, loss {} %, {} updates, seed {}",
                make(wanted.seed).name(),
                ONE_WAY.as_millis(),
                wanted.loss * 100.0,
                wanted.updates,
                wanted.seed
            );
            for what in &wanted.what {
                let started = Instant::now();
                let lines = match what.as_str() {
                    "crash" => {
                        scenario::crashes(&mut make, wanted.runs, wanted.lengths, wanted.seed)
                    }
                    _ => {
                        let mut subject = make(wanted.seed);
                        subject.pass(subject.rest());
                        match what.as_str() {
                            "spread" => scenario::spread(
                                &mut *subject,
                                wanted.updates,
                                wanted.lengths,
                                wanted.seed,
                            ),
                            "idle" => scenario::idle(&mut *subject, wanted.lengths),
                            _ => scenario::heal(&mut *subject, wanted.lengths, wanted.seed),
                        }
                    }
                };
                println!(
                    "{}\n  ({what}: {:.1} s of real time)",
                    lines.join("\n"),
                    started.elapsed().as_secs_f64()
                );
            }
        }
    }
    ExitCode::SUCCESS
}
