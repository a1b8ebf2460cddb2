//! `create-cluster`: the first node of a new cluster.

use super::since::since_key;
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::error_code::Code;
use mars_meta_api::Request;

/// Make this node the first of a new cluster. Refused if it belongs to one already.
///
/// Example: marsadm create-cluster
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(ctx: &Ctx, _args: &Args) -> Result<()> {
    let work = async {
        without_cluster(ctx).await?;
        if ctx.opts.dry_run {
            let host = &ctx.node().await?.host;
            ctx.ui
                .note(&format!("would write: uuid and roster/{host} (new)"));
            ctx.ui
                .note(&format!("would create a cluster on node {host}"));
            return Ok(());
        }
        ctx.call(Request::CreateCluster).await?;
        ctx.ui
            .note("successfully created the cluster; next: marsadm join-token");
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("create-cluster"))
}

/// Refuses a node that belongs to a cluster.
pub(super) async fn without_cluster(ctx: &Ctx) -> Result<()> {
    let node = ctx.node().await?;
    let Some(cluster) = &node.cluster else {
        return Ok(());
    };
    let table = ctx.table(&["roster/"]).await?;
    let since = since_key(&table, &format!("roster/{}", node.host));
    let why = format!("this node belongs to cluster {cluster} already, {since}");
    Err(Error::of(Code::AlreadyInCluster, why).hint(
        "marsadm leave-cluster leaves it; marsadm merge-cluster takes what this node has to another one",
    ))
}
