//! `clock`: both clocks of this node, how they stand to the neighbours', and the repair of a poisoned store.

use crate::context::{Ctx, unexpected};
use crate::error::{Error, Result};
use mars_lamport::Timestamp;
use mars_meta_api::{NodeInfo, PeerInfo, Request, Response};
use serde_json::{Map, Value, json};

/// Print the system clock and the Lamport clock of this node, in seconds since the epoch with nine decimals; then how far
/// the neighbours' system clocks are ahead, and what was refused from them.
///
/// clock epoch: begin a new epoch of the cluster's clock, so that new writes win over stamps of the future that got into
/// the store while clocks were wrong. Set all system clocks right first; docs/clock.md says how to go on.
///
/// Example: marsadm clock
/// Example: marsadm clock epoch
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// epoch: begin a new epoch
    #[arg(value_enum)]
    pub action: Option<Action>,
}

/// What else `clock` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    /// Begin a new epoch of the cluster's clock.
    Epoch,
}

/// Runs the command.
///
/// # Errors
/// If the daemon does not answer, or refuses a new epoch.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let about = |error: Error| error.about("clock");
    if args.action.is_some() {
        return begin_epoch(ctx)
            .await
            .map_err(|error| error.about("clock epoch"));
    }
    let (wall, lamport) = match ctx.call(Request::Clock).await.map_err(about)? {
        Response::Clock { wall, lamport } => {
            let (wall, lamport) = (Timestamp::from_nanos(wall), Timestamp::from_nanos(lamport));
            ctx.ui.line(&format!("CURRENT_TIME={wall}"));
            ctx.ui.line(&format!("lamport_now={lamport}"));
            (wall, lamport)
        }
        other => return Err(about(unexpected(&other))),
    };
    let node = ctx.node().await.map_err(about)?;
    let peers = ctx.peers().await.map_err(about)?;
    for line in lines(node, &peers) {
        ctx.ui.line(&line);
    }
    let mut data = document(node, &peers);
    data["wall"] = wall.to_string().into();
    data["lamport"] = lamport.to_string().into();
    ctx.ui.document("Clock", &data)
}

/// What `lines` says, for programs. Unknown things are missing.
fn document(node: &NodeInfo, peers: &[PeerInfo]) -> Value {
    let mut data = Map::new();
    if node.cluster.is_some() && !node.clock.is_empty() {
        data.insert("epoch".to_owned(), node.epoch.into());
        data.insert("state".to_owned(), node.clock.clone().into());
        if let Some(ns) = node.clock_offset_ns {
            data.insert("neighbours_ahead_ns".to_owned(), ns.into());
        }
    }
    let others = peers.iter().filter(|peer| peer.host != node.host);
    let neighbours: Vec<Value> = others.map(neighbour).collect();
    data.insert("neighbours".to_owned(), neighbours.into());
    Value::Object(data)
}

fn neighbour(peer: &PeerInfo) -> Value {
    let mut one = json!({ "host": peer.host, "refused": peer.refused, "denied": peer.denied });
    if let Some(ns) = peer.offset_ns {
        one["ahead_ns"] = ns.into();
    }
    if let Some(stamp) = peer.refused_stamp {
        one["refused_stamp"] = Timestamp::from_nanos(stamp).to_string().into();
    }
    if let Some(last) = &peer.denied_last {
        one["denied_last"] = last.clone().into();
    }
    one
}

fn lines(node: &NodeInfo, peers: &[PeerInfo]) -> Vec<String> {
    let mut lines = Vec::new();
    if node.cluster.is_some() && !node.clock.is_empty() {
        lines.push(format!("clock_epoch={}", node.epoch));
        let offset = node.clock_offset_ns.map_or(String::new(), |ns| {
            format!(" (neighbours ahead by {})", seconds(ns))
        });
        lines.push(format!("clock_state={}{offset}", node.clock));
    }
    for peer in peers.iter().filter(|peer| peer.host != node.host) {
        let mut line = match peer.offset_ns {
            Some(ns) => format!("clock_of {} ahead by {}", peer.host, seconds(ns)),
            None if peer.refused + peer.denied == 0 => continue,
            None => format!("clock_of {} not known", peer.host),
        };
        if let Some(epoch) = peer.epoch.filter(|epoch| *epoch != node.epoch) {
            line.push_str(&format!(", in epoch {epoch}"));
        }
        if let Some(text) = refusals(peer) {
            line.push_str(&format!(", {text}"));
        }
        lines.push(line);
    }
    lines
}

/// What was refused from a peer, in words; `None` if nothing was.
pub(super) fn refusals(peer: &PeerInfo) -> Option<String> {
    let mut words = Vec::new();
    if peer.refused > 0 {
        let greatest = peer.refused_stamp.map_or(String::new(), |stamp| {
            format!(", the greatest {}", Timestamp::from_nanos(stamp))
        });
        words.push(format!(
            "{} stamps or epochs refused{greatest}",
            peer.refused
        ));
    } else if let Some(stamp) = peer.refused_stamp {
        let stamp = Timestamp::from_nanos(stamp);
        words.push(format!("clock reading {stamp} refused"));
    }
    if peer.denied > 0 {
        words.push(format!(
            "{} entries refused that it may not write, last {}",
            peer.denied,
            peer.denied_last.as_deref().unwrap_or("not known")
        ));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// Nanoseconds as seconds with three decimals and a sign.
pub(super) fn seconds(ns: i64) -> String {
    let sign = if ns < 0 { '-' } else { '+' };
    let ms = ns.unsigned_abs() / 1_000_000;
    format!("{sign}{}.{:03} s", ms / 1000, ms % 1000)
}

async fn begin_epoch(ctx: &Ctx) -> Result<()> {
    let node = ctx.node().await?;
    if node.clock == "insane" && !ctx.opts.force {
        return Err(Error::refused(
            "this node's system clock disagrees with its neighbours': a new epoch would begin with a wrong stamp",
        )
        .hint("set the system clocks right first; --force insists"));
    }
    if ctx.opts.dry_run {
        ctx.ui
            .note(&format!("would begin epoch {}", u32::from(node.epoch) + 1));
        return Ok(());
    }
    match ctx.call(Request::BeginEpoch).await? {
        Response::Epoch(epoch) => {
            ctx.ui.note(&format!(
                "epoch {epoch} of the cluster's clock has begun; now write again what the wrong stamps hold (marsadm list-links shows stamps)"
            ));
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_the_clocks_is_told_in_words() {
        let node = NodeInfo {
            host: "hosta".to_owned(),
            cluster: Some("c".to_owned()),
            clock: "insane".to_owned(),
            clock_offset_ns: Some(-90_500_000_000),
            epoch: 1,
            ..NodeInfo::default()
        };
        let quiet = PeerInfo {
            host: "hostb".to_owned(),
            offset_ns: Some(1_234_567),
            ..PeerInfo::default()
        };
        let bad = PeerInfo {
            host: "hostc".to_owned(),
            refused: 3,
            refused_stamp: Some(5_000_000_000),
            denied: 1,
            denied_last: Some("ips/ip-hosta: it is not its own".to_owned()),
            ..PeerInfo::default()
        };
        assert_eq!(
            lines(&node, &[quiet, bad]),
            [
                "clock_epoch=1",
                "clock_state=insane (neighbours ahead by -90.500 s)",
                "clock_of hostb ahead by +0.001 s",
                "clock_of hostc not known, 3 stamps or epochs refused, the greatest 5.000000000, 1 entries refused \
                 that it may not write, last ips/ip-hosta: it is not its own",
            ]
        );
    }
}
