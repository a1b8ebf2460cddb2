//! Running a command for every resource that its argument names, and what they check first.

use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::keys::{Res, resource_list};
use mars_meta_model::{Membership, Table, members, resources};

/// Prefixes of all keys that belong to a resource.
pub(super) fn prefixes(res: &str) -> [String; 2] {
    [format!("directory/{res}/"), format!("resource-{res}/")]
}

/// Runs `work` for every resource that `text` names; goes on after a failure.
///
/// # Errors
/// The failure of a single resource; of several: how many failed, of the kind of the first.
pub(super) async fn each(
    ctx: &Ctx,
    verb: &str,
    text: &str,
    work: impl AsyncFn(&str, &str) -> Result<()>,
) -> Result<()> {
    let about = |error: Error| error.about(&format!("{verb} {text}"));
    let host = ctx.host().await.map_err(about)?;
    let table = ctx.table(&["directory/"]).await.map_err(about)?;
    let list = resource_list(text, &table, host).map_err(about)?;
    if let [res] = &list[..] {
        return work(host, res).await.map_err(about);
    }
    if list.is_empty() {
        ctx.ui.note(&format!("{verb}: {host} has no resources"));
    }
    let mut first = None;
    let mut failed = 0;
    for res in &list {
        ctx.ui.note(&format!("--------- resource {res}"));
        if let Err(error) = work(host, res).await {
            let error = error.about(&format!("{verb} {res}"));
            ctx.ui.error("marsadm", &error);
            failed += 1;
            first.get_or_insert(error.kind);
        }
    }
    match first {
        None => Ok(()),
        Some(kind) => Err(about(Error::new(
            kind,
            format!("{failed} of {} resources failed", list.len()),
        ))),
    }
}

/// All keys of a resource, which must exist.
pub(super) async fn resource_table(ctx: &Ctx, res: &str) -> Result<Table> {
    let table = ctx
        .table(&["directory/", &format!("resource-{res}/")])
        .await?;
    if members(&table, res).is_empty() {
        let all: Vec<String> = resources(&table).into_iter().collect();
        let hint = if all.is_empty() {
            "there are no resources yet: marsadm create-resource".to_owned()
        } else {
            format!("resources of the cluster: {}", all.join(" "))
        };
        return Err(Error::not_found(format!("resource {res} does not exist")).hint(hint));
    }
    Ok(table)
}

/// All keys of a resource that this host has a replica of.
pub(super) async fn own_table(ctx: &Ctx, host: &str, res: &str) -> Result<Table> {
    let table = resource_table(ctx, res).await?;
    match members(&table, res).get(host) {
        Some(Membership::Storage) => Ok(table),
        Some(Membership::Guest) => Err(Error::refused(format!(
            "{host} is only a guest of resource {res}: it has no replica"
        ))
        .hint(format!("marsadm join-resource {res} DISK"))),
        None => Err(
            Error::refused(format!("{host} is no member of resource {res}")).hint(format!(
                "run this on one of {}, or marsadm join-resource {res} DISK",
                Res::new(&table, res).storage_members().join(" ")
            )),
        ),
    }
}

/// The text behind a wait for the data plane.
pub(super) fn data_plane_hint(host: &str) -> String {
    format!("check that mars-datapath runs on {host} and what its log says; see marsadm view")
}
