//! `view`: nodes and resources in plain lines.

use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::keys::{Res, natural};
use crate::size::human;
use mars_meta_api::{NodeInfo, PeerInfo};
use mars_meta_model::{Membership, NodeState, Table, members, resources, roster};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Show the cluster, its nodes, and the resources that this host knows.
///
/// Example: marsadm view mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas; left out or all: all
    #[arg(value_name = "RES", default_value = "all")]
    pub resource: String,
}

/// Runs the command.
///
/// # Errors
/// If the daemon does not answer, or there is no such resource.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let node = ctx.node().await?;
        let peers = ctx.peers().await?;
        let table = ctx.table(&["directory/", "resource-", "roster/"]).await?;
        let mut all: Vec<String> = resources(&table).into_iter().collect();
        all.sort_by_cached_key(|name| natural(name));
        let list: Vec<String> = if args.resource == "all" {
            all
        } else {
            let wanted: Vec<String> = args.resource.split(',').map(str::to_owned).collect();
            if let Some(missing) = wanted.iter().find(|name| !all.contains(name)) {
                return Err(
                    Error::not_found(format!("resource {missing} does not exist"))
                        .hint(format!("resources of the cluster: {}", all.join(" "))),
                );
            }
            wanted
        };
        let now_ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        for line in nodes(node, &peers, &table, now_ns, ctx.opts.window) {
            ctx.ui.line(&line);
        }
        for name in &list {
            for line in resource(&table, name, &node.host) {
                ctx.ui.line(&line);
            }
        }
        Ok(())
    };
    work.await.map_err(|error| error.about("view"))
}

fn nodes(
    node: &NodeInfo,
    peers: &[PeerInfo],
    table: &Table,
    now_ns: u64,
    window: Duration,
) -> Vec<String> {
    let cluster = match &node.cluster {
        Some(cluster) => format!("cluster {cluster}"),
        None => "no cluster yet (create-cluster or join-cluster)".to_owned(),
    };
    let mut lines = vec![format!("{cluster}, seen from {}", node.host)];
    for (host, record) in roster(table) {
        let addr = record.meta.first().map(ToString::to_string);
        let addr = addr.unwrap_or_else(|| "no address".to_owned());
        if record.state == NodeState::Left {
            lines.push(format!("  node {host:<12} {addr:<21} left"));
            continue;
        }
        let peer = peers.iter().find(|peer| peer.host == host);
        let state = if host == node.host {
            "this node".to_owned()
        } else {
            match peer.and_then(|peer| peer.heard_ns) {
                Some(heard) => {
                    let age = Duration::from_nanos(now_ns.saturating_sub(heard));
                    let word = if age <= window { "alive" } else { "SILENT" };
                    format!(
                        "{word}, heard {}.{} s ago",
                        age.as_secs(),
                        age.subsec_millis() / 100
                    )
                }
                None => "SILENT, not heard of since marsd started here".to_owned(),
            }
        };
        let rtt = peer.and_then(|peer| peer.rtt_us);
        let rtt = rtt.map_or(String::new(), |us| {
            format!(", rtt {}.{:03} ms", us / 1000, us % 1000)
        });
        let error = peer
            .filter(|p| !p.connected)
            .and_then(|p| p.error.as_deref());
        let error = error.map_or(String::new(), |error| format!(" ({error})"));
        lines.push(format!("  node {host:<12} {addr:<21} {state}{rtt}{error}"));
        if host == node.host && matches!(node.clock.as_str(), "warn" | "insane") {
            let offset = node
                .clock_offset_ns
                .map_or(String::new(), super::clock::seconds);
            let word = if node.clock == "insane" {
                "CLOCK INSANE, shared keys are not written here"
            } else {
                "clock doubtful"
            };
            lines.push(format!(
                "    {word}: the neighbours' clocks are ahead by {offset}"
            ));
        }
        if let Some(refused) = peer.and_then(super::clock::refusals) {
            lines.push(format!("    {refused}"));
        }
    }
    lines
}

fn resource(table: &Table, name: &str, me: &str) -> Vec<String> {
    let all = members(table, name);
    let view = Res::new(table, name);
    let storage = all.values().filter(|m| **m == Membership::Storage).count();
    let size = view
        .number("size")
        .map_or("size not known here".to_owned(), human);
    let designated = view.text("primary").unwrap_or("not known here");
    let mut lines = vec![format!(
        "resource {name}: {size}, {storage} replicas, primary {designated}"
    )];
    if !all.contains_key(me) {
        let hosts: Vec<&str> = all.keys().map(String::as_str).collect();
        lines.push(format!("  on {} (this host is no member)", hosts.join(" ")));
        return lines;
    }
    let end = view.primary().and_then(|primary| view.version_end(primary));
    for (host, kind) in &all {
        if *kind == Membership::Guest {
            lines.push(format!("  {host:<12} guest"));
            continue;
        }
        let role = match (
            view.primary() == Some(host),
            view.actual(host, "is-primary"),
        ) {
            (false, false) => "Secondary",
            (true, false) => "NotYetPrimary",
            (false, true) => "RemainsPrimary",
            (true, true) => "Primary",
        };
        let position = match view.replay(host) {
            None => "position not known".to_owned(),
            Some(replay) => match &end {
                Some(end) if replay.at.nr == end.nr && replay.at.origin == end.origin => {
                    format!(
                        "{}, lag {}",
                        replay.at,
                        human(end.pos.saturating_sub(replay.at.pos))
                    )
                }
                Some(end) => format!("{}, primary at {end}", replay.at),
                None => replay.at.to_string(),
            },
        };
        lines.push(format!(
            "  {host:<12} {role:<14} {:<22} {} {position}",
            disk_state(&view, host),
            flags(&view, host),
        ));
    }
    lines
}

fn disk_state(view: &Res<'_>, host: &str) -> String {
    let error = view.text(&format!("actual-{host}/disk-error"));
    if let Some(error) = error.filter(|text| *text != "0") {
        return format!("DiskError {error}");
    }
    if view.actual(host, "is-emergency") {
        return "EmergencyMode".to_owned();
    }
    let size = view.number("size").unwrap_or(0);
    let synced = view.number(&format!("syncstatus-{host}")).unwrap_or(0);
    let state = if size > 0 && synced < size {
        let percent = u128::from(synced) * 100 / u128::from(size);
        format!("Inconsistent {percent}%")
    } else if view.unsynced(host).is_some() {
        "Inconsistent (replay)".to_owned()
    } else {
        "Consistent".to_owned()
    };
    if view.actual(host, "is-attached") {
        state
    } else {
        format!("Detached,{state}")
    }
}

/// Five switches as letters: device, attach, sync, fetch, replay. Capital: on and active; small: on; `-`: off.
fn flags(view: &Res<'_>, host: &str) -> String {
    let mut out = String::from(if view.actual(host, "if-on") { "D" } else { "-" });
    for (todo, actual, letter) in [
        ("attach", "is-attached", 'a'),
        ("sync", "is-syncing", 's'),
        ("connect", "is-copying", 'f'),
        ("allow-replay", "is-replaying", 'r'),
    ] {
        out.push(match (view.todo(host, todo), view.actual(host, actual)) {
            (_, true) => letter.to_ascii_uppercase(),
            (true, false) => letter,
            (false, false) => '-',
        });
    }
    out
}
