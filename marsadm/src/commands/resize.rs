//! `resize`: a larger device.

use super::each::{data_plane_hint, each, own_table, prefixes};
use super::planes;
use super::since::since;
use super::switches::in_emergency;
use crate::context::{Ctx, set};
use crate::error::{Error, Kind, Result};
use crate::keys::Res;
use crate::limits::RESOURCE_SIZE_UNIT;
use crate::size::{human, parse_size};
use crate::wait::Step;
use std::io::{Seek as _, SeekFrom};

/// Enlarge a resource while it is in use, after the disks of all its members were enlarged. On the primary.
///
/// The new part reads as zeroes on all replicas: what was on the disks there is discarded. It is made known through the
/// log, so no replica needs a sync. Connections to the device that are open keep the old size; new ones see the new
/// one: reconnect, then enlarge the filesystem. A resource never gets smaller.
///
/// --force goes on although the disk of a member is not known.
///
/// Example: marsadm resize mydata 512G
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
    /// New size, for example 512G, or a block device of that size; left out: that of the smallest disk
    pub size: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If this host is not primary, or a disk is too small or not known (nothing was written); or if the device does not
/// grow in time.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let wanted = args.size.as_deref().map(size_of).transpose();
    let wanted = wanted.map_err(|error| error.about("resize"))?;
    each(ctx, "resize", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        planes::need(ctx, host, &format!("the device of {res} cannot grow")).await?;
        let view = Res::new(&table, res);
        let size = check(ctx, &view, host, wanted)?;
        let old = view.number("size").unwrap_or(0);
        if size == old {
            ctx.ui.note(&format!(
                "resource {res} has {} already: nothing to do",
                human(size)
            ));
            return Ok(());
        }
        ctx.apply(vec![
            set(
                &format!("resource-{res}/syncstatus-{host}"),
                &size.to_string(),
            )?,
            set(&format!("resource-{res}/size"), &size.to_string())?,
        ])
        .await?;
        if ctx.opts.dry_run {
            return Ok(());
        }
        wait_grown(ctx, host, res, size).await?;
        ctx.ui.note(&format!(
            "resource {res} has grown from {} to {}",
            human(old),
            human(size)
        ));
        Ok(())
    })
    .await
}

/// Bytes of a size, or of a block device.
fn size_of(text: &str) -> Result<u64> {
    if !text.starts_with('/') {
        return parse_size(text);
    }
    std::fs::File::open(text)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .map_err(|error| {
            Error::usage(format!("the size of {text} cannot be read: {error}"))
                .hint("give a number such as 256M, or a block device of this host")
        })
}

/// The new size, if it may be.
fn check(ctx: &Ctx, view: &Res<'_>, host: &str, wanted: Option<u64>) -> Result<u64> {
    let res = view.name;
    let flag = format!("actual-{host}/is-primary");
    if !view.actual(host, "is-primary") {
        return Err(Error::refused(format!(
            "{host} is not the actual primary of resource {res}, {}",
            since(view, &flag)
        ))
        .hint(match view.primary() {
            Some(primary) if primary != host => format!("on {primary}: marsadm resize {res}"),
            _ => format!("marsadm primary {res}"),
        }));
    }
    if view.primary() != Some(host) {
        ctx.ui.note(&format!(
            "warning: {host} is not the designated primary of resource {res}"
        ));
    }
    if in_emergency(view, host) {
        return Err(Error::refused(format!(
            "{host} writes past its full log, {}: a new size would not reach the replicas",
            since(view, &format!("actual-{host}/is-emergency"))
        ))
        .hint(format!("free log space on {host} first")));
    }
    let possible = possible_size(ctx, view, host)?;
    let old = view.number("size").unwrap_or(0);
    let size = wanted.unwrap_or(possible - possible % RESOURCE_SIZE_UNIT);
    if !size.is_multiple_of(RESOURCE_SIZE_UNIT) {
        return Err(Error::usage(format!(
            "a size of {size} bytes is not a multiple of {RESOURCE_SIZE_UNIT}"
        ))
        .hint(format!(
            "for example {}",
            size.next_multiple_of(RESOURCE_SIZE_UNIT)
        )));
    }
    if size < old {
        return Err(Error::refused(format!(
            "resource {res} has {old} bytes, {}: it cannot shrink to {size}",
            since(view, "size")
        ))
        .hint("make a new resource and copy what is to be kept"));
    }
    if size > possible {
        return Err(Error::refused(format!(
            "{size} bytes do not fit the smallest disk: {}",
            disks(view).join(", ")
        ))
        .hint("enlarge the disks first (for example lvresize on each member)"));
    }
    if size < possible {
        ctx.ui.note(&format!(
            "{} of the smallest disk stay unused",
            human(possible - size)
        ));
    }
    Ok(size)
}

/// The disks of all members, as they tell them.
fn disks(view: &Res<'_>) -> Vec<String> {
    let one = |host: &String| {
        let leaf = format!("actsize-{host}");
        match view.number(&leaf) {
            Some(size) => format!("{host} {size} bytes {}", since(view, &leaf)),
            None => format!("{host} tells none"),
        }
    };
    view.storage_members().iter().map(one).collect()
}

/// The size of the smallest disk.
fn possible_size(ctx: &Ctx, view: &Res<'_>, host: &str) -> Result<u64> {
    let res = view.name;
    let mut least: Option<u64> = None;
    for member in view.storage_members() {
        match view.number(&format!("actsize-{member}")) {
            Some(size) => least = Some(least.map_or(size, |least| least.min(size))),
            None if ctx.opts.force && member != *host => ctx.ui.note(&format!(
                "warning: the size of the disk of {member} is not known; if it is too small, its replica stops"
            )),
            None => {
                return Err(Error::refused(format!(
                    "the size of the disk of {res} on {member} is not known here ({})",
                    since(view, &format!("data-{member}"))
                ))
                .hint(format!(
                    "on {member}: marsadm up {res}, then marsadm wait-cluster here; or add --force"
                )));
            }
        }
    }
    least.ok_or_else(|| {
        Error::refused(format!("no disk of resource {res} is known")).hint(format!(
            "marsadm up {res} on its members, then marsadm wait-cluster here"
        ))
    })
}

async fn wait_grown(ctx: &Ctx, host: &str, res: &str, size: u64) -> Result<()> {
    let [directory, own] = prefixes(res);
    ctx.wait_told(&[host], &[&directory, &own], |table| {
        let view = Res::new(table, res);
        let now = view.number(&format!("actual-{host}/device-size"));
        let message = view.text(&format!("actual-{host}/msg-wrn-size"));
        if now.is_some_and(|now| now >= size) {
            return Step::Ready(());
        }
        if view.number("size") != Some(size) {
            return Step::Failed(Error::refused(format!(
                "somebody else changed the size of resource {res} meanwhile, {}",
                since(&view, "size")
            )));
        }
        Step::Waiting(match message.filter(|text| *text != "OK") {
            Some(text) => format!("for the device of {res} on {host} to grow: {text}"),
            None => format!("for the device of {res} on {host} to grow"),
        })
    })
    .await
    .map_err(|error| match error.kind {
        // A resource does not shrink: there is no way back.
        Kind::Timeout => error.hint(format!(
            "{}; the new size {size} stays, and the device grows as soon as it can",
            data_plane_hint(host)
        )),
        _ => error,
    })
}
