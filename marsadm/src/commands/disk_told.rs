//! What a data plane tells of a replica's disk, and what a command makes of it.

use super::since::since;
use crate::context::{Ctx, key};
use crate::disk::after_error;
use crate::error::{Error, Result};
use crate::keys::Res;
use crate::limits::PLANE_GRACE;
use crate::macros::errno::errno_text;
use crate::wait::Step;
use mars_meta_model::{Table, View as _};
use tokio::time::Instant;

/// Whether the key `leaf` was written after the key `than`: the answer to it, and not what was told before.
pub(super) fn is_after(view: &Res<'_>, leaf: &str, than: &str) -> bool {
    let at = |leaf: &str| {
        let key = key(&format!("resource-{}/{leaf}", view.name)).ok()?;
        let entry = view.table.entry(&key)?;
        Some((entry.epoch, entry.stamp))
    };
    at(leaf) > at(than)
}

/// The error that the data plane of `host` tells of its disk.
fn disk_error<'a>(view: &Res<'a>, host: &str) -> Option<&'a str> {
    view.text(&format!("actual-{host}/disk-error"))
        .filter(|text| *text != "0")
}

/// The text behind an error of the disk, as the data plane worded it.
fn disk_message<'a>(view: &Res<'a>, host: &str) -> Option<&'a str> {
    let text = view.text(&format!("actual-{host}/msg-err-disk"))?;
    // SYSTEM-STAMP LAMPORT-STAMP TEXT, or OK.
    text.splitn(3, ' ').nth(2).filter(|text| !text.is_empty())
}

/// What to do about an error of the disk, on the host that has it.
fn next_step(res: &str, error: &str) -> String {
    let code = error.parse().unwrap_or(0);
    after_error(code, true, res, |command| {
        format!("marsadm {command} {res}")
    })
}

/// That the disk of `host` cannot be used, and why.
fn failed(view: &Res<'_>, host: &str, error: &str) -> Error {
    let res = view.name;
    let told = disk_message(view, host).map_or(String::new(), |text| format!(": {text}"));
    let since = since(view, &format!("actual-{host}/disk-error"));
    let why = format!(
        "the disk of {res} on {host} reports error {error}{}{told}, {since}",
        errno_text(error)
    );
    Error::refused(why).hint(next_step(res, error))
}

/// Whether the disk of `host` is in use, or does not come into use: an error counts only if it was told after the switch was
/// written, for the one before may be that of a disk that was mended since.
pub(super) fn attached(view: &Res<'_>, host: &str) -> Step<()> {
    let leaf = format!("actual-{host}/disk-error");
    if view.actual(host, "is-attached") {
        return Step::Ready(());
    }
    let what = format!("for the disk of {} on {host} to be attached", view.name);
    match disk_error(view, host) {
        Some(error) if is_after(view, &leaf, &format!("todo-{host}/attach")) => {
            Step::Failed(failed(view, host, error))
        }
        Some(error) => Step::Waiting(format!("{what} (error {error} is of the try before)")),
        None => Step::Waiting(what),
    }
}

/// Whether the disk of `host` has failed since the key `than` was written. That it is not in use by itself is no failure: its
/// data plane may have started again.
pub(super) fn lost_since(view: &Res<'_>, host: &str, than: &str) -> Option<Error> {
    if let Some(error) = disk_error(view, host)
        && is_after(view, &format!("actual-{host}/disk-error"), than)
    {
        return Some(failed(view, host, error));
    }
    let off = !view.actual(host, "is-attached");
    let told = disk_message(view, host).filter(|_| off)?;
    let leaf = format!("actual-{host}/msg-err-disk");
    is_after(view, &leaf, than).then(|| {
        let res = view.name;
        let why = format!(
            "the disk of {res} on {host} is not in use any more: {told}, {}",
            since(view, &leaf)
        );
        Error::refused(why).hint(next_step(res, ""))
    })
}

/// Refuses to give a role to `host` whose disk is not in use, or has failed. One that is being attached is waited for a
/// little, which its present holder does not notice.
pub(super) async fn check_successor(ctx: &Ctx, table: &Table, host: &str, res: &str) -> Result<()> {
    let view = Res::new(table, res);
    let comes =
        |view: &Res<'_>| !view.actual(host, "is-attached") && disk_error(view, host).is_none();
    if ctx.opts.dry_run || !comes(&view) {
        return usable(&view, host);
    }
    let prefix = format!("resource-{res}/");
    let prefixes = [prefix.as_str()];
    let settled = ctx.wait_for(&prefixes, |table| {
        if comes(&Res::new(table, res)) {
            Step::Waiting(format!("for the disk of {res} on {host} to be attached"))
        } else {
            Step::Ready(())
        }
    });
    // With a short --timeout there must be time left to say so.
    let left = ctx.deadline.saturating_duration_since(Instant::now());
    if let Ok(ended) = tokio::time::timeout(PLANE_GRACE.min(left / 2), settled).await {
        ended?;
    }
    let now = ctx.table(&prefixes).await?;
    usable(&Res::new(&now, res), host)
}

/// Refuses to give a role to `host` whose disk has failed, not even by force: nobody would have the device.
pub(super) fn check_disk(view: &Res<'_>, host: &str) -> Result<()> {
    disk_error(view, host).map_or(Ok(()), |error| Err(failed(view, host, error)))
}

fn usable(view: &Res<'_>, host: &str) -> Result<()> {
    check_disk(view, host)?;
    if view.actual(host, "is-attached") {
        return Ok(());
    }
    let res = view.name;
    Err(Error::refused(format!(
        "the disk of {res} is not attached on {host}, {}",
        since(view, &format!("actual-{host}/is-attached"))
    ))
    .hint(format!(
        "marsadm attach {res} on {host}, which says what stands against it"
    )))
}
