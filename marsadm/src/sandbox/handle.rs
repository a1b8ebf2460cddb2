//! The short sandbox commands.

use super::control::{Request, call};
use super::place::Place;
use super::up;
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::output::Format;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

/// Runs marsadm on a node, in place of this process. The form of the output that is asked for here is that of the command,
/// unless it asks for another one itself, and a dry run is one of the command.
pub(super) fn exec(ctx: &Ctx, dir: &Path, node: &str, args: &[OsString]) -> Result<()> {
    let place = Place::open(dir)?;
    let socket = &place.node(node)?.socket;
    let own = std::env::current_exe()
        .map_err(|error| Error::internal(format!("the own program is not found: {error}")))?;
    let form = match ctx.ui.format() {
        Format::Table => "table",
        Format::Json => "json",
        Format::Ndjson => "ndjson",
    };
    let dry = "--dry-run";
    let dry = Some(dry).filter(|dry| ctx.opts.dry_run && !args.iter().any(|arg| arg == dry));
    let error = std::process::Command::new(&own)
        .env("MARS_SOCKET", socket)
        .env("MARS_OUTPUT", form)
        .args(dry)
        .args(args)
        .exec();
    Err(Error::internal(format!(
        "{} cannot be run: {error}",
        own.display()
    )))
}

/// Sends a request that needs no further word.
pub(super) async fn tell(dir: &Path, request: Request) -> Result<()> {
    let place = Place::open(dir)?;
    if let Request::Cut { node } | Request::Heal { node } | Request::Kill { node } = &request {
        place.node(node)?;
    }
    call(&place.control, &request).await?;
    Ok(())
}

/// Starts a node's daemons and waits until the metadata daemon answers.
pub(super) async fn start(ctx: &Ctx, dir: &Path, node: &str) -> Result<()> {
    let place = Place::open(dir)?;
    up::start_node(ctx, &place, place.node(node)?).await
}

/// Shows the nodes.
pub(super) async fn status(ctx: &Ctx, dir: &Path) -> Result<()> {
    let place = Place::open(dir)?;
    let answer = call(&place.control, &Request::Status).await?;
    for (node, paths) in answer.nodes.iter().zip(&place.nodes) {
        let programs: Vec<String> = node
            .programs
            .iter()
            .map(|(name, state)| format!("{name} {state}"))
            .collect();
        let cut = if node.cut { ", CUT OFF" } else { "" };
        ctx.ui
            .line(&format!("{}: {}{cut}", node.name, programs.join(", ")));
        ctx.ui.line(&format!(
            "  meta {}, data {}",
            node.meta_addr, node.data_addr
        ));
        ctx.ui.line(&format!("  socket {}", paths.socket.display()));
    }
    Ok(())
}

/// Stops everything; removes the folder unless `keep`.
pub(super) async fn down(ctx: &Ctx, dir: &Path, keep: bool) -> Result<()> {
    let place = Place::open(dir)?;
    match call(&place.control, &Request::Down).await {
        Ok(_) => {}
        // Without a supervisor there are no processes: they end with it.
        Err(error) if !place.control.exists() || error.kind == crate::error::Kind::Unreachable => {
            ctx.ui.note("the supervisor was gone already");
        }
        Err(error) => return Err(error),
    }
    if keep { Ok(()) } else { place.remove() }
}
