//! `ca`: the authority of the cluster, which signs the certificates of joining nodes: backup, and move to another node.

use super::since::since_key;
use crate::context::{Ctx, unexpected};
use crate::error::{Error, Kind, Result};
use crate::limits::SMALL_FILE_MAX;
use mars_meta_api::{Request, Response, Secret};
use mars_meta_model::View as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What `ca` does.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the private key of the cluster's authority to a new file that only you can read (0600)
    ///
    /// Whoever has the file can make members of the cluster: keep it offline, or encrypt it at once. Only the node that
    /// holds the authority can do this (key defaults/ca-host names it).
    ///
    /// Example: marsadm ca export /root/mars-ca.key
    Export(Args),
    /// Take the authority over to this node, from the file that export wrote
    ///
    /// For when the node that held it is lost, or shall be relieved. From then on join-token works here.
    ///
    /// Example: marsadm ca import /root/mars-ca.key
    Import(Args),
}

/// The file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The file, or the daemon's refusal.
pub async fn run(ctx: &Ctx, command: &Command) -> Result<()> {
    match command {
        Command::Export(args) => export(ctx, &args.file)
            .await
            .map_err(|error| error.about("ca export")),
        Command::Import(args) => import(ctx, &args.file)
            .await
            .map_err(|error| error.about("ca import")),
    }
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::AlreadyExists => Kind::Refused,
        _ => Kind::of_io(error),
    };
    Error::new(kind, format!("{} {what}: {error}", path.display()))
}

/// Refuses, without asking the daemon for anything, a node that does not hold the authority of its cluster.
pub(super) async fn with_authority(ctx: &Ctx) -> Result<()> {
    let host = ctx.host().await?;
    let table = ctx.table(&["defaults/"]).await?;
    let key = "defaults/ca-host";
    match table.text(key) {
        Some(holder) if holder != host => Err(Error::refused(format!(
            "the authority of the cluster is on {holder}, {}",
            since_key(&table, key)
        ))
        .hint(format!(
            "do it on {holder}; if that node is lost, restore the authority here: marsadm ca import FILE"
        ))),
        _ => Ok(()),
    }
}

async fn export(ctx: &Ctx, path: &Path) -> Result<()> {
    if ctx.opts.dry_run {
        with_authority(ctx).await?;
        if path.symlink_metadata().is_ok() {
            let exists = std::io::ErrorKind::AlreadyExists.into();
            return Err(failed(path, "cannot be written", &exists));
        }
        ctx.ui.note(&format!("would write {}", path.display()));
        return Ok(());
    }
    let key = match ctx.call(Request::ExportAuthority).await {
        Ok(Response::Token(key)) => key,
        Ok(other) => return Err(unexpected(&other)),
        Err(error) => {
            if error.kind == Kind::Refused {
                with_authority(ctx).await?;
            }
            return Err(error);
        }
    };
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(key.0.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| failed(path, "cannot be written", &error))?;
    ctx.ui.note(&format!(
        "{} holds the key of the cluster's authority: whoever has it can make members; keep it offline",
        path.display()
    ));
    Ok(())
}

async fn import(ctx: &Ctx, path: &Path) -> Result<()> {
    let read = |error: std::io::Error| failed(path, "cannot be read", &error);
    let file = File::open(path).map_err(read)?;
    let mode = file.metadata().map_err(read)?.permissions().mode();
    if mode & 0o077 != 0 && !ctx.opts.force {
        return Err(Error::refused(format!(
            "{} is open to others (mode {:o}): somebody may have copied the key",
            path.display(),
            mode & 0o777
        ))
        .hint("chmod 600 it if you are sure that nobody has, or --force"));
    }
    let mut text = String::new();
    file.take(SMALL_FILE_MAX)
        .read_to_string(&mut text)
        .map_err(read)?;
    if ctx.opts.dry_run {
        let host = ctx.host().await?;
        ctx.ui
            .note(&format!("would write: defaults/ca-host -> {host}"));
        ctx.ui
            .note("would take the authority over, if the key is that of the cluster");
        return Ok(());
    }
    let key = Secret(text);
    let insist = ctx.opts.force;
    ctx.call(Request::ImportAuthority { key, insist }).await?;
    ctx.ui
        .note("this node holds the authority of the cluster now: join-token works here");
    Ok(())
}
