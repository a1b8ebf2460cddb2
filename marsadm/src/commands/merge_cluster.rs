//! `merge-cluster` and its relatives: two clusters become one, node by node.

use super::join_cluster::read_token;
use crate::context::{Ctx, unexpected};
use crate::error::{Error, Kind, Result};
use mars_meta_api::{MergeInfo, Request, Response};
use mars_meta_model::{NodeState, Table, View as _, resources, roster};

/// Move this node to another cluster, with all that its store holds: its resources, and the keys of its cluster.
///
/// Two clusters become one when every node of the one has run this with a token of the other (join-token --uses N there).
/// The names of hosts and resources must differ; that is checked first, nothing is changed otherwise
/// (merge-cluster-check only checks). The data planes of nodes that have moved and of those that have not do not see each
/// other: do it in one go.
///
/// The token is read from a file, from stdin (-), or from the environment variable MARS_JOIN_TOKEN.
///
/// Example: marsadm merge-cluster hosta:7900 --token /root/token
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A node of the other cluster as `HOST[:PORT]`; left out: the address in the token
    pub host: Option<String>,
    /// File with a join token of the other cluster, or - for stdin
    #[arg(long, value_name = "FILE")]
    pub token: Option<String>,
}

/// Print name, nodes and resources of this cluster, as its node sees them.
///
/// Example: marsadm merge-cluster-list
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ListArgs {}

async fn ask(ctx: &Ctx, args: &Args, check: bool) -> Result<MergeInfo> {
    let request = Request::MergeCluster {
        addr: args.host.clone(),
        token: read_token(args.host.as_deref(), args.token.as_deref())?,
        check,
    };
    match ctx.call(request).await? {
        Response::Merge(info) => Ok(info),
        other => Err(unexpected(&other)),
    }
}

fn verdict(info: &MergeInfo) -> Result<()> {
    if info.conflicts.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Refused,
        format!(
            "the clusters cannot be merged: {}",
            info.conflicts.join("; ")
        ),
    )
    .hint("names cannot be changed: give up the one or the other, or leave the clusters apart"))
}

/// `merge-cluster`.
///
/// # Errors
/// What is in the way, or the daemon's refusal.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let info = ask(ctx, args, ctx.opts.dry_run).await?;
        verdict(&info)?;
        if ctx.opts.dry_run {
            ctx.ui.note(&format!("would move to cluster {}", info.uuid));
            return Ok(());
        }
        ctx.ui.note(&format!(
            "this node belongs to cluster {} now; next: move the other nodes of the former cluster",
            info.uuid
        ));
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("merge-cluster"))
}

/// `merge-cluster-check`: only tells whether the two could become one.
///
/// # Errors
/// What is in the way.
pub async fn check(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let info = ask(ctx, args, true).await?;
        verdict(&info)?;
        ctx.ui.note(&format!(
            "nothing is in the way of a merge with {}",
            info.uuid
        ));
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("merge-cluster-check"))
}

/// `merge-cluster-check-list`: prints the other cluster's name, nodes and resources.
///
/// # Errors
/// The daemon's refusal.
pub async fn check_list(ctx: &Ctx, args: &Args) -> Result<()> {
    let info = ask(ctx, args, true).await;
    let info = info.map_err(|error| error.about("merge-cluster-check-list"))?;
    let hosts = info.hosts.iter().map(|(host, _)| host.as_str());
    print(ctx, &info.uuid, hosts, &info.resources);
    Ok(())
}

/// `merge-cluster-list`.
///
/// # Errors
/// If the daemon does not answer.
pub async fn list(ctx: &Ctx, _args: &ListArgs) -> Result<()> {
    let table: Table = ctx
        .table(&["uuid", "roster/", "directory/"])
        .await
        .map_err(|error| error.about("merge-cluster-list"))?;
    let nodes = roster(&table);
    let active = nodes
        .iter()
        .filter(|(_, record)| record.state == NodeState::Active);
    let all: Vec<String> = resources(&table).into_iter().collect();
    let hosts = active.map(|(host, _)| host.as_str());
    print(ctx, table.text("uuid").unwrap_or_default(), hosts, &all);
    Ok(())
}

fn print<'a>(ctx: &Ctx, uuid: &str, hosts: impl Iterator<Item = &'a str>, resources: &[String]) {
    ctx.ui.line(&format!("UUID: {uuid}"));
    ctx.ui.line("IPs:");
    for host in hosts {
        ctx.ui.line(&format!("/mars/ips/ip-{host}"));
    }
    ctx.ui.line("RESOURCEs:");
    for res in resources {
        ctx.ui.line(&format!("/mars/resource-{res}"));
    }
}
