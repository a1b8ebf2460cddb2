//! `leave-cluster`: give up this node's membership.

use super::since::{moment, since_key};
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::wall::now;
use mars_lamport::Timestamp;
use mars_meta_api::Request;
use mars_meta_model::{
    Durability, Key, NodeState, Table, View as _, classify, end_of_memberships, resources_of,
    roster,
};

/// Leave the cluster. The other nodes cut this one off; its daemon gives up identity and store and belongs to no cluster
/// afterwards, so it may create or join one. Nobody else can come in under this node's key.
///
/// Refused while this host is a member of a resource, holds the authority of the cluster, is the last node, or while no
/// other node is connected. --force skips these checks, and ends memberships of resources too; their disks keep their data.
///
/// For a node that is dead: --host=DEAD on another node, which is lowlevel-delete-host DEAD.
///
/// Example: marsadm leave-cluster
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {}

/// What the daemon tells the others: the line in the roster, and the deletion of what is known of the host outside of
/// resources, and of its memberships.
fn farewell(table: &Table, host: &str) -> Result<Changes> {
    let mut changes = Changes::new();
    for entry in table.iter().filter(|entry| !entry.is_tombstone()) {
        let (family, owner, res) = classify(&entry.key);
        let made_up = family.durability == Durability::Liveness;
        if owner == Some(host)
            && res.is_none()
            && !made_up
            && !entry.key.as_str().starts_with("roster/")
        {
            changes.push((entry.key.clone(), None));
        }
    }
    let ended = end_of_memberships(table, host).into_iter();
    let ended: Vec<Key> = ended
        .filter(|key| !changes.iter().any(|(told, _)| told == key))
        .collect();
    changes.extend(ended.into_iter().map(|key| (key, None)));
    if let Some(mut record) = roster(table).remove(host) {
        record.state = NodeState::Left;
        changes.push(set(&format!("roster/{host}"), &record.to_string())?);
    }
    Ok(changes)
}

/// Refuses what the daemon would refuse, as far as keys and neighbours tell.
async fn may_leave(ctx: &Ctx, table: &Table, host: &str) -> Result<()> {
    let own: Vec<String> = resources_of(table, host)
        .into_keys()
        .map(|res| {
            let since = since_key(table, &format!("directory/{res}/member-{host}"));
            format!("{res} ({since})")
        })
        .collect();
    if !own.is_empty() {
        let why = format!("{host} is still a member of resources: {}", own.join(", "));
        return Err(Error::refused(why).hint("marsadm leave-resource first, or --force"));
    }
    let authority = "defaults/ca-host";
    if table.text(authority) == Some(host) {
        return Err(Error::refused(format!(
            "{host} holds the authority of the cluster, {}: without it nobody could join any more",
            since_key(table, authority)
        ))
        .hint(
            "marsadm ca export here, marsadm ca import on another node; then leave with --force",
        ));
    }
    let mut others = roster(table).into_iter();
    if !others.any(|(name, record)| name != host && record.state == NodeState::Active) {
        // Lines in the roster change when nodes come and go.
        let newest = table.scan("roster/").map(|entry| entry.stamp).max();
        let since = newest.map_or(String::new(), |stamp| format!(", {}", moment(stamp, now())));
        let why =
            format!("{host} is the last node{since}: all that the cluster knows would be lost");
        return Err(Error::refused(why).hint("--force insists"));
    }
    let peers = ctx.peers().await?;
    if !peers.iter().any(|peer| peer.connected && peer.host != host) {
        let others = peers.iter().filter(|peer| peer.host != host);
        let heard = others.filter_map(|peer| peer.heard_ns).max();
        let since = heard.map_or_else(
            || "none was heard of since the daemon started".to_owned(),
            |ns| moment(Timestamp::from_nanos(ns), now()),
        );
        let why = format!("no other node is connected, so none would hear of it ({since})");
        return Err(Error::refused(why).hint(
            "mend the network; or leave with --force and run marsadm lowlevel-delete-host on another node",
        ));
    }
    Ok(())
}

/// Runs the command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(ctx: &Ctx, _args: &Args) -> Result<()> {
    let work = async {
        let host = ctx.host().await?;
        if ctx.node().await?.host != host {
            let known = roster(&ctx.table(&["roster/"]).await?);
            if !known.contains_key(host) {
                let names: Vec<String> = known.into_keys().collect();
                return Err(Error::of(
                    Code::HostNotFound,
                    format!("{host} was never a node of this cluster"),
                )
                .hint(crate::suggest::hint("nodes", host, &names)));
            }
            return super::lowlevel_delete_host::take_out(ctx, host).await;
        }
        if ctx.opts.dry_run {
            let table = ctx.table(&[""]).await?;
            if !ctx.opts.force {
                may_leave(ctx, &table, host).await?;
            }
            ctx.apply(farewell(&table, host)?).await?;
            ctx.ui.note(&format!(
                "would take {host} out of the cluster; its daemon would then give up its identity and all keys that it \
                 holds, but not before it has checked that this may be"
            ));
            return Ok(());
        }
        let force = ctx.opts.force;
        ctx.call(Request::LeaveCluster { force }).await?;
        ctx.ui.token("successfully left the cluster");
        Ok(())
    };
    work.await
        .map_err(|error: Error| error.about("leave-cluster"))
}
