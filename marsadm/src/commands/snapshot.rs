//! `snapshot save`: what this node knows, in a file.

use super::status::snapshot_of;
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::snapshot::write;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Commands about snapshots.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write what this node knows now into a new file
    ///
    /// From it, marsadm --snapshot FILE answers every reading command later and elsewhere. The file holds values of keys,
    /// among them whatever was set by hand; it is readable to its owner only. With --tree, the legacy tree is written in
    /// the same form.
    ///
    /// Example: marsadm snapshot save /tmp/now.jsonl
    Save(SaveArgs),
}

/// Where to.
#[derive(Debug, clap::Args)]
pub struct SaveArgs {
    /// The file; it must not exist
    pub file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If the state cannot be read, or the file cannot be made; then there is no file.
pub async fn run(ctx: &Ctx, command: &Command) -> Result<()> {
    let Command::Save(args) = command;
    let work = async {
        let snapshot = snapshot_of(ctx).await?;
        if ctx.opts.dry_run {
            let paths = snapshot.items.len();
            ctx.ui.note(&format!(
                "would write {paths} keys to {}",
                args.file.display()
            ));
            return Ok(());
        }
        save(&args.file, &write(&snapshot))
    };
    work.await
        .map_err(|error| error.about(&format!("snapshot save {}", args.file.display())))
}

fn save(path: &Path, text: &str) -> Result<()> {
    let opened = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::refused("the file exists").hint("name another one, or remove it first")
        }
        std::io::ErrorKind::PermissionDenied => {
            Error::new(Kind::Denied, format!("the file cannot be made: {error}"))
        }
        _ => Error::new(Kind::NotFound, format!("the file cannot be made: {error}")),
    })?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a snapshot is none.
        let left = match std::fs::remove_file(path) {
            Ok(()) => "",
            Err(_) => "; what was written stays and is of no use",
        };
        Error::internal(format!("the file cannot be written: {error}{left}"))
    })
}
