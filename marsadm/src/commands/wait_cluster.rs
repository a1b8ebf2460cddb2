//! `wait-cluster`: wait until all nodes were heard of.

use crate::context::{Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::list_parts;
use crate::limits::{HEARD_BY_OTHERS_SECS, POLL_INTERVAL, SIGNS_POLL};
use crate::wait::Teller;
use crate::wall::now_ns;
use mars_lamport::Timestamp;
use mars_meta_api::{PeerInfo, PeerState};
use mars_meta_model::{NodeState, View as _, check_host_name, roster};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long after the question most signs of life come.
const SOON: Duration = Duration::from_secs(3);

/// Wait until every node of the cluster (or each of HOSTS) was heard of since this command began. All are asked for a sign
/// of life, which takes a moment where they live.
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
    let work = async { heard(ctx, &ask(ctx, &args.hosts).await?, &args.hosts).await };
    work.await.map_err(|error| error.about("wait-cluster"))
}

/// The question for signs of life.
#[derive(Debug)]
pub(super) struct Asked {
    /// System clock when it was put.
    at: u64,
    /// Its stamp; answers have later ones. `None`: it was not put.
    stamp: Option<Timestamp>,
}

/// Asks all nodes of the cluster for a sign of life, if `hosts` are among them.
pub(super) async fn ask(ctx: &Ctx, hosts: &[String]) -> Result<Asked> {
    // That it acts for a host of the cluster.
    ctx.host().await?;
    wanted(ctx, hosts).await?;
    let at = now_ns()?;
    let mut asked = Asked { at, stamp: None };
    // Also with --dry-run: it is an observation, as the answers are, and wishes nothing.
    let me = &ctx.node().await?.host;
    let now = Timestamp::from_nanos(at).to_string();
    let question = set(&format!("actual-{me}/alive-request"), &now)?;
    let client = ctx.client().await?;
    let put = client.apply([question], false);
    // Where nothing may be written, signs of life come every 10 s all the same.
    let put = ctx
        .bounded("the metadata daemon did not answer", put)
        .await?;
    asked.stamp = put.ok();
    Ok(asked)
}

/// The nodes that `hosts` name, or all; each must belong to the cluster.
async fn wanted(ctx: &Ctx, hosts: &[String]) -> Result<Vec<String>> {
    let names = || hosts.iter().flat_map(|list| list_parts(list));
    for host in names() {
        check_host_name(host).map_err(|error| Error::of(Code::BadName, error.to_string()))?;
    }
    let table = ctx.table(&["roster/"]).await?;
    let known: Vec<String> = roster(&table)
        .into_iter()
        .filter(|(_, node)| node.state == NodeState::Active)
        .map(|(host, _)| host)
        .collect();
    if hosts.is_empty() {
        return Ok(known);
    }
    let wanted: Vec<String> = names().map(str::to_owned).collect();
    if let Some(stranger) = wanted.iter().find(|host| !known.contains(host)) {
        let why = format!("node {stranger} does not belong to the cluster");
        let hint = crate::suggest::hint("nodes of the cluster", stranger, &known);
        return Err(Error::of(Code::HostNotFound, why).hint(hint));
    }
    Ok(wanted)
}

/// Whether a node was heard of since the question. `answers`: the stamps of all answers by host.
fn is_heard(peer: &PeerInfo, asked: &Asked, answers: &BTreeMap<String, Timestamp>) -> bool {
    let answer = answers.get(&peer.host);
    if asked
        .stamp
        .is_some_and(|stamp| answer.is_some_and(|answer| *answer > stamp))
    {
        return true;
    }
    // What is heard over others is as old as it takes them to miss somebody.
    let told = matches!(peer.state, Some(PeerState::Up | PeerState::Suspect));
    let late = if told && !peer.connected {
        HEARD_BY_OTHERS_SECS * 1_000_000_000
    } else {
        0
    };
    peer.heard_ns
        .is_some_and(|heard| heard >= asked.at.saturating_add(late))
}

async fn answers(ctx: &Ctx) -> Result<BTreeMap<String, Timestamp>> {
    let table = ctx.table(&["actual-"]).await?;
    let found = table.scan("actual-").filter_map(|entry| {
        let rest = entry.key.as_str().strip_prefix("actual-")?;
        let host = rest.strip_suffix("/alive-answer")?;
        Some((host.to_owned(), entry.stamp))
    });
    Ok(found.collect())
}

/// Waits until each of the nodes (of none: every one) was heard of since they were asked. A name may be a list with commas.
pub(super) async fn heard(ctx: &Ctx, asked: &Asked, hosts: &[String]) -> Result<()> {
    let me = ctx.host().await?.to_owned();
    let mut shown = String::new();
    let mut teller = Teller::new(&ctx.ui);
    let begin = Instant::now();
    loop {
        let wanted = wanted(ctx, hosts).await?;
        let (peers, answers) = (ctx.peers().await?, answers(ctx).await?);
        let heard = |host: &String| {
            let mut peer = peers.iter().filter(|peer| peer.host == *host);
            *host == me || peer.any(|peer| is_heard(peer, asked, &answers))
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
        let now = Instant::now();
        // A sign of life may come as late as the time ends: signs are given once a second.
        let end = ctx.deadline.checked_sub(SIGNS_POLL).unwrap_or(now);
        if now >= end {
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
        if teller.due().is_some_and(|due| due <= now) {
            teller.tell(&format!("for nodes {shown}"), ctx.deadline);
        }
        let pause = if begin.elapsed() < SOON {
            SIGNS_POLL
        } else {
            POLL_INTERVAL
        };
        tokio::time::sleep_until((now + pause).min(end)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_heard_of_over_others_has_to_answer() {
        let asked = Asked {
            at: 100,
            stamp: Some(Timestamp::from_nanos(7)),
        };
        let answers = |stamp| BTreeMap::from([("b".to_owned(), Timestamp::from_nanos(stamp))]);
        let mut peer = PeerInfo {
            host: "b".to_owned(),
            connected: true,
            state: Some(PeerState::Up),
            heard_ns: Some(99),
            ..PeerInfo::default()
        };
        assert!(!is_heard(&peer, &asked, &answers(7)), "before the question");
        assert!(is_heard(&peer, &asked, &answers(8)));
        peer.heard_ns = Some(100);
        assert!(is_heard(&peer, &asked, &answers(1)), "directly");
        peer.connected = false;
        assert!(!is_heard(&peer, &asked, &answers(1)), "who knows when");
        assert!(is_heard(&peer, &asked, &answers(8)));
        peer.heard_ns = Some(100 + HEARD_BY_OTHERS_SECS * 1_000_000_000);
        assert!(is_heard(&peer, &asked, &answers(1)), "late enough");
    }
}
