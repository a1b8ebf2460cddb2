//! What commands do where the data plane that they need does not run.

use super::since::moment;
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::limits::PLANE_GRACE;
use crate::plane::{Plane, plane, sign};
use crate::wait::Step;
use crate::wall::now;
use tokio::time::Instant;

/// Refuses where the data plane of `host` does not run, or hangs; `so` tells what follows from that. To be asked before
/// anything is written. Where nobody has told of a data plane, none is missed: nothing that it told can be out of date.
pub(super) async fn need(ctx: &Ctx, host: &str, so: &str) -> Result<()> {
    let found = settled(ctx, host).await?;
    let (since, next) = match found {
        Plane::Up | Plane::Unknown => return Ok(()),
        Plane::Down(since) => (
            since,
            format!("start it on {host} (systemctl start mars-datapath) and look at its log"),
        ),
        Plane::Silent(since) => (
            since,
            format!(
                "on {host}: let it go on if it was stopped (kill -CONT), or start it again and look at its log"
            ),
        ),
    };
    let why = found.why_past(host).unwrap_or_default();
    let why = format!("{why}, {}: {so}", moment(since, now()));
    Err(Error::of(Code::DataPlaneDown, why).hint(format!("{next}; then repeat the command")))
}

/// Whether the data plane of `host` has ended, so that nothing is to be waited for; then a warning says so, and `so` what
/// follows. One that hangs may go on.
pub(super) async fn is_absent(ctx: &Ctx, host: &str, so: &str) -> Result<bool> {
    let found = settled(ctx, host).await?;
    let Plane::Down(since) = found else {
        return Ok(false);
    };
    let why = found.why_past(host).unwrap_or_default();
    ctx.ui.note(&format!(
        "warning: {why}, {}: not waiting; {so}",
        moment(since, now())
    ));
    Ok(true)
}

/// What is known of the data plane, after the time that it takes to tell a metadata daemon which was just restarted.
async fn settled(ctx: &Ctx, host: &str) -> Result<Plane> {
    let sign = sign(host);
    let first = plane(&ctx.table(&[&sign]).await?, host);
    if ctx.opts.dry_run || matches!(first, Plane::Up | Plane::Unknown) {
        return Ok(first);
    }
    let prefixes = [sign.as_str()];
    let up = ctx.wait_for(&prefixes, |table| match plane(table, host) {
        Plane::Up => Step::Ready(()),
        plane => Step::Waiting(format!(
            "for the data plane of {host}: {}",
            plane.why_past(host).unwrap_or_default()
        )),
    });
    // With a short --timeout there must be time left to go on.
    let left = ctx.deadline.saturating_duration_since(Instant::now());
    match tokio::time::timeout(PLANE_GRACE.min(left / 4), up).await {
        Ok(told) => told.map(|()| Plane::Up),
        Err(_) => Ok(plane(&ctx.table(&prefixes).await?, host)),
    }
}
