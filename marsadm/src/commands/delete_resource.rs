//! `delete-resource`: remove what is left of a resource.

use super::each::each;
use super::since::since_key;
use crate::context::{Changes, Ctx, set};
use crate::error::{Error, Result};
use crate::keys::Res;
use mars_meta_model::{
    Membership, NodeRecord, NodeState, Scope, Table, View as _, members, roster, scope_includes,
};
use std::collections::BTreeMap;

/// Remove what is left of a resource in the whole cluster, after its last member has left. The disks keep their data.
///
/// The highest log number stays, so that a new resource of the same name begins behind it. A resource that is not
/// there is no error. --force deletes it although there are members: their data planes then forget logs and positions
/// as soon as their devices are closed.
///
/// Example: marsadm delete-resource mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Runs the command.
///
/// # Errors
/// The members that are left; nothing was written then.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "delete-resource", &args.resource, async |host, res| {
        let prefixes = [format!("directory/{res}/"), format!("resource-{res}/")];
        let table = ctx.table(&[&prefixes[0], &prefixes[1]]).await?;
        let left = remaining(&table, res, host);
        if !left.is_empty() && !ctx.opts.force {
            let list: Vec<String> = left.iter().map(|(h, why)| format!("{h} ({why})")).collect();
            let nodes = roster(&ctx.table(&["roster/"]).await?);
            let why = format!("resource {res} has members: {}", list.join(", "));
            return Err(Error::refused(why).hint(way_out(&left, &nodes, res)));
        }
        let (keys, directory) = (doomed(&table, res)?, own_directory(&table, res));
        let keepers = keepers(&table, &roster(&ctx.table(&["roster/"]).await?), res, host);
        if keys.is_empty() && directory.is_empty() {
            ctx.ui.note(&format!("resource {res} is not there: nothing to delete"));
            say_keepers(ctx, &keepers, res);
            return Ok(());
        }
        if !left.is_empty() {
            let hosts: Vec<&str> = left.keys().map(String::as_str).collect();
            ctx.ui.note(&format!(
                "WARNING: deleting resource {res} although {} have it: their logs and positions are lost",
                hosts.join(" ")
            ));
        }
        // While they are in the directory, members get the deletions; that of their membership reaches everybody.
        ctx.apply_forced(keys).await?;
        ctx.apply_forced(directory).await?;
        ctx.achieved(&format!("successfully deleted resource {res}"), &format!("delete resource {res}"));
        say_keepers(ctx, &keepers, res);
        crate::systemd::regenerate(ctx).await;
        Ok(())
    })
    .await
}

/// Hosts of the cluster beside `me` that were members and have left: each keeps what it knew of the others then, and as no
/// member is left that the keys would go to, their deletion reaches none of them.
fn keepers(
    table: &Table,
    nodes: &BTreeMap<String, NodeRecord>,
    res: &str,
    me: &str,
) -> Vec<String> {
    let prefix = format!("directory/{res}/member-");
    let left = table.scan(&prefix).filter(|entry| entry.is_tombstone());
    let hosts = left.filter_map(|entry| entry.key.as_str().strip_prefix(&prefix));
    let is_node = |host: &&str| {
        let node = nodes.get(*host);
        *host != me && node.is_some_and(|node| node.state == NodeState::Active)
    };
    hosts.filter(is_node).map(str::to_owned).collect()
}

fn say_keepers(ctx: &Ctx, keepers: &[String], res: &str) {
    if !keepers.is_empty() {
        ctx.ui.note(&format!(
            "what {} knew of resource {res} as a member may still lie there, for nobody else to see; there: marsadm \
             delete-resource {res}",
            keepers.join(" ")
        ));
    }
}

/// How those that are left can leave. What an import has told of may be no node: nobody can do it there.
fn way_out(
    left: &BTreeMap<String, String>,
    nodes: &BTreeMap<String, NodeRecord>,
    res: &str,
) -> String {
    let is_node = |host: &&String| nodes.contains_key(*host);
    let mut ways = Vec::new();
    if let Some(first) = left.keys().find(is_node) {
        ways.push(format!(
            "on each of them, for example {first}: marsadm down {res}, marsadm leave-resource {res} (the last one: marsadm \
             secondary {res} before)"
        ));
    }
    let absent = left.keys().filter(|host| !is_node(host));
    ways.extend(absent.map(|host| {
        format!(
            "{host} is no node of this cluster: marsadm --host={host} --force leave-resource {res}"
        )
    }));
    ways.join("; ")
}

/// Hosts that still take part, and by what. A host outside of the resource gets the directory only: what it has of the
/// others' keys is from the time when it was a member.
fn remaining(table: &Table, res: &str, me: &str) -> BTreeMap<String, String> {
    let mut left = BTreeMap::new();
    let prefix = format!("resource-{res}/");
    let inside = scope_includes(table, &Scope::Resource(res.into()), me);
    for entry in table.scan(&prefix).filter(|entry| !entry.is_tombstone()) {
        let leaf = entry.key.as_str().strip_prefix(&prefix).unwrap_or_default();
        for kind in ["data", "replay", "device"] {
            if let Some(host) = leaf.strip_prefix(kind).and_then(|l| l.strip_prefix('-'))
                && (inside || host == me)
            {
                left.insert(
                    host.to_owned(),
                    format!("key {leaf} {}", since_key(table, entry.key.as_str())),
                );
            }
        }
    }
    for (host, kind) in members(table, res) {
        let word = match kind {
            Membership::Storage => "member",
            Membership::Guest => "guest",
        };
        let key = format!("directory/{res}/member-{host}");
        let text = format!("{word} {}", since_key(table, &key));
        left.insert(host, text);
    }
    left
}

/// Deletions of all keys of the resource, the last ones first; the highest log number is kept up to date.
fn doomed(table: &Table, res: &str) -> Result<Changes> {
    let maxnr = format!("resource-{res}/maxnr");
    let prefix = format!("resource-{res}/");
    let mut changes: Changes = table
        .scan(&prefix)
        .filter(|entry| !entry.is_tombstone() && entry.key.as_str() != maxnr)
        .map(|entry| (entry.key.clone(), None))
        .collect();
    changes.reverse();
    let view = Res::new(table, res);
    let known = view.number("maxnr").unwrap_or(0);
    let highest = view.highest_log().max(known);
    if !changes.is_empty() && highest > known {
        changes.push(set(&maxnr, &highest.to_string())?);
    }
    Ok(changes)
}

fn own_directory(table: &Table, res: &str) -> Changes {
    table
        .scan(&format!("directory/{res}/"))
        .filter(|entry| !entry.is_tombstone())
        .map(|entry| (entry.key.clone(), None))
        .collect()
}
