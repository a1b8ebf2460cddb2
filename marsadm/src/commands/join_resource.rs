//! `join-resource`: a further replica.

use super::create_resource::{check_unused, membership};
use super::each::{prefixes, report, resource_table};
use super::since::{since, since_key};
use super::switches::{in_emergency, wait_attached};
use crate::context::{Changes, Ctx, set};
use crate::disk::{self, Disk};
use crate::error::{Error, Result};
use crate::keys::{LogPos, Res, one_resource};
use crate::outside::{resources_outside, tell, untold};
use crate::wait::Step;
use mars_meta_api::Overriding;
use mars_meta_model::{Entry, Membership, Table, View as _, check_name, members};
use std::path::PathBuf;

/// Add a replica of a resource on a disk of this host. What is on the disk gets overwritten by the primary's data.
///
/// Does not wait for the sync: see marsadm wait-resource RES is-consistent. --force takes a disk that is too small.
///
/// Refused on a node that is no longer in the cluster, also with --force: nobody would hear of the replica.
///
/// Example: marsadm join-resource mydata /dev/vg/mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The resource
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Block device or regular file, absolute path
    pub disk: PathBuf,
    /// Name of the device that applications use; left out: that of the primary
    pub devname: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with resource, primary or disk; a guest key that was written is deleted again.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let res = &args.resource;
    let work = async {
        one_resource(res)?;
        let host = ctx.local_host().await?;
        check_standing(ctx, host).await?;
        let table = resource_table(ctx, res).await?;
        let before = members(&table, res).get(host).copied();
        if before == Some(Membership::Storage) {
            let key = format!("directory/{res}/member-{host}");
            let why = format!(
                "{host} has joined resource {res} already, {}",
                since_key(&table, &key)
            );
            let hint =
                format!("see marsadm status {res}; to sync it anew: marsadm invalidate {res}");
            return Err(Error::refused(why).hint(hint));
        }
        let disk = disk::probe(&args.disk)?;
        let told = ask_members(ctx, host, res).await?;
        match told.as_ref().map(|told| source(ctx, host, res, told)) {
            Some(Step::Failed(error)) => return Err(error),
            Some(Step::Ready(source)) => check_size(ctx, res, &disk, &source)?,
            Some(Step::Waiting(_)) | None => {}
        }
        // A dry run shows what stays in the end: of the membership, that is not this.
        if before.is_none() && !ctx.opts.dry_run {
            ctx.apply(vec![membership(res, host, Membership::Guest)?])
                .await?;
        }
        match join(ctx, host, args, &disk, told.as_ref()).await {
            Err(error) if before.is_none() && !ctx.opts.dry_run => {
                // A replica that began to sync stays; one whose disk was refused leaves nothing behind.
                let table = ctx.client().await?.list("resource-", false).await;
                let began = table.is_ok_and(|entries| is_attached(&entries, host, res));
                if began {
                    return Err(error.leaving(
                        &format!("the replica of {res} stays, and syncs as soon as it can"),
                        &format!("marsadm down {res}, marsadm leave-resource {res}"),
                    ));
                }
                take_back(ctx, host, res).await?;
                Err(error)
            }
            other => other,
        }
    };
    let result = work
        .await
        .map_err(|error| error.about(&format!("join-resource {res}")));
    report(ctx, "join-resource", res, result.as_ref().err());
    result
}

/// A replica that nobody hears of gets no data, and what its disk held would count for nothing: not even with `--force`.
async fn check_standing(ctx: &Ctx, host: &str) -> Result<()> {
    let Some(out) = &ctx.node().await?.removed else {
        return Ok(());
    };
    let why = format!(
        "{host} is no longer in the cluster ({}): nobody would hear of its replica, and the disk stays as it is",
        out.reason
    );
    Err(Error::refused(why).hint(
        "marsadm leave-cluster --force here, then marsadm join-cluster with a new token, then this command again",
    ))
}

/// Whether the data plane took the disk into use.
fn is_attached(entries: &[Entry], host: &str, res: &str) -> bool {
    let key = format!("resource-{res}/actual-{host}/is-attached");
    entries
        .iter()
        .any(|entry| entry.key.as_str() == key && entry.text() == Some("1"))
}

/// Deletes what this command wrote. The deadline may be what failed: this one write gets a chance of its own.
async fn take_back(ctx: &Ctx, host: &str, res: &str) -> Result<()> {
    let (member, _) = membership(res, host, Membership::Guest)?;
    let client = ctx.client().await?;
    let mut keys = vec![member];
    let own = [
        format!("data-{host}"),
        format!("device-{host}"),
        format!("syncstatus-{host}"),
        format!("replay-{host}"),
    ];
    let switches = ["attach", "connect", "sync", "allow-replay"];
    let leaves = own
        .into_iter()
        .chain(switches.map(|name| format!("todo-{host}/{name}")));
    for leaf in leaves {
        let key = crate::context::key(&format!("resource-{res}/{leaf}"))?;
        if client
            .get(&key)
            .await
            .is_ok_and(|held| held.is_some_and(|entry| !entry.is_tombstone()))
        {
            keys.push(key);
        }
    }
    let how = Overriding {
        forced: false,
        insist: ctx.opts.force,
    };
    let deletions = keys.into_iter().map(|key| (key, None));
    if let Err(second) = client.apply_as(deletions, how).await {
        ctx.ui.note(&format!(
            "the keys of this replica could not be deleted again: {second}"
        ));
    }
    Ok(())
}

struct Source {
    primary: String,
    device: String,
    size: u64,
    log: LogPos,
}

async fn join(ctx: &Ctx, host: &str, args: &Args, disk: &Disk, told: Option<&Table>) -> Result<()> {
    let res = &args.resource;
    let Some(source) = find_source(ctx, host, res, told).await? else {
        let table = ctx.table(&["directory/"]).await?;
        if !members(&table, res).contains_key(host) {
            ctx.apply(vec![membership(res, host, Membership::Guest)?])
                .await?;
        }
        ctx.ui.note(
            "the keys of this host's replica follow, once those of the resource have arrived",
        );
        return Ok(());
    };
    let device = args.devname.as_deref().unwrap_or(&source.device);
    check_name(device, "device").map_err(|error| Error::usage(error.to_string()))?;
    check_size(ctx, res, disk, &source)?;
    if disk.size > source.size {
        ctx.ui.note(&format!(
            "disk {} has {} bytes more than the resource; they stay unused",
            disk.path,
            disk.size - source.size
        ));
    }
    let table = ctx.table(&["directory/", "resource-"]).await?;
    check_unused(&table, host, res, device, disk)?;
    let LogPos { nr, origin, .. } = &source.log;
    let pairs = [
        (format!("data-{host}"), disk.path.clone()),
        (format!("device-{host}"), device.to_owned()),
        (format!("todo-{host}/attach"), "1".to_owned()),
        (format!("todo-{host}/connect"), "1".to_owned()),
        (format!("todo-{host}/sync"), "1".to_owned()),
        (format!("todo-{host}/allow-replay"), "1".to_owned()),
        (format!("syncstatus-{host}"), "0".to_owned()),
        (
            format!("replay-{host}"),
            format!("log-{nr:09}-{origin},0,0"),
        ),
    ];
    let mut changes = Changes::new();
    for (leaf, value) in pairs {
        changes.push(set(&format!("resource-{res}/{leaf}"), &value)?);
    }
    changes.push(membership(res, host, Membership::Storage)?);
    ctx.apply(changes).await?;
    let primary = &source.primary;
    crate::systemd::regenerate(ctx).await;
    wait_attached(ctx, host, res).await?;
    ctx.achieved(
        &format!(
            "successfully joined resource {res} to primary {primary}; the sync runs: marsadm wait-resource {res} is-consistent"
        ),
        &format!("join resource {res} to primary {primary}"),
    );
    Ok(())
}

fn check_size(ctx: &Ctx, res: &str, disk: &Disk, source: &Source) -> Result<()> {
    if disk.size >= source.size || ctx.opts.force {
        return Ok(());
    }
    let why = format!(
        "disk {} has {} bytes, resource {res} needs {}",
        disk.path, disk.size, source.size
    );
    Err(Error::refused(why).hint("take a disk that is at least as large"))
}

/// What a member tells of the resource, where this host has no part in it: what lies here is of when it last had. `None`:
/// what lies here counts, or nothing does, so that nothing can mislead.
async fn ask_members(ctx: &Ctx, host: &str, res: &str) -> Result<Option<Table>> {
    let [directory, own] = prefixes(res);
    let table = ctx.table(&[&directory, &own, "roster/"]).await?;
    if !resources_outside(&table, host).contains(res) {
        return Ok(None);
    }
    match tell(ctx, res).await {
        Ok(told) => Ok(Some(told)),
        Err(reason) if table.scan(&own).any(|entry| !entry.is_tombstone()) => {
            let hosts: Vec<String> = members(&table, res).into_keys().collect();
            Err(untold(host, res, &reason, &hosts))
        }
        Err(_) => Ok(None),
    }
}

/// Waits until the keys of the resource have arrived, those that were `told` at least, and checks its primary. `None` with
/// `--dry-run` where nothing can arrive, because this host is not a guest yet.
async fn find_source(
    ctx: &Ctx,
    host: &str,
    res: &str,
    told: Option<&Table>,
) -> Result<Option<Source>> {
    let [directory, own] = prefixes(res);
    if ctx.opts.dry_run {
        let held = ctx.table(&[&directory, &own]).await?;
        return match source(ctx, host, res, told.unwrap_or(&held)) {
            Step::Ready(source) => Ok(Some(source)),
            Step::Waiting(_) => Ok(None),
            Step::Failed(error) => Err(error),
        };
    }
    ctx.wait_for(&[&directory, &own], |table| {
        let missing = told.into_iter().flat_map(|told| told.scan(&own));
        if missing.into_iter().any(|entry| !has(table, entry)) {
            return Step::Waiting(format!("for the keys of resource {res} to arrive"));
        }
        match source(ctx, host, res, table) {
            Step::Ready(source) => Step::Ready(Some(source)),
            Step::Waiting(what) => Step::Waiting(what),
            Step::Failed(error) => Step::Failed(error),
        }
    })
    .await
}

/// Whether what is held of the entry's key is as new as it, or the entry is none of those that [`source`] looks at.
fn has(table: &Table, entry: &Entry) -> bool {
    let leaf = entry.key.as_str().rsplit('/').next().unwrap_or_default();
    let matters = ["size", "primary", "has-emergency"].contains(&leaf)
        || ["replay-", "device-"]
            .iter()
            .any(|head| leaf.starts_with(head));
    !matters
        || match table.entry(&entry.key) {
            Some(held) => (held.epoch, held.stamp) >= (entry.epoch, entry.stamp),
            // A tombstone may be collected by now.
            None => entry.is_tombstone(),
        }
}

/// Where the data are to come from, by what `table` holds.
fn source(ctx: &Ctx, host: &str, res: &str, table: &Table) -> Step<Source> {
    let view = Res::new(table, res);
    let waiting = |what: &str| Step::Waiting(format!("for {what} of resource {res} to arrive"));
    let Some(size) = view.number("size") else {
        return waiting("the size");
    };
    let Some(primary) = view.text("primary") else {
        return waiting("the primary");
    };
    if primary == "(none)" || primary == host {
        return Step::Failed(
            Error::refused(format!(
                "resource {res} has no primary on another host to sync from (primary is '{primary}', {})",
                since(&view, "primary")
            ))
            .hint(format!("on a member with good data: marsadm primary {res}")),
        );
    }
    if in_emergency(&view, primary) && !ctx.opts.force {
        return Step::Failed(
            Error::refused(format!(
                "the primary {primary} of resource {res} is in emergency mode (its log storage is full), {}",
                since(&view, &format!("actual-{primary}/has-emergency"))
            ))
            .hint(format!("free log space on {primary} first")),
        );
    }
    let Some(replay) = view.replay(primary) else {
        return waiting("the position of the primary");
    };
    let device = view.text(&format!("device-{primary}")).unwrap_or(res);
    Step::Ready(Source {
        primary: primary.to_owned(),
        device: device.to_owned(),
        size,
        log: replay.at,
    })
}
