//! `wait-cluster`: wait until all nodes were heard of.

use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::limits::POLL_INTERVAL;
use crate::wait::Teller;
use crate::wall::now_ns;
use mars_meta_model::{NodeState, check_host_name, roster};

/// Wait until every node of the cluster (or each of HOSTS) was heard of since this command began.
///
/// Ends with exit code 6 and the names of the missing nodes if that takes longer than --timeout.
///
/// Example: marsadm wait-cluster --timeout 30
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Nodes to wait for; left out: all
    pub hosts: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// The nodes that were not heard of in time.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    heard(ctx, &args.hosts)
        .await
        .map_err(|error| error.about("wait-cluster"))
}

/// Waits until each of the nodes (of none: every one) was heard of since now. A name may be a list with commas.
pub(super) async fn heard(ctx: &Ctx, hosts: &[String]) -> Result<()> {
    let me = ctx.host().await?.to_owned();
    let started = now_ns()?;
    for host in hosts.iter().flat_map(|list| list.split(',')) {
        check_host_name(host).map_err(|error| Error::of(Code::BadName, error.to_string()))?;
    }
    let mut shown = String::new();
    let mut teller = Teller::new(&ctx.ui);
    loop {
        let table = ctx.table(&["roster/"]).await?;
        let known: Vec<String> = roster(&table)
            .into_iter()
            .filter(|(_, node)| node.state == NodeState::Active)
            .map(|(host, _)| host)
            .collect();
        let wanted: Vec<String> = if hosts.is_empty() {
            known.clone()
        } else {
            hosts
                .iter()
                .flat_map(|list| list.split(','))
                .map(str::to_owned)
                .collect()
        };
        if let Some(stranger) = wanted.iter().find(|host| !known.contains(host)) {
            let why = format!("node {stranger} does not belong to the cluster");
            let hint = crate::suggest::hint("nodes of the cluster", stranger, &known);
            return Err(Error::of(Code::HostNotFound, why).hint(hint));
        }
        let peers = ctx.peers().await?;
        let heard = |host: &String| {
            *host == me
                || peers
                    .iter()
                    .any(|peer| peer.host == *host && peer.heard_ns.is_some_and(|ns| ns >= started))
        };
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|host| !heard(host))
            .map(String::as_str)
            .collect();
        let total = wanted.len();
        if missing.is_empty() {
            ctx.ui.token(&format!("{total}/{total} nodes are alive"));
            return Ok(());
        }
        let text = missing.join(" ");
        if tokio::time::Instant::now() + POLL_INTERVAL > ctx.deadline {
            return Err(Error::new(
                Kind::Timeout,
                format!(
                    "{} of {total} nodes were not heard of within {} s: {text}",
                    missing.len(),
                    ctx.opts.timeout.as_secs()
                ),
            )
            .hint("see marsadm status for the reasons; check these nodes and the network"));
        }
        if text != shown {
            ctx.ui.progress(&format!("waiting: for nodes {text}"));
            teller.changed();
            shown = text;
        }
        if teller
            .due()
            .is_some_and(|due| due <= tokio::time::Instant::now())
        {
            teller.tell(&format!("for nodes {shown}"), ctx.deadline);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
