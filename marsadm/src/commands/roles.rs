//! What the commands that change roles share.

use super::since::since;
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::keys::Res;

/// Refuses a host that is primary. `--force` overrides the designation, never the observed role.
pub(super) fn check_not_primary(ctx: &Ctx, view: &Res<'_>, host: &str) -> Result<()> {
    let res = view.name;
    if view.actual(host, "is-primary") {
        return Err(
            Error::of(
                Code::IsPrimary,
                format!(
                    "{host} is the actual primary of resource {res}, {}",
                    since(view, &format!("actual-{host}/is-primary"))
                ),
            )
            .hint(
                format!("first make another host primary: marsadm primary {res} there; the last replica: marsadm secondary {res}, marsadm down {res}"),
            ),
        );
    }
    if view.primary() == Some(host) {
        if !ctx.opts.force {
            return Err(Error::of(
                Code::IsPrimary,
                format!(
                    "{host} is the designated primary of resource {res}, {}",
                    since(view, "primary")
                ),
            )
            .hint(format!(
                "first make another host primary: marsadm primary {res} there; the last replica: marsadm secondary {res}, marsadm down {res}"
            )));
        }
        ctx.ui.note(&format!(
            "warning: {host} is the designated primary of resource {res}"
        ));
    }
    Ok(())
}

/// The designated primary, or the one that was remembered when nobody is designated.
pub(super) fn old_primary<'a>(view: &Res<'a>) -> Option<&'a str> {
    view.primary()
        .or_else(|| view.text("userspace/last-primary"))
        .filter(|host| *host != "(none)")
}

/// The changes that designate `host`. If it was primary last, who was before it stays told.
pub(super) fn designate(view: &Res<'_>, host: &str) -> Result<Changes> {
    let res = view.name;
    let mut changes = Changes::new();
    let last = view.text("userspace/last-primary");
    if last != Some(host) {
        if let Some(last) = last {
            changes.push(set(
                &format!("resource-{res}/userspace/prev-primary"),
                last,
            )?);
        }
        changes.push(set(
            &format!("resource-{res}/userspace/last-primary"),
            host,
        )?);
    }
    changes.push(set(&format!("resource-{res}/primary"), host)?);
    Ok(changes)
}
