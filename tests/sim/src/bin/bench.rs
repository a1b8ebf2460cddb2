//! Prints figures that were measured in virtual time: `bench WHAT [--nodes N,N,..] [--updates U] [--seed S]`.

use mars_sim::bench::{Converge, NETWORK, Rejoin, converge, crash, heal, idle, memory, rejoin};
use std::io::{self, Write as _};
use std::process::ExitCode;

const USAGE: &str =
    "usage: bench WHAT [--nodes N,N,..] [--updates U] [--members M] [--keys K] [--loss L] [--seed S]
  converge  one change to all nodes
  resource  one change to all members of a resource (--members, default 4)
  idle      what nodes send when nothing happens
  heal      what is known after two halves were apart for a minute
  crash     time until all say that a node is down
  memory    what connections take in memory (one number of nodes per process)
  rejoin    what it takes one of two nodes to come back (--keys, default 1000000; --updates, default 1000)
  defaults: 10 nodes, 100 updates, loss 0.01, seed 1";

struct Wanted {
    what: String,
    nodes: Vec<u16>,
    updates: Option<u32>,
    members: u16,
    keys: u32,
    loss: f64,
    seed: u64,
}

fn wanted() -> Option<Wanted> {
    let mut args = std::env::args().skip(1);
    let mut wanted = Wanted {
        what: args.next()?,
        nodes: vec![10],
        updates: None,
        members: 4,
        keys: 1_000_000,
        loss: NETWORK.loss,
        seed: 1,
    };
    while let Some(name) = args.next() {
        let value = args.next()?;
        match name.as_str() {
            "--nodes" => {
                let nodes: Result<_, _> = value.split(',').map(str::parse).collect();
                wanted.nodes = nodes.ok()?;
            }
            "--updates" => wanted.updates = Some(value.parse().ok()?),
            "--keys" => wanted.keys = value.parse().ok()?,
            "--members" => wanted.members = value.parse().ok()?,
            "--loss" => wanted.loss = value.parse().ok()?,
            "--seed" => wanted.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    let possible = wanted.nodes.iter().all(|nodes| (2..=4000).contains(nodes))
        && (0.0..1.0).contains(&wanted.loss);
    possible.then_some(wanted)
}

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let Some(wanted) = wanted() else {
        writeln!(out, "{USAGE}")?;
        return Ok(ExitCode::from(2));
    };
    for nodes in wanted.nodes {
        let updates = |members| Converge {
            nodes,
            updates: wanted.updates.unwrap_or(100),
            members,
            loss: wanted.loss,
            seed: wanted.seed,
        };
        let lines = match wanted.what.as_str() {
            "converge" => converge(updates(None)),
            "resource" => converge(updates(Some(wanted.members.min(nodes)))),
            "idle" => idle(nodes, wanted.seed),
            "heal" => heal(nodes, wanted.seed),
            "crash" => crash(nodes, wanted.seed),
            "memory" => memory(nodes, wanted.seed),
            "rejoin" => rejoin(Rejoin {
                keys: wanted.keys,
                changed: wanted.updates.unwrap_or(1000),
                loss: wanted.loss,
                seed: wanted.seed,
            }),
            _ => {
                writeln!(out, "{USAGE}")?;
                return Ok(ExitCode::from(2));
            }
        };
        match lines {
            Ok(lines) => writeln!(out, "{}", lines.join("\n"))?,
            Err(reason) => {
                writeln!(out, "{nodes} nodes: {reason}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}
