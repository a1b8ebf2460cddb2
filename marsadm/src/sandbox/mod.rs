//! A cluster of several nodes on this machine: real daemons, joined by a relay that can cut a node off.

mod control;
mod demo;
mod handle;
mod nbd_client;
mod node;
mod place;
mod relay;
mod supervisor;
mod up;

use crate::context::Ctx;
use crate::error::{Error, Result};
use clap::Subcommand;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where a sandbox is if `--dir` does not say.
const DEFAULT_DIR: &str = "./mars-sandbox";

/// A cluster of several nodes on this machine, for trying and testing. Needs no root and changes nothing outside of DIR.
///
/// Example: marsadm sandbox up --nodes 3 --size 256M
/// Example: marsadm sandbox exec hostb -- view
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Folder of the sandbox; default: ./mars-sandbox, for demo one in the folder for temporary files
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = "Start a new sandbox: nodes hosta, hostb, ... in one cluster")]
    Up(up::Args),
    /// Run marsadm on a node: exec NODE -- ARGS
    #[command(after_help = "Example: marsadm sandbox exec hostb -- view all")]
    Exec {
        /// Name of the node
        node: String,
        /// Arguments of marsadm
        #[arg(last = true, required = true)]
        args: Vec<OsString>,
    },
    /// Drop all packets from and to a node
    #[command(after_help = "Example: marsadm sandbox cut hostb")]
    Cut {
        /// Name of the node
        node: String,
    },
    /// End a cut
    #[command(after_help = "Example: marsadm sandbox heal hostb")]
    Heal {
        /// Name of the node
        node: String,
    },
    /// Kill both daemons of a node (kill -9)
    #[command(after_help = "Example: marsadm sandbox kill hostb")]
    Kill {
        /// Name of the node
        node: String,
    },
    /// Start the daemons of a node again
    #[command(after_help = "Example: marsadm sandbox start hostb")]
    Start {
        /// Name of the node
        node: String,
    },
    /// Show the nodes and their processes
    #[command(after_help = "Example: marsadm sandbox status")]
    Status,
    /// Stop everything and remove the folder
    #[command(after_help = "Example: marsadm sandbox down")]
    Down {
        /// Leave the folder with its logs
        #[arg(long)]
        keep: bool,
    },
    #[command(about = "Show all at work, and check it")]
    Demo(demo::Args),
    /// Run the nodes of the demo (used by demo)
    #[command(hide = true)]
    DemoNodes {
        /// Size of the resource in bytes
        size: u64,
    },
    /// Run the supervisor (used by up)
    #[command(hide = true)]
    Supervise,
}

impl Command {
    /// What the command does, for `--dry-run`; nothing for those that only look.
    fn would(&self) -> Option<String> {
        match self {
            Self::Up(_) => Some("start a sandbox".to_owned()),
            Self::Exec { .. } | Self::Status | Self::DemoNodes { .. } | Self::Supervise => None,
            Self::Cut { node } => Some(format!("cut off node {node}")),
            Self::Heal { node } => Some(format!("end the cut of node {node}")),
            Self::Kill { node } => Some(format!("kill the daemons of node {node}")),
            Self::Start { node } => Some(format!("start the daemons of node {node}")),
            Self::Down { keep: true } => Some("stop the sandbox and leave its folder".to_owned()),
            Self::Down { keep: false } => Some("stop the sandbox and remove its folder".to_owned()),
            Self::Demo(_) => Some("start a sandbox, show all at work and remove it".to_owned()),
        }
    }
}

/// Runs a sandbox command.
///
/// # Errors
/// What could not be done, with the next step.
pub async fn run(ctx: &Ctx, args: Args) -> Result<()> {
    if let Some(would) = args.command.would().filter(|_| ctx.opts.dry_run) {
        let dir = args
            .dir
            .as_deref()
            .unwrap_or(std::path::Path::new(DEFAULT_DIR));
        ctx.ui.note(&format!("would {would} ({})", dir.display()));
        return Ok(());
    }
    let given = args.dir.clone();
    let dir = args.dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DIR));
    let (word, work): (&str, _) = match args.command {
        Command::Up(up) => ("up", up::run(ctx, &dir, &up).await),
        Command::Exec { node, args } => ("exec", handle::exec(ctx, &dir, &node, &args)),
        Command::Cut { node } => (
            "cut",
            handle::tell(&dir, control::Request::Cut { node }).await,
        ),
        Command::Heal { node } => (
            "heal",
            handle::tell(&dir, control::Request::Heal { node }).await,
        ),
        Command::Kill { node } => (
            "kill",
            handle::tell(&dir, control::Request::Kill { node }).await,
        ),
        Command::Start { node } => ("start", handle::start(ctx, &dir, &node).await),
        Command::Status => ("status", handle::status(ctx, &dir).await),
        Command::Down { keep } => ("down", handle::down(ctx, &dir, keep).await),
        Command::Demo(args) => ("demo", demo::run(ctx, given, args).await),
        Command::DemoNodes { size } => ("demo-nodes", demo::sweep::run(&ctx.ui, &dir, size)),
        Command::Supervise => ("supervise", supervisor::process(&dir).await),
    };
    work.map_err(|error: Error| error.about(&format!("sandbox {word}")))
}
