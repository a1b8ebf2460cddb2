//! Measures the metadata store beside plain sled, SQLite in WAL mode and redb.
//!
//! Rounds are interleaved; what counts is the ratio within one run. Figures and machine: `docs/performance.md`.

mod bulk;
mod engine;
mod load;
mod nobody;
mod opening;
mod reads;
mod report;
mod writes;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
struct Cli {
    /// Folder for the data, on the disk to be measured; it is removed at the end
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds of each measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// get in process and through the local API
    Get {
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        #[arg(long, default_value_t = 1_000_000)]
        gets: u64,
    },
    /// set, durable: 64 writers, and one alone
    Set {
        #[arg(long, default_value_t = 64_000)]
        sets: u64,
    },
    /// Import of a legacy tree
    Import {
        #[arg(long, default_value_t = 1_000_000)]
        links: u64,
    },
    /// Memory and opening time
    Open {
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
    },
    #[command(hide = true)]
    ImportOne { subject: String, tree: PathBuf, store: PathBuf },
    #[command(hide = true)]
    OpenOne { subject: String, store: PathBuf },
}

fn main() {
    let cli = Cli::parse();
    let folder = || tempfile::Builder::new().prefix("store-bench-").tempdir_in(&cli.dir).unwrap();
    match cli.what {
        What::Get { keys, gets } => reads::run(folder().path(), keys, gets, cli.rounds),
        What::Set { sets } => {
            let group = folder();
            writes::group(group.path(), sets, cli.rounds);
            let single = folder();
            writes::single(single.path(), 2000, cli.rounds);
        }
        What::Import { links } => bulk::run(folder().path(), links, cli.rounds),
        What::Open { keys } => opening::run(folder().path(), keys, cli.rounds),
        What::ImportOne { subject, tree, store } => bulk::one(&subject, &tree, &store),
        What::OpenOne { subject, store } => opening::one(&subject, &store),
    }
}
