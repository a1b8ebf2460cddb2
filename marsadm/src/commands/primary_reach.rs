//! Whether the host that must give up the role can hear of it: before anything is written.

use super::each::prefixes;
use super::flush_request::FlushRequest;
use super::since::{age, since};
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::keys::Res;
use crate::limits::PRIMARY_SILENT_MAX;
use crate::plane::{plane, sign};
use crate::wait::Step;
use crate::wall::now;
use mars_meta_api::{PeerInfo, PeerState};
use tokio::time::Instant;

/// Who must give up the role of a resource before `host` may take it: the host that reports to be primary, else the
/// designated one, else the one that was remembered. `None` if `host` itself has the role, and nobody else.
pub(super) fn holder<'a>(view: &Res<'a>, host: &str) -> Option<String> {
    let designated: Option<&'a str> = view.primary();
    if has_role(view, host) {
        return None;
    }
    let others = actual_primaries(view, host);
    let first = others
        .iter()
        .find(|other| Some(other.as_str()) == designated)
        .or_else(|| others.first());
    if let Some(other) = first {
        return Some(other.clone());
    }
    if view.actual(host, "is-primary") {
        return None;
    }
    super::roles::old_primary(view)
        .filter(|old| *old != host)
        .map(str::to_owned)
}

/// Whether `host` is primary as it shall be. Who else is, too, is a split brain, and not ended from here.
fn has_role(view: &Res<'_>, host: &str) -> bool {
    view.primary() == Some(host) && view.actual(host, "is-primary")
}

fn actual_primaries(view: &Res<'_>, host: &str) -> Vec<String> {
    let members = view.storage_members().into_iter();
    members
        .filter(|member| member != host && view.actual(member, "is-primary"))
        .collect()
}

/// Refuses a planned handover where another host is, or may be, primary, and does not answer now: it would go on being
/// primary, and what is written here would reach it at any later time.
///
/// Nothing is written but a question (`userspace/flush-request`), which changes nothing wherever it is read.
pub(super) async fn check_reach(ctx: &Ctx, view: &Res<'_>, host: &str) -> Result<()> {
    if has_role(view, host) {
        return Ok(());
    }
    let actual = actual_primaries(view, host);
    let designated = view.primary().filter(|one| *one != host);
    let designated = designated.filter(|one| !actual.iter().any(|other| other == one));
    let peers = ctx.peers().await?;
    // Who is not in the roster has no say: the data plane does not heed its keys either.
    let peer = |name: &str| peers.iter().find(|peer| peer.host == name);
    // Who is designated and has not said that it is not primary may be: nothing of it was heard since this host's daemon
    // started, and what others pass on of it says nothing about its role.
    let silent_one = designated.filter(|name| !denies_role(view, name));
    let asked: Vec<&str> = actual
        .iter()
        .map(String::as_str)
        .chain(silent_one)
        .collect();
    for name in actual.iter().map(String::as_str).chain(designated) {
        if let Some(peer) = peer(name).filter(|peer| !is_up(peer)) {
            return Err(silent(view, host, peer, "there is no connection to it"));
        }
    }
    if ctx.opts.dry_run {
        if !asked.is_empty() {
            FlushRequest::ask(ctx, view.name).await?;
        }
        return Ok(());
    }
    for peer in asked.iter().filter_map(|name| peer(name)) {
        let table = ctx.table(&[&sign(&peer.host)]).await?;
        if let Some(why) = plane(&table, &peer.host).why_past(&peer.host) {
            return Err(silent(view, host, peer, &why));
        }
        if !answers(ctx, view.name, &peer.host).await? {
            let now = ctx.peers().await?;
            let peer = now.iter().find(|one| one.host == peer.host).unwrap_or(peer);
            return Err(silent(view, host, peer, "it does not answer"));
        }
    }
    Ok(())
}

/// Whether `host` tells that it is not primary. That nothing is told is another matter.
fn denies_role(view: &Res<'_>, host: &str) -> bool {
    view.text(&format!("actual-{host}/is-primary")) == Some("0")
}

fn is_up(peer: &PeerInfo) -> bool {
    peer.connected || peer.state == Some(PeerState::Up)
}

/// Asks the data plane of `primary`, and waits for the answer as long as it may be silent.
async fn answers(ctx: &Ctx, res: &str, primary: &str) -> Result<bool> {
    let request = FlushRequest::ask(ctx, res).await?;
    let [_, own] = prefixes(res);
    let prefixes = [own.as_str()];
    let answer = ctx.wait_for(&prefixes, |table| {
        let view = Res::new(table, res);
        if request.answer(&view, primary).is_some() || denies_role(&view, primary) {
            Step::Ready(())
        } else {
            Step::Waiting(format!("for an answer of {primary}, the primary of {res}"))
        }
    });
    // With a short --timeout there must be time left to say so.
    let left = ctx.deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(PRIMARY_SILENT_MAX.min(left / 4 * 3), answer).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}

fn silent(view: &Res<'_>, host: &str, peer: &PeerInfo, why: &str) -> Error {
    let (res, name) = (view.name, &peer.host);
    let role = if view.actual(name, "is-primary") {
        format!(
            "is primary of {res} as far as {host} knows, {}",
            since(view, &format!("actual-{name}/is-primary"))
        )
    } else {
        format!(
            "is the designated primary of {res}, {}",
            since(view, "primary")
        )
    };
    let heard = heard(peer.heard_ns, now().as_nanos());
    let cause = peer
        .error
        .as_ref()
        .map_or(String::new(), |error| format!(", {error}"));
    let text = format!("{name} {role}, and {why}: {heard}{cause}; the role was left as it is");
    Error::of(Code::PrimarySilent, text).hint(format!(
        "wait until it is there again (marsadm wait-cluster {name}) and repeat the command; if it is lost: marsadm disconnect \
         {res} && marsadm primary --force {res} on {host}, which gives up what {name} wrote and {host} does not have"
    ))
}

/// When a host was last heard of, in words.
fn heard(at_ns: Option<u64>, now_ns: u64) -> String {
    match at_ns {
        Some(at) => format!(
            "last heard of {} ago",
            age(now_ns.saturating_sub(at) / 1_000_000_000)
        ),
        None => "not heard of since the metadata daemon started here".to_owned(),
    }
}
