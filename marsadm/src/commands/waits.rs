//! `wait-umount`, `wait-connect`, `update-cluster`: waiting for others.

use super::each::{each, prefixes, resource_table};
use super::since::since;
use super::wait_cluster;
use crate::context::Ctx;
use crate::error::{Kind, Result};
use crate::keys::Res;
use crate::plane::{Plane, plane, sign};
use crate::wait::Step;
use mars_meta_model::members;
use tokio::sync::OnceCell;

/// Wait until nobody has the device of a resource open on this host, at most --timeout seconds.
///
/// Example: marsadm wait-umount mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct UmountArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Wait until every member of a resource was heard of since this command began, at most --timeout seconds.
///
/// Example: marsadm wait-connect mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct ConnectArgs {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Runs `wait-umount`.
///
/// # Errors
/// If there is no such resource, or the device stays open.
pub async fn umount(ctx: &Ctx, args: &UmountArgs) -> Result<()> {
    each(ctx, "wait-umount", &args.resource, async |host, res| {
        resource_table(ctx, res).await?;
        let [directory, own] = prefixes(res);
        let leaf = format!("actual-{host}/open-count");
        let sign = sign(host);
        ctx.wait_for(&[&directory, &own, &sign], |table| {
            let view = Res::new(table, res);
            let past = match plane(table, host) {
                // It has taken the device with it.
                Plane::Down(_) => return Step::Ready(()),
                plane => plane.why_past(host),
            };
            if let Some(why) = past {
                return Step::Waiting(format!(
                    "for the data plane of {host}: {why}, and may not know of whoever opened the device of {res}"
                ));
            }
            match view.number(&leaf) {
                None | Some(0) => Step::Ready(()),
                Some(count) => Step::Waiting(format!(
                    "for the device of {res} on {host} to be closed (open {count} times, {})",
                    since(&view, &leaf)
                )),
            }
        })
        .await
        .map_err(|error| match error.kind {
            Kind::Timeout => error.hint("umount or close the device, then repeat the command"),
            _ => error,
        })
    })
    .await
}

/// Runs `wait-connect`.
///
/// # Errors
/// If there is no such resource; the members that were not heard of in time.
pub async fn connect(ctx: &Ctx, args: &ConnectArgs) -> Result<()> {
    // One question for all resources.
    let asked = OnceCell::new();
    each(ctx, "wait-connect", &args.resource, async |_, res| {
        let table = resource_table(ctx, res).await?;
        let hosts: Vec<String> = members(&table, res).into_keys().collect();
        let asked = asked
            .get_or_try_init(|| wait_cluster::ask(ctx, &hosts))
            .await?;
        wait_cluster::heard(ctx, asked, &hosts).await
    })
    .await
}

/// Runs `update-cluster`.
///
/// # Errors
/// As `wait-cluster`.
pub async fn update_cluster(ctx: &Ctx, args: &wait_cluster::Args) -> Result<()> {
    let work = async {
        let asked = wait_cluster::ask(ctx, &args.hosts).await?;
        wait_cluster::heard(ctx, &asked, &args.hosts).await
    };
    work.await.map_err(|error| error.about("update-cluster"))
}
