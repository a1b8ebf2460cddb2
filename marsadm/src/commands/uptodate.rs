//! `wait-resource RES is-uptodate`: all replicas have what the primary had when the command began.

use super::each::{own_table, prefixes, resource_table};
use super::flush_request::FlushRequest;
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::keys::{LogPos, Res};
use crate::plane::{plane, sign};
use crate::wait::Step;
use mars_meta_model::{NodeState, members, roster};
use std::time::Duration;
use tokio::time::Instant;

/// Asks the primary to make its log durable, then waits until every replica of the roster has reached its end.
pub(super) async fn wait(ctx: &Ctx, res: &str) -> Result<()> {
    let host = ctx.host().await?;
    let table = resource_table(ctx, res).await?;
    if !members(&table, res).contains_key(host) {
        // A question of somebody else would be refused without the reason.
        own_table(ctx, host, res).await?;
    }
    let request = FlushRequest::ask(ctx, res).await?;
    if ctx.opts.dry_run {
        ctx.ui.note(&format!(
            "would ask the primary of {res} for its durable end"
        ));
        return Ok(());
    }
    let [directory, own] = prefixes(res);
    let mut end: Option<LogPos> = None;
    let sign = Res::new(&table, res).primary().map(sign);
    let mut prefixes = vec![&*directory, &*own, "roster/"];
    prefixes.extend(sign.as_deref());
    ctx.wait_for(&prefixes, |table| {
        let view = Res::new(table, res);
        let Some(primary) = view.primary() else {
            return Step::Failed(
                Error::refused(format!("resource {res} has no designated primary")).hint(format!(
                    "on the host that shall be primary: marsadm primary {res}"
                )),
            );
        };
        if end.is_none() {
            end = request.answer(&view, primary);
        }
        let Some(end) = &end else {
            let why = plane(table, primary).why_past(primary);
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            return Step::Waiting(format!(
                "for {primary} to make its log of {res} durable{why}"
            ));
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
    let request = FlushRequest::ask(ctx, res).await?;
    let [_, own] = prefixes(res);
    let prefixes = [own.as_str()];
    let answer = ctx.wait_for(&prefixes, |table| {
        match request.answer(&Res::new(table, res), primary) {
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
