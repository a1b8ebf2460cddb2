//! `wait-resource RES is-uptodate`: all replicas have what the primary had when the command began.

use super::each::prefixes;
use crate::context::{Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::keys::{LogPos, Res, parse_replay};
use crate::wait::Step;
use mars_lamport::Timestamp;
use mars_meta_model::{Key, NodeState, View as _, roster};
use std::time::Duration;
use tokio::time::Instant;

/// Asks the primary to make its log durable, then waits until every replica of the roster has reached its end.
pub(super) async fn wait(ctx: &Ctx, res: &str) -> Result<()> {
    let token = uuid::Uuid::new_v4().simple().to_string();
    if ctx.opts.dry_run {
        ctx.ui.note(&format!(
            "would ask the primary of {res} for its durable end"
        ));
        return Ok(());
    }
    let stamp = ctx
        .apply(vec![set(
            &format!("resource-{res}/userspace/flush-request"),
            &token,
        )?])
        .await?;
    let [directory, own] = prefixes(res);
    let mut end: Option<LogPos> = None;
    ctx.wait_for(&[&directory, &own, "roster/"], |table| {
        let view = Res::new(table, res);
        let Some(primary) = view.primary() else {
            return Step::Failed(
                Error::refused(format!("resource {res} has no designated primary")).hint(format!(
                    "on the host that shall be primary: marsadm primary {res}"
                )),
            );
        };
        if end.is_none() {
            // The key holds the last request only. One that came later covers this one, too.
            let later = later_request(&view, stamp);
            end = answered(&view, primary, &token)
                .or_else(|| answered(&view, primary, later.as_deref()?));
        }
        let Some(end) = &end else {
            return Step::Waiting(format!("for {primary} to make its log of {res} durable"));
        };
        let nodes = roster(table);
        let active = |host: &String| {
            nodes
                .get(host)
                .is_some_and(|node| node.state == NodeState::Active)
        };
        let behind: Vec<String> = view
            .storage_members()
            .into_iter()
            .filter(|host| host != primary)
            .filter(active)
            .filter_map(|host| behind(&view, &host, end))
            .collect();
        if behind.is_empty() {
            Step::Ready(())
        } else {
            Step::Waiting(format!("for replicas of {res}: {}", behind.join("; ")))
        }
    })
    .await
    .map_err(|error| match error.kind {
        Kind::Timeout => error.hint(format!(
            "marsadm explain {res} --of HOST; for this host's replica only: marsadm wait-resource {res} is-consistent"
        )),
        _ => error,
    })
}

/// The end of the log of `primary`, as its data plane answers now; nothing if it does not within `limit`.
pub(super) async fn ask_end(
    ctx: &Ctx,
    res: &str,
    primary: &str,
    limit: Duration,
) -> Result<Option<LogPos>> {
    let token = uuid::Uuid::new_v4().simple().to_string();
    let question = set(&format!("resource-{res}/userspace/flush-request"), &token)?;
    let stamp = ctx.apply(vec![question]).await?;
    let [_, own] = prefixes(res);
    let prefixes = [own.as_str()];
    let answer = ctx.wait_for(&prefixes, |table| {
        let view = Res::new(table, res);
        let later = later_request(&view, stamp);
        let mine = answered(&view, primary, &token);
        match mine.or_else(|| answered(&view, primary, later.as_deref()?)) {
            Some(end) => Step::Ready(end),
            None => Step::Waiting(format!("for {primary} to tell the end of its log of {res}")),
        }
    });
    let left = ctx.deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(limit.min(left / 2), answer).await {
        Ok(end) => end.map(Some),
        Err(_) => Ok(None),
    }
}

/// The token of the request that the store holds, if it was written after `stamp`.
pub(super) fn later_request(view: &Res<'_>, stamp: Option<Timestamp>) -> Option<String> {
    let key = Key::parse(&format!("resource-{}/userspace/flush-request", view.name)).ok()?;
    let entry = view.table.entry(&key)?;
    let text = entry.text()?;
    (Some(entry.stamp) > stamp).then(|| text.to_owned())
}

/// The primary's end of log, once it has answered. The answer is the token, or `TOKEN,log-N-ORIGIN,POS`; the
/// latter cannot be overtaken by the version key.
pub(super) fn answered(view: &Res<'_>, primary: &str, token: &str) -> Option<LogPos> {
    let done = view.text(&format!("actual-{primary}/flush-done"))?;
    let rest = done.strip_prefix(token)?;
    match rest.strip_prefix(',') {
        Some(position) => parse_replay(position).map(|replay| replay.at),
        None => view.version_end(primary),
    }
}

fn behind(view: &Res<'_>, host: &str, end: &LogPos) -> Option<String> {
    if let Some(reason) = view.unsynced(host) {
        return Some(reason);
    }
    match view.replay(host) {
        Some(replay) if replay.at.has_reached(end) => None,
        Some(replay) => Some(format!("{host} is at {}, not yet at {end}", replay.at)),
        None => Some(format!("the replay position of {host} is not known")),
    }
}
