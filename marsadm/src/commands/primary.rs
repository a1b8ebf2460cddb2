//! `primary`: planned handover to this host, or failover with `--force`.

use super::down::grace_for_closing;
use super::each::{data_plane_hint, each, own_table, prefixes};
use super::roles::{designate, old_primary};
use super::since::since;
use super::systemd::{is_managed, wait_closed, wait_opened, want_back, wanting};
use super::up::{switch_on, up};
use crate::context::{Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::Res;
use crate::wait::Step;
use mars_meta_model::Table;

/// Make this host the primary of a resource.
///
/// Planned: the old primary must be reachable and its device closed. It stops first; this host replays all that it
/// wrote and then takes over. Nothing is lost. If that does not come about in time, the old primary is designated again.
///
/// Where systemd units use the device (get-systemd-unit), they are stopped on the old primary and started here.
///
/// With --force: take over without asking the old primary. What it wrote and this host does not have is lost, and if
/// the old primary goes on writing, there is a split brain. Needs pause-fetch first.
///
/// Example: marsadm primary mydata
/// Example: marsadm pause-fetch mydata && marsadm primary --force mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Take over although another replica than this host's is still syncing
    #[arg(long)]
    pub ignore_sync: bool,
}

/// Runs the command.
///
/// # Errors
/// A precondition with its reason (nothing was changed), or what did not come about in time.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "primary", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        let managed = is_managed(ctx, &view);
        if !ctx.opts.force
            && !managed
            && let Some(old) = old_primary(&view)
        {
            grace_for_closing(ctx, old, res).await?;
        }
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        let designated = view.primary() == Some(host);
        if !designated {
            check_replica(&view, host)?;
            if !ctx.opts.force {
                check_planned(&view, host, args.ignore_sync, managed)?;
            }
        }
        if !managed {
            return take_role(ctx, table, host, res).await;
        }
        let old = old_primary(&view).map(str::to_owned);
        let before = view.text("systemd-want").unwrap_or("(none)").to_owned();
        ctx.apply(wanting(res, host, old.as_deref())?).await?;
        let moved = match old.filter(|old| old != host && !ctx.opts.force && !ctx.opts.dry_run) {
            None => Ok(()),
            Some(old) => tokio::select! {
                result = wait_closed(ctx, res, &old) => result,
                _ = tokio::signal::ctrl_c() => Err(Error::of(Code::Interrupted, "interrupted")),
            },
        };
        let moved = match moved {
            Ok(()) => take_role(ctx, own_table(ctx, host, res).await?, host, res).await,
            Err(error) => Err(error),
        };
        match moved {
            Err(error) if ctx.opts.force || before == host => return Err(error),
            Err(error) => return Err(want_back(ctx, res, host, &before, error).await),
            Ok(()) if ctx.opts.dry_run => return Ok(()),
            Ok(()) => {}
        }
        let old = old_primary(&view).unwrap_or("HOST");
        let result = wait_opened(ctx, res, host).await;
        result.map_err(|error| {
            error.leaving(
                &format!("{host} is primary of {res}, and its units are still to start there"),
                &format!("marsadm primary {res} on {old}"),
            )
        })
    })
    .await
}

/// The change of roles, once the device may be closed at the old primary.
async fn take_role(ctx: &Ctx, table: Table, host: &str, res: &str) -> Result<()> {
    let view = Res::new(&table, res);
    let designated = view.primary() == Some(host);
    let table = if ctx.opts.force && !view.actual(host, "is-primary") {
        check_failover(&view, host)?;
        wait_not_copying(ctx, host, res).await?;
        let table = own_table(ctx, host, res).await?;
        accept_log_end(ctx, &Res::new(&table, res), host).await?;
        table
    } else {
        table
    };
    let view = Res::new(&table, res);
    match old_primary(&view).filter(|old| *old != host) {
        Some(old) if !designated && !ctx.opts.force => {
            handover(ctx, &table, res, host, old).await?;
        }
        _ => {
            ctx.apply(designate(&view, host)?).await?;
        }
    }
    let before = view.text("primary").unwrap_or("(none)");
    ctx.done(
        &format!("designated primary of {res} changed from '{before}' to '{host}'"),
        &format!("change the designated primary of {res} from '{before}' to '{host}'"),
    );
    if ctx.opts.dry_run {
        return Ok(());
    }
    let left = format!("{host} stays designated, and becomes primary of {res} as soon as it can");
    let back = match before {
        "(none)" => format!("marsadm secondary {res}"),
        before if before == host => format!("marsadm primary {res} on another member"),
        before => format!("marsadm primary {res} on {before}"),
    };
    let taken = take_device(ctx, host, res).await;
    taken.map_err(|error| error.leaving(&left, &back))
}

/// Switches everything on, and waits for the device.
async fn take_device(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    if ctx.opts.force {
        // Fetching stays off until this host has taken over: with it on, the data plane waits for an old
        // primary that may never answer again.
        switch_on(ctx, host, res, &["attach", "allow-replay"]).await?;
        wait_device(ctx, host, res).await?;
        return up(ctx, host, res).await;
    }
    up(ctx, host, res).await?;
    wait_device(ctx, host, res).await
}

/// What must hold for this host in any case.
fn check_replica(view: &Res<'_>, host: &str) -> Result<()> {
    let res = view.name;
    if let Some(reason) = view.unsynced(host) {
        return Err(Error::refused(format!(
            "the replica of {res} on {host} is not usable: {reason}, {}",
            since(view, &format!("syncstatus-{host}"))
        ))
        .hint(format!("marsadm wait-resource {res} is-consistent")));
    }
    for (name, word) in [("attach", "attach"), ("allow-replay", "resume-replay")] {
        if !view.todo(host, name) {
            return Err(Error::refused(format!(
                "switch {name} of {res} is off on {host}, {}",
                since(view, &format!("todo-{host}/{name}"))
            ))
            .hint(format!("marsadm {word} {res}")));
        }
    }
    Ok(())
}

/// With `managed`, the device need not be closed: its users are stopped.
fn check_planned(view: &Res<'_>, host: &str, ignore_sync: bool, managed: bool) -> Result<()> {
    let res = view.name;
    if !view.todo(host, "connect") {
        return Err(Error::refused(format!(
            "switch connect (fetch) of {res} is off on {host}, {}",
            since(view, &format!("todo-{host}/connect"))
        ))
        .hint(format!("marsadm resume-fetch {res}")));
    }
    let code = view.text(&format!("actual-{host}/replay-code"));
    if code.is_some_and(|code| code.starts_with('-')) {
        return Err(Error::refused(format!(
            "replay of {res} on {host} has failed with code {}, {}",
            code.unwrap_or_default(),
            since(view, &format!("actual-{host}/replay-code"))
        ))
        .hint(format!(
            "see the log of mars-datapath; marsadm invalidate {res} makes a new replica"
        )));
    }
    let old = old_primary(view);
    if !ignore_sync {
        for other in view.storage_members() {
            if other == host || Some(other.as_str()) == old {
                continue;
            }
            if let Some(reason) = view.unsynced(&other) {
                return Err(Error::refused(format!(
                    "another replica of {res} is still syncing: {reason}, {}",
                    since(view, &format!("syncstatus-{other}"))
                ))
                .hint("wait, or add --ignore-sync"));
            }
        }
    }
    if let Some(old) = old
        && old != host
        && !managed
        && view
            .number(&format!("actual-{old}/open-count"))
            .unwrap_or(0)
            > 0
    {
        return Err(in_use(view, old));
    }
    Ok(())
}

fn check_failover(view: &Res<'_>, host: &str) -> Result<()> {
    let res = view.name;
    if view.todo(host, "connect") {
        return Err(Error::refused(format!(
            "fetching of {res} is not switched off on {host} ({}): it would go on while this host takes over",
            since(view, &format!("todo-{host}/connect"))
        ))
        .hint(format!("marsadm pause-fetch {res}")));
    }
    Ok(())
}

/// Waits until a fetch that was just switched off has ended.
async fn wait_not_copying(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    let own = format!("resource-{res}/actual-{host}/");
    ctx.wait_for(&[&own], |table| {
        if Res::new(table, res).actual(host, "is-copying") {
            Step::Waiting(format!("for the fetch of {res} to end"))
        } else {
            Step::Ready(())
        }
    })
    .await
}

/// Gives up what follows a damaged place in this host's own log, naming exactly that place.
async fn accept_log_end(ctx: &Ctx, view: &Res<'_>, host: &str) -> Result<()> {
    let damage = view.text(&format!("actual-{host}/log-damage"));
    let Some(place) = damage.filter(|place| *place != "none") else {
        return Ok(());
    };
    let res = view.name;
    ctx.ui.note(&format!(
        "the log of {res} is damaged at {place}: what follows it there is given up"
    ));
    ctx.apply(vec![set(
        &format!("resource-{res}/todo-{host}/accept-log-end"),
        place,
    )?])
    .await
    .map(|_| ())
}

fn in_use(view: &Res<'_>, old: &str) -> Error {
    let since = since(view, &format!("actual-{old}/open-count"));
    let why = format!("the device of {} is in use on {old}, {since}", view.name);
    Error::of(Code::DeviceInUse, why).hint(format!(
        "first umount or close the device (on host '{old}')"
    ))
}

/// The phases of a planned handover.
async fn handover(ctx: &Ctx, table: &Table, res: &str, host: &str, old: &str) -> Result<()> {
    let view = Res::new(table, res);
    if view.primary().is_some() {
        ctx.apply(vec![set(&format!("resource-{res}/primary"), "(none)")?])
            .await?;
    }
    if ctx.opts.dry_run {
        ctx.apply(designate(&view, host)?).await?;
        return Ok(());
    }
    let phases = async {
        wait_quiet(ctx, res, host, old).await?;
        ctx.apply(designate(&view, host)?).await?;
        Ok(())
    };
    let result = tokio::select! {
        result = phases => result,
        _ = tokio::signal::ctrl_c() => Err(Error::of(Code::Interrupted, "interrupted")),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(undo(ctx, res, old, error).await),
    }
}

/// Designates the old primary again, if nobody else was meanwhile.
async fn undo(ctx: &Ctx, res: &str, old: &str, error: Error) -> Error {
    let back = async {
        let client = ctx.client().await?;
        let key = crate::context::key(&format!("resource-{res}/primary"))?;
        let now = client.get(&key).await?;
        if now
            .and_then(|entry| entry.text().map(str::to_owned))
            .as_deref()
            != Some("(none)")
        {
            return Ok(false);
        }
        client
            .apply([(key, Some(crate::context::value(old)?))], false)
            .await?;
        Ok::<bool, Error>(true)
    };
    match back.await {
        Ok(true) => error.hint(format!(
            "{old} was designated primary again; see marsadm status, then repeat the command"
        )),
        Ok(false) => error,
        Err(second) => error.hint(format!(
            "{old} could not be designated again ({second}): resource {res} has no primary now"
        )),
    }
}

/// Waits until the old primary has stopped and this host has applied all that it wrote.
async fn wait_quiet(ctx: &Ctx, res: &str, host: &str, old: &str) -> Result<()> {
    let [directory, own] = prefixes(res);
    ctx.wait_for(&[&directory, &own], |table| {
        let view = Res::new(table, res);
        if let Some(other) = view.primary() {
            return Step::Failed(Error::of(
                Code::Conflict,
                format!("somebody else designated {other} as primary of {res} meanwhile"),
            ));
        }
        if view.actual(old, "is-primary") {
            let opened = view
                .number(&format!("actual-{old}/open-count"))
                .unwrap_or(0);
            return Step::Waiting(if opened > 0 {
                format!("for {old} to stop being primary of {res}; first umount or close the device there")
            } else {
                format!("for {old} to stop being primary of {res}")
            });
        }
        let Some(end) = view.version_end(old) else {
            return Step::Waiting(format!("for {old} to tell the end of its log of {res}"));
        };
        let Some(replay) = view.replay(host) else {
            return Step::Waiting(format!("for {host} to tell its replay position of {res}"));
        };
        if replay.at == end && replay.dirty == 0 {
            Step::Ready(())
        } else if replay.at.has_reached(&end) && replay.at != end {
            Step::Failed(Error::refused(format!(
                "{host} is at {} of {res}, behind the end {end} that {old} tells: their histories differ (split brain)",
                replay.at
            ))
            .hint(format!("marsadm explain {res}")))
        } else {
            Step::Waiting(format!("for {host} to replay {res} up to {end} (now at {})", replay.at))
        }
    })
    .await
}

/// Waits until this host is actual primary and the device is there.
pub(super) async fn wait_device(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    let [directory, own] = prefixes(res);
    ctx.wait_for(&[&directory, &own], |table| {
        let view = Res::new(table, res);
        if view.primary() != Some(host) {
            return Step::Failed(Error::refused(format!(
                "{host} is no longer designated as primary of {res} (but '{}', {})",
                view.text("primary").unwrap_or_default(),
                since(&view, "primary")
            ))
            .hint(format!("see marsadm status {res}; marsadm primary {res} on the host that shall have the device")));
        }
        if !view.actual(host, "is-primary") {
            Step::Waiting(format!("for {host} to become primary of {res}"))
        } else if view.actual(host, "if-on") {
            Step::Ready(())
        } else {
            Step::Waiting(format!("for the device of {res} on {host}"))
        }
    })
    .await
    .map_err(|error| match error.kind {
        Kind::Timeout => error.hint(data_plane_hint(host)),
        _ => error,
    })
}
