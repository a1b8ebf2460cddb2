//! `activate-guest` and `deactivate-guest`: see a resource's keys without a replica.

use super::create_resource::membership;
use super::each::{each, prefixes, resource_table};
use super::since::{since, since_key};
use crate::context::{Changes, Ctx, key, set};
use crate::error::{Error, Result};
use crate::keys::Res;
use crate::wait::Step;
use mars_meta_model::{Membership, members};

/// Let this host see the keys of a resource without having a replica of it, or end that.
///
/// activate-guest waits until size and primary are known here. A guest can join-resource at any time.
///
/// Example: marsadm activate-guest mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, or a list with commas
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Runs `activate-guest`.
///
/// # Errors
/// If there is no such resource, or nothing of it arrives in time (the host is a guest then).
pub async fn activate(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "activate-guest", &args.resource, async |host, res| {
        let table = resource_table(ctx, res).await?;
        match members(&table, res).get(host) {
            Some(kind) => {
                let word = match kind {
                    Membership::Storage => "a member with a disk",
                    Membership::Guest => "a guest",
                };
                ctx.ui.note(&format!(
                    "activate-guest on resource {res} is already activated: {host} is {word}"
                ));
            }
            None => {
                ctx.apply(vec![
                    set(&format!("resource-{res}/device-{host}"), res)?,
                    set(&format!("resource-{res}/actual-{host}/if-on"), "0")?,
                    membership(res, host, Membership::Guest)?,
                ])
                .await?;
            }
        }
        if ctx.opts.dry_run {
            return Ok(());
        }
        let [directory, own] = prefixes(res);
        ctx.wait_for(&[&directory, &own], |table| {
            let view = Res::new(table, res);
            if view.text("size").is_none() {
                Step::Waiting(format!("for the size of resource {res} to arrive"))
            } else if view.text("primary").is_none() {
                Step::Waiting(format!("for the primary of resource {res} to arrive"))
            } else {
                Step::Ready(())
            }
        })
        .await
        .map_err(|error| {
            error.leaving(
                &format!("{host} stays a guest of {res}"),
                &format!("marsadm deactivate-guest {res}"),
            )
        })
    })
    .await
}

/// Runs `deactivate-guest`.
///
/// # Errors
/// If there is no such resource, or this host has a replica of it.
pub async fn deactivate(ctx: &Ctx, args: &Args) -> Result<()> {
    each(
        ctx,
        "deactivate-guest",
        &args.resource,
        async |host, res| {
            let table = resource_table(ctx, res).await?;
            let view = Res::new(&table, res);
            let kind = members(&table, res).get(host).copied();
            let replica = ["data", "replay"]
                .map(|kind| format!("{kind}-{host}"))
                .into_iter()
                .find(|leaf| view.text(leaf).is_some());
            if kind == Some(Membership::Storage) || replica.is_some() {
                let since = match &replica {
                    Some(leaf) => since(&view, leaf),
                    None => since_key(&table, &format!("directory/{res}/member-{host}")),
                };
                return Err(Error::refused(format!(
                    "{host} has a replica of resource {res}, {since}: it is no guest"
                ))
                .hint(format!(
                    "marsadm down {res}, then marsadm leave-resource {res}"
                )));
            }
            let (member, _) = membership(res, host, Membership::Guest)?;
            let mut changes = Changes::new();
            for leaf in [format!("device-{host}"), format!("actual-{host}/if-on")] {
                if view.text(&leaf).is_some() {
                    changes.push((key(&format!("resource-{res}/{leaf}"))?, None));
                }
            }
            if kind.is_some() {
                changes.push((member, None));
            }
            if changes.is_empty() {
                ctx.ui.note(&format!(
                    "{host} is no guest of resource {res}: nothing to do"
                ));
            }
            ctx.apply(changes).await?;
            Ok(())
        },
    )
    .await
}
