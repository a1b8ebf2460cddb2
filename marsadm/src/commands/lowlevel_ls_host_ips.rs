//! `lowlevel-ls-host-ips`: nodes and their addresses.

use crate::context::Ctx;
use crate::error::{Error, Result};
use mars_meta_model::{NodeState, roster};
use serde_json::json;

/// Print each node of the cluster with its address, as `HOST IP`.
///
/// Example: marsadm lowlevel-ls-host-ips
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// If the daemon does not answer.
pub async fn run(ctx: &Ctx, _args: &Args) -> Result<()> {
    let table = ctx
        .table(&["roster/"])
        .await
        .map_err(|error: Error| error.about("lowlevel-ls-host-ips"))?;
    let mut items = Vec::new();
    for (host, node) in roster(&table) {
        if let (NodeState::Active, Some(addr)) = (node.state, node.meta.first()) {
            items.push(json!({ "host": host, "ip": addr.ip().to_string() }));
            ctx.ui.line(&format!("{host} {}", addr.ip()));
        }
    }
    ctx.ui.items("HostAddress", &items)
}
