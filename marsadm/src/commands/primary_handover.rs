//! A planned handover: from a host that can hear of it to this one.

use super::disk_told::lost_since;
use super::each::prefixes;
use super::roles::designate;
use super::since::since;
use super::systemd::wait_closed;
use crate::context::{Changes, Ctx, key, set, value};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::keys::{LogPos, Res, parse_version_end};
use crate::plane::{plane, sign};
use crate::signals::interrupted;
use crate::wait::Step;
use mars_meta_model::{Table, View as _};

/// Names `host` at once, so that the data planes do the rest also where this command ends halfway: `old` stops when its
/// device is closed, and `host` takes over when it has all that `old` wrote. Waits until it has; else, or at a signal,
/// designates who was designated before.
///
/// `units`: the wishes for systemd, written at the same time, if units use the device.
pub(super) async fn handover(
    ctx: &Ctx,
    table: &Table,
    (res, host): (&str, &str),
    old: &str,
    units: Changes,
) -> Result<()> {
    let view = Res::new(table, res);
    let managed = !units.is_empty();
    let mut changes = units;
    if ctx.opts.dry_run {
        changes.extend(designate(&view, host)?);
        ctx.apply(changes).await?;
        return Ok(());
    }
    // Who was primary last is told once the role has moved: until then its log is fetched.
    changes.push(set(&format!("resource-{res}/primary"), host)?);
    // From here on a signal must not end the command before the wish is taken back.
    let interrupted = interrupted();
    ctx.apply(changes).await?;
    let phases = async {
        if managed {
            wait_closed(ctx, res, old).await?;
        }
        wait_taken(ctx, res, host, old).await?;
        ctx.apply(designate(&view, host)?).await?;
        Ok(())
    };
    let result = tokio::select! {
        result = phases => result,
        error = interrupted => Err(error),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) => {
            let before = view.text("primary").unwrap_or("(none)");
            Err(undo(ctx, res, host, before, error).await)
        }
    }
}

/// Designates who was designated `before`, if nobody else was meanwhile and `host` did not become primary.
async fn undo(ctx: &Ctx, res: &str, host: &str, before: &str, error: Error) -> Error {
    if before == host {
        return error.hint(format!(
            "{host} stays designated, as it was before, and takes over when it can; to take that back, marsadm primary {res} \
             on the host that shall be primary"
        ));
    }
    let back = async {
        let client = ctx.client().await?;
        let primary = key(&format!("resource-{res}/primary"))?;
        let actual = key(&format!("resource-{res}/actual-{host}/is-primary"))?;
        let text = |entry: Option<mars_meta_model::Entry>| {
            entry.and_then(|entry| entry.text().map(str::to_owned))
        };
        let now = text(client.get(&primary).await?);
        let taken = text(client.get(&actual).await?);
        if now.as_deref() != Some(host) || taken.as_deref() == Some("1") {
            return Ok(false);
        }
        client
            .apply([(primary, Some(value(before)?))], false)
            .await?;
        Ok::<bool, Error>(true)
    };
    match back.await {
        Ok(true) if before == "(none)" => error.hint(format!(
            "nobody is designated primary, as before; see marsadm status {res}, then repeat the command"
        )),
        Ok(true) => error.hint(format!(
            "{before} was designated primary again; see marsadm status {res}, then repeat the command"
        )),
        Ok(false) => error.hint(format!("see marsadm status {res}")),
        Err(second) => error.hint(format!(
            "{before} could not be designated again ({second}): {host} stays designated, and takes over when {res} is free; \
             to take that back, marsadm primary {res} on {before}"
        )),
    }
}

/// Waits until the old primary has stopped, and this host is primary with all that it wrote.
async fn wait_taken(ctx: &Ctx, res: &str, host: &str, old: &str) -> Result<()> {
    let [directory, own] = prefixes(res);
    let sign = sign(old);
    ctx.wait_told(&[host], &[&directory, &own, &sign], |table| {
        let view = Res::new(table, res);
        if view.primary() != Some(host) {
            let who = view.primary().unwrap_or("nobody");
            return Step::Failed(Error::of(
                Code::Conflict,
                format!("somebody else designated {who} as primary of {res} meanwhile"),
            ));
        }
        if !view.actual(host, "is-primary")
            && let Some(error) = lost_since(&view, host, "primary")
        {
            return Step::Failed(error);
        }
        match (taken(&view, host, old), plane(table, old).why_past(old)) {
            (Step::Waiting(what), Some(why)) => Step::Waiting(format!("{what} ({why})")),
            (step, _) => step,
        }
    })
    .await
}

fn taken(view: &Res<'_>, host: &str, old: &str) -> Step<()> {
    let res = view.name;
    if view.actual(old, "is-primary") {
        let opened = view
            .number(&format!("actual-{old}/open-count"))
            .unwrap_or(0);
        return Step::Waiting(if opened > 0 {
            format!(
                "for {old} to stop being primary of {res}; first umount or close the device there"
            )
        } else {
            format!("for {old} to stop being primary of {res}")
        });
    }
    if view.actual(host, "is-primary") {
        // Its data plane was faster, which takes over only behind the end of all logs.
        return Step::Ready(());
    }
    let Some(end) = view.version_end(old) else {
        return Step::Waiting(format!("for {old} to tell the end of its log of {res}"));
    };
    let Some(replay) = view.replay(host) else {
        return Step::Waiting(format!("for {host} to tell its replay position of {res}"));
    };
    if replay.at == end && replay.dirty == 0 {
        // The end may be one of long ago: keys overtake each other. The close mark in the log, which its data plane
        // waits for, cannot.
        return Step::Waiting(format!("for {host} to become primary of {res}"));
    }
    if replay.at.has_reached(&end) && replay.at != end {
        // In a log of the old primary it is ahead of a key that came later than the log.
        let ahead = replay.at.origin == old;
        if ahead || begins(view, host, &replay.at) || is_joined(view, host, &end) {
            return Step::Waiting(format!("for {host} to become primary of {res}"));
        }
        return Step::Failed(
            Error::refused(format!(
                "{host} is at {} of {res}, behind the end {end} that {old} tells, {}: their histories differ (split brain)",
                replay.at,
                since(view, &format!("replay-{host}"))
            ))
            .hint(format!("marsadm explain {res}")),
        );
    }
    Step::Waiting(format!(
        "for {host} to replay {res} up to {end} (now at {})",
        replay.at
    ))
}

/// Whether `host` has gone on from `end`: it tells the log in which that is as ended there or later, so it has all that was
/// written up to it. So it is behind the logs of the original, where the disk was taken over here and not yet there.
fn is_joined(view: &Res<'_>, host: &str, end: &LogPos) -> bool {
    let told = view.versions_of(host);
    let log = told.get(&end.nr).and_then(|text| parse_version_end(text));
    log.is_some_and(|log| log.has_reached(end))
}

/// Whether `at` is in a log of its own that `host` has begun since it was designated: that it is primary comes next.
fn begins(view: &Res<'_>, host: &str, at: &LogPos) -> bool {
    let stamp = |leaf: &str| {
        let key = key(&format!("resource-{}/{leaf}", view.name)).ok()?;
        view.table.entry(&key).map(|entry| entry.stamp)
    };
    at.origin == host && stamp(&format!("replay-{host}")) > stamp("primary")
}
