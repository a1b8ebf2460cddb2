//! `primary`: planned handover to this host, or failover with `--force`.

use super::disk_told::{check_disk, check_successor, lost_since};
use super::down::grace_for_closing;
use super::each::{data_plane_hint, each, own_table, prefixes};
use super::planes;
use super::primary_handover::handover;
use super::primary_reach::{check_reach, holder};
use super::roles::designate;
use super::since::since;
use super::systemd::{is_managed, wait_opened, want_back, wanting};
use super::up::{switch_on, up};
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::Res;
use crate::wait::Step;
use mars_meta_model::Table;

/// Make this host the primary of a resource.
///
/// Planned: the old primary must answer, and its device be closed. It stops first; this host replays all that it wrote
/// and then takes over. Nothing is lost. Refused, with nothing changed, if the old primary does not answer within 10 s, or
/// if the disk of this host is not attached or has failed. If the handover does not come about in time, that disk fails
/// meanwhile, or the command is interrupted, the old primary is designated again.
///
/// Where systemd units use the device (get-systemd-unit), they are stopped on the old primary and started here.
///
/// With --force: take over without asking the old primary. What it wrote and this host does not have is lost, and if
/// the old primary goes on writing, there is a split brain. Needs pause-fetch first. Refused where the disk of this host
/// has failed.
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
        planes::need(
            ctx,
            host,
            &format!("it cannot take the role of {res}, which was left as it is"),
        )
        .await?;
        let view = Res::new(&table, res);
        let managed = is_managed(ctx, &view);
        if !ctx.opts.force
            && !managed
            && let Some(old) = holder(&view, host)
        {
            grace_for_closing(ctx, &old, res).await?;
        }
        let table = own_table(ctx, host, res).await?;
        let view = Res::new(&table, res);
        if view.primary() != Some(host) {
            check_replica(&view, host)?;
            if !ctx.opts.force {
                check_planned(&view, host, args.ignore_sync, managed)?;
                check_successor(ctx, &table, host, res).await?;
            }
        }
        if !ctx.opts.force {
            check_reach(ctx, &view, host).await?;
        }
        if !managed {
            return take_role(ctx, &table, host, res, Changes::new()).await;
        }
        let units = wanting(res, host, holder(&view, host).as_deref())?;
        let before = view.text("systemd-want").unwrap_or("(none)").to_owned();
        match take_role(ctx, &table, host, res, units).await {
            Err(error) if ctx.opts.force || before == host => return Err(error),
            Err(error) => return Err(want_back(ctx, res, host, &before, error).await),
            Ok(()) if ctx.opts.dry_run => return Ok(()),
            Ok(()) => {}
        }
        let old = holder(&view, host).unwrap_or_else(|| "HOST".to_owned());
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

/// The change of roles; `units` are the wishes for systemd that go with it, if units use the device.
async fn take_role(ctx: &Ctx, table: &Table, host: &str, res: &str, units: Changes) -> Result<()> {
    let view = Res::new(table, res);
    if ctx.opts.force && !view.actual(host, "is-primary") {
        check_failover(&view, host)?;
        check_disk(&view, host)?;
        wait_not_copying(ctx, host, res).await?;
        let table = own_table(ctx, host, res).await?;
        accept_log_end(ctx, &Res::new(&table, res), host).await?;
    }
    match holder(&view, host).filter(|_| !ctx.opts.force) {
        Some(old) => handover(ctx, table, (res, host), &old, units).await?,
        None => {
            let mut changes = units;
            changes.extend(designate(&view, host)?);
            ctx.apply(changes).await?;
        }
    }
    let before = view.text("primary").unwrap_or("(none)");
    if before == host {
        let is = if view.actual(host, "is-primary") {
            "is"
        } else {
            "is designated as"
        };
        ctx.achieved(
            &format!("{host} {is} primary of {res} already"),
            &format!("change nothing: {host} {is} primary of {res} already"),
        );
    } else {
        ctx.achieved(
            &format!("designated primary of {res} changed from '{before}' to '{host}'"),
            &format!("change the designated primary of {res} from '{before}' to '{host}'"),
        );
    }
    if ctx.opts.dry_run {
        return up(ctx, host, res).await;
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
    let old = holder(view, host);
    let old = old.as_deref();
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
    ctx.wait_told(&[host], &[&own], |table| {
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

/// Waits until this host is actual primary and the device is there.
pub(super) async fn wait_device(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    let [directory, own] = prefixes(res);
    ctx.wait_told(&[host], &[&directory, &own], |table| {
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
            if let Some(error) = lost_since(&view, host, &format!("todo-{host}/attach")) {
                return Step::Failed(error);
            }
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
