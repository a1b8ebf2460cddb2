//! `lowlevel-delete-host`: take a dead host out of the cluster.

use super::autoclean::leftovers;
use super::since::since_key;
use crate::context::{Changes, Ctx, key};
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::wall::now;
use mars_meta_model::{
    Key, NodeState, Table, check_host_name, end_of_memberships, removal, resources_of, roster,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Take a dead host out of the cluster: its key is no longer accepted, and every node cuts it off as soon as it hears of
/// it, for ever. Its name may be used again by another machine, or by the same one when it joins anew (first marsadm
/// leave-cluster --force there). A host that lives leaves by itself: marsadm leave-cluster there.
///
/// Refused while the host is heard of, or is a member of resources. With --force it is removed all the same, and its
/// memberships with it; what only its disk has is not asked about. Its keys go too, but for those of its logs, which
/// others may still need. --force also removes the keys of a host that is no longer in the cluster.
///
/// Example: marsadm lowlevel-delete-host hostb
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The host
    #[arg(value_name = "HOST")]
    pub host: String,
}

/// Runs the command.
///
/// # Errors
/// If the host is not known, is this one, lives, or is still a member of resources.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let dead = args.host.as_str();
    let work = async {
        if ctx.node().await?.host == dead {
            return Err(Error::refused(format!("{dead} is this host"))
                .hint("marsadm leave-cluster; or run this on another node"));
        }
        take_out(ctx, dead).await
    };
    work.await
        .map_err(|error| error.about(&format!("lowlevel-delete-host {dead}")))
}

/// Takes another host than this one out of the cluster.
///
/// # Errors
/// If it is not known, lives, or is still a member of resources; with `--force` only what the daemon refuses.
pub(super) async fn take_out(ctx: &Ctx, dead: &str) -> Result<()> {
    let table = ctx.table(&[""]).await?;
    if !ctx.opts.force {
        check_dead(ctx, dead).await?;
    }
    let changes = changes(&table, dead, ctx.opts.force)?;
    ctx.apply(changes).await?;
    let dry_run = ctx.opts.dry_run;
    let node = ctx.node().await?;
    if let Some(out) = node.removed.as_ref().filter(|_| !dry_run) {
        ctx.ui.note(&format!(
            "it is written on {me} only that {dead} is out: nobody hears of it, since {me} itself is no longer in the \
             cluster ({})",
            out.reason,
            me = node.host
        ));
        return Ok(());
    }
    let done = if dry_run { "would be" } else { "is" };
    ctx.ui
        .note(&format!("{dead} {done} no longer in the cluster"));
    Ok(())
}

async fn check_dead(ctx: &Ctx, dead: &str) -> Result<()> {
    let peers = ctx.peers().await?;
    let heard = peers
        .iter()
        .find(|peer| peer.host == dead)
        .and_then(|p| p.heard_ns);
    let age = heard.map(|heard| Duration::from_nanos(now().as_nanos().saturating_sub(heard)));
    match age {
        Some(age) if age <= ctx.opts.window => Err(Error::refused(format!(
            "{dead} was heard of {} s ago: it lives",
            age.as_secs()
        ))
        .hint(format!(
            "marsadm leave-cluster on {dead}; or --force to cut it off"
        ))),
        _ => Ok(()),
    }
}

fn changes(table: &Table, dead: &str, force: bool) -> Result<Changes> {
    let line = roster(table).remove(dead);
    let line = line.filter(|record| record.state == NodeState::Active || force);
    let mut changes = Changes::new();
    if let Some(record) = line {
        changes.extend(removal(dead, &record));
    } else if let Err(error) = check_host_name(dead) {
        return Err(Error::of(Code::BadName, error.to_string()).hint("name a host"));
    } else if !force {
        let all = roster(table).into_iter();
        let active = all.filter(|(_, record)| record.state == NodeState::Active);
        let names: Vec<String> = active.map(|(name, _)| name).collect();
        let address = key(&format!("ips/ip-{dead}"))?;
        let is_known = mars_meta_model::View::entry(table, &address)
            .is_some_and(|entry| !entry.is_tombstone());
        let what = match is_known {
            true => "is a host of the imported tree, and no node of this cluster",
            false => "is no node of this cluster",
        };
        return Err(
            Error::of(Code::HostNotFound, format!("{dead} {what}")).hint(format!(
                "nodes: {}; --force removes what is left of another one",
                names.join(" ")
            )),
        );
    }
    // With --force as much as there is of it: perhaps a host that left long ago, or one of an imported tree.
    changes.push((key(&format!("ips/ip-{dead}"))?, None));
    let memberships: Vec<String> = resources_of(table, dead).into_keys().collect();
    if !memberships.is_empty() && !force {
        let told = memberships.iter().map(|res| {
            let key = format!("directory/{res}/member-{dead}");
            format!("{res} ({})", since_key(table, &key))
        });
        let told: Vec<String> = told.collect();
        return Err(Error::refused(format!(
            "{dead} is still a member of resources: {}",
            told.join(", ")
        ))
        .hint("let it leave them first, or --force"));
    }
    let ended = end_of_memberships(table, dead).into_iter();
    changes.extend(ended.map(|key| (key, None)));
    let told: BTreeSet<Key> = changes.iter().map(|(key, _)| key.clone()).collect();
    let left = leftovers(table, dead).into_iter();
    changes.extend(left.filter(|(key, _)| !told.contains(key)));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn a_host_goes_with_its_memberships_if_insisted() {
        let mut table = Table::new();
        let line = format!(
            "v1 id={} key={} meta=192.0.2.1:1 data= state=active",
            mars_meta_model::NodeId(1),
            "0".repeat(64)
        );
        table.merge(entry("roster/a", Some(&line), 1, 1));
        assert!(changes(&table, "b", false).is_err());
        table.merge(entry("defaults-b/sync-limit", Some("1"), 1, 1));
        let unknown = changes(&table, "b", true).unwrap();
        let unknown: Vec<&str> = unknown.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(unknown, ["ips/ip-b", "defaults-b/sync-limit"]);
        let plain = changes(&table, "a", false).unwrap();
        // The mark that lasts, the line, and the address.
        assert_eq!(plain.len(), 3);
        table.merge(entry("directory/r/member-a", Some("storage"), 1, 1));
        table.merge(entry("actual-a/features", Some("x"), 1, 1));
        table.merge(entry("resource-r/version-000000001-a", Some("x"), 1, 1));
        table.merge(entry("resource-r/log-000000001-a", Some("x"), 1, 1));
        table.merge(entry("resource-r/replay-a", Some("x"), 1, 1));
        table.merge(entry("resource-r/size", Some("1"), 1, 1));
        assert!(changes(&table, "a", false).is_err());
        let keys: Vec<String> = changes(&table, "a", true)
            .unwrap()
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect();
        for wanted in [
            "directory/r/member-a",
            "resource-r/replay-a",
            "resource-r/data-a",
            "resource-r/todo-a/attach",
            "actual-a/features",
            "resource-r/version-000000001-a",
        ] {
            assert!(keys.iter().any(|key| key == wanted), "{wanted}: {keys:?}");
        }
        assert!(
            !keys
                .iter()
                .any(|key| key == "resource-r/size" || key.contains("/log-"))
        );
    }
}
