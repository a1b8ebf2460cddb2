//! `create-resource`: the first replica.

use super::each::{report, resource_table};
use super::since::since;
use super::switches::wait_attached;
use crate::context::{Changes, Ctx, set};
use crate::disk::{self, Disk};
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::{Res, one_resource};
use crate::limits::{CREATE_SETTLE, LOG_NUMBER_JUMP, POLL_INTERVAL};
use crate::size::{human, parse_size};
use mars_meta_model::{
    Membership, NodeRecord, NodeState, Table, Value, View as _, check_name, member_key,
    resources_of, roster,
};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Create a resource on a disk of this host, which becomes its primary. The data on the disk are kept.
///
/// Refused if the resource exists, or if the disk is mounted, used by another resource, or smaller than SIZE. If another node
/// creates it at the same moment, one of the two commands fails and says what to do.
///
/// Example: marsadm create-resource mydata /dev/vg/mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Name of the new resource
    #[arg(value_name = "RES")]
    pub resource: String,
    /// Block device or regular file, absolute path
    pub disk: PathBuf,
    /// Name of the device that applications use; left out: the name of the resource
    pub devname: Option<String>,
    /// Size, for example 256M; left out: that of the disk
    pub size: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with name or disk; nothing was written then.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let res = &args.resource;
    let work = async {
        one_resource(res)?;
        let host = ctx.local_host().await?;
        let device = args.devname.as_deref().unwrap_or(res);
        check_name(device, "device").map_err(|error| Error::usage(error.to_string()))?;
        match resource_table(ctx, res).await {
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
            Ok(table) => {
                return Err(Error::of(
                    Code::ResourceExists,
                    format!(
                        "resource {res} exists already, {}",
                        since(&Res::new(&table, res), "size")
                    ),
                )
                .hint(format!(
                    "its members: {}; to add a replica: marsadm join-resource {res} DISK",
                    Res::new(&table, res).storage_members().join(" ")
                )));
            }
        }
        let wanted = args.size.as_deref().map(parse_size).transpose()?;
        let disk = disk::probe(&args.disk)?;
        let size = disk::resource_size(&disk, wanted)?;
        let table = ctx.table(&["directory/", "resource-"]).await?;
        check_unused(&table, host, res, device, &disk)?;
        let number = match table.text(&format!("resource-{res}/maxnr")) {
            Some(text) => text
                .parse::<u64>()
                .unwrap_or(0)
                .saturating_add(LOG_NUMBER_JUMP),
            None => 1,
        };
        let changes = keys(res, host, device, &disk, size, number)?;
        ctx.apply(changes).await?;
        let settled = Instant::now() + CREATE_SETTLE;
        let what = format!(
            "resource {res}: {} on {}, device {device}",
            human(size),
            disk.path
        );
        ctx.achieved(
            &format!("successfully created {what}"),
            &format!("create {what}"),
        );
        crate::systemd::regenerate(ctx).await;
        let attached = wait_attached(ctx, host, res).await;
        match alone(ctx, host, res, settled.min(ctx.deadline)).await {
            Err(error) if error.kind == Kind::Conflict => return Err(error),
            // Who cannot be asked any more has still created it.
            _ => {}
        }
        attached.map_err(|error| {
            error.leaving(
                &format!(
                    "resource {res} stays created, and the disk is attached as soon as that can be"
                ),
                &format!(
                    "marsadm secondary {res}, marsadm down {res}, marsadm leave-resource {res}, \
                     marsadm delete-resource {res}"
                ),
            )
        })
    };
    let result = work
        .await
        .map_err(|error| error.about(&format!("create-resource {res}")));
    report(ctx, "create-resource", res, result.as_ref().err());
    result
}

/// Looks until `settled` whether another node has created the same resource at the same moment: of two, the one whose
/// keys are later counts, and the other one is to give way before anything is written to both.
async fn alone(ctx: &Ctx, host: &str, res: &str, settled: Instant) -> Result<()> {
    if ctx.opts.dry_run {
        return Ok(());
    }
    let nodes = roster(&ctx.table(&["roster/"]).await?);
    let active = |node: &&NodeRecord| node.state == NodeState::Active;
    if nodes.values().filter(active).count() < 2 {
        return Ok(());
    }
    loop {
        let table = ctx
            .table(&[&format!("resource-{res}/"), &format!("directory/{res}/")])
            .await?;
        let view = Res::new(&table, res);
        let members = view.storage_members();
        let other = |name: &&String| name.as_str() != host;
        match view.text("primary") {
            Some(primary) if primary != host && members.iter().any(|name| name == primary) => {
                return Err(Error::new(
                    Kind::Conflict,
                    format!(
                        "resource {res} was created on {primary} at the same moment, and that counts: the disk of \
                         {host} is a replica with a history of its own, as in a split brain"
                    ),
                )
                .hint(format!(
                    "here: marsadm down {res}, marsadm leave-resource {res}, then marsadm join-resource {res} DISK; or \
                     another name for this disk"
                )));
            }
            _ => {}
        }
        if Instant::now() >= settled {
            // Who joins has no history of its own.
            let rival = members
                .iter()
                .filter(other)
                .find(|name| view.text(&format!("syncstatus-{name}")) == view.text("size"));
            if let Some(rival) = rival {
                ctx.ui.note(&format!(
                    "warning: {rival} has created resource {res} at the same moment, and has to give way: there \
                     marsadm down {res}, marsadm leave-resource {res}, marsadm join-resource {res} DISK"
                ));
            }
            return Ok(());
        }
        tokio::time::sleep_until(settled.min(Instant::now() + POLL_INTERVAL)).await;
    }
}

/// Refuses a disk or a device name that another resource of this host uses.
pub(super) fn check_unused(
    table: &Table,
    host: &str,
    res: &str,
    device: &str,
    disk: &Disk,
) -> Result<()> {
    for other in resources_of(table, host)
        .into_keys()
        .filter(|other| other != res)
    {
        let view = Res::new(table, &other);
        if let Some(used) = view.text(&format!("data-{host}"))
            && disk::same_disk(used, &disk.path)
        {
            return Err(Error::refused(format!(
                "disk {} is used by resource {other} already, {}",
                Path::new(&disk.path).display(),
                since(&view, &format!("data-{host}"))
            ))
            .hint(format!(
                "give another disk, or first: marsadm leave-resource {other}"
            )));
        }
        if view.text(&format!("device-{host}")) == Some(device) {
            return Err(Error::refused(format!(
                "device name {device} is used by resource {other} already, {}",
                since(&view, &format!("device-{host}"))
            ))
            .hint("give another device name"));
        }
    }
    Ok(())
}

/// The membership key with a value.
pub(super) fn membership(
    res: &str,
    host: &str,
    kind: Membership,
) -> Result<(mars_meta_model::Key, Option<Value>)> {
    let key = member_key(res, host)
        .ok_or_else(|| Error::internal(format!("no membership key for {res} and {host}")))?;
    Ok((key, Some(crate::context::value(kind.as_str())?)))
}

fn keys(
    res: &str,
    host: &str,
    device: &str,
    disk: &Disk,
    size: u64,
    number: u64,
) -> Result<Changes> {
    let zero = "0".repeat(32);
    let before = number - 1;
    let pairs = [
        ("size".to_owned(), size.to_string()),
        (format!("data-{host}"), disk.path.clone()),
        (format!("device-{host}"), device.to_owned()),
        (format!("todo-{host}/attach"), "1".to_owned()),
        (format!("todo-{host}/connect"), "1".to_owned()),
        (format!("todo-{host}/sync"), "1".to_owned()),
        (format!("todo-{host}/allow-replay"), "1".to_owned()),
        (format!("syncstatus-{host}"), size.to_string()),
        (
            format!("replay-{host}"),
            format!("log-{number:09}-{host},0,0"),
        ),
        (
            format!("version-{before:09}-{host}"),
            format!("{zero},log-{before:09}-{host},0:"),
        ),
        (
            format!("version-{number:09}-{host}"),
            format!("{zero},log-{number:09}-{host},0:{zero},log-{before:09}-{host},0"),
        ),
        ("maxnr".to_owned(), number.to_string()),
        ("userspace/last-primary".to_owned(), host.to_owned()),
        ("primary".to_owned(), host.to_owned()),
    ];
    let mut changes = Changes::new();
    for (leaf, value) in pairs {
        changes.push(set(&format!("resource-{res}/{leaf}"), &value)?);
    }
    changes.push(membership(res, host, Membership::Storage)?);
    Ok(changes)
}
