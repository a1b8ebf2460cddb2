//! `create-cluster`: the first node of a new cluster.

use crate::context::Ctx;
use crate::error::Result;
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
        if ctx.opts.dry_run {
            let node = ctx.node().await?;
            ctx.ui
                .note(&format!("would create a cluster on node {}", node.host));
            return Ok(());
        }
        ctx.call(Request::CreateCluster).await?;
        ctx.ui
            .note("successfully created the cluster; next: marsadm join-token");
        Ok(())
    };
    work.await
        .map_err(|error: crate::error::Error| error.about("create-cluster"))
}
