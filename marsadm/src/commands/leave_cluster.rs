//! `leave-cluster`: give up this node's membership.

use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::error_code::Code;
use mars_meta_api::Request;
use mars_meta_model::roster;

/// Leave the cluster. The other nodes cut this one off; its daemon gives up identity and store and belongs to no cluster
/// afterwards, so it may create or join one. Nobody else can come in under this node's key.
///
/// Refused while this host is a member of a resource, holds the authority of the cluster, is the last node, or while no
/// other node is connected. --force skips these checks. Restart mars-datapath afterwards.
///
/// For a node that is dead: --host=DEAD on another node, which is lowlevel-delete-host DEAD.
///
/// Example: marsadm leave-cluster
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(ctx: &Ctx, _args: &Args) -> Result<()> {
    let work = async {
        let host = ctx.host().await?;
        if ctx.node().await?.host != host {
            let known = roster(&ctx.table(&["roster/"]).await?);
            if !known.contains_key(host) {
                let names: Vec<String> = known.into_keys().collect();
                return Err(Error::of(
                    Code::HostNotFound,
                    format!("{host} was never a node of this cluster"),
                )
                .hint(crate::suggest::hint("nodes", host, &names)));
            }
            return super::lowlevel_delete_host::take_out(ctx, host).await;
        }
        if ctx.opts.dry_run {
            ctx.ui
                .note(&format!("would take {host} out of the cluster"));
            return Ok(());
        }
        let force = ctx.opts.force;
        ctx.call(Request::LeaveCluster { force }).await?;
        ctx.ui.note("successfully left the cluster");
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("leave-cluster"))
}
