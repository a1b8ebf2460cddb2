//! What hosts have left behind that are no longer in the cluster: found for `cron --autoclean` and
//! `lowlevel-delete-host`.

use super::logs::lamport;
use crate::context::{Changes, Ctx};
use crate::error::Result;
use crate::keys::resource_list;
use mars_lamport::Timestamp;
use mars_meta_model::{Durability, Entry, NodeState, Owner, Table, classify, roster};
use std::collections::BTreeSet;

/// Most deletions of one batch.
const BATCH: usize = 1000;

/// Deletes old keys of unknown hosts: in the resources that `which` names, and with `all` outside of resources too.
///
/// # Errors
/// If the daemon refuses; what was deleted before stays deleted.
pub(super) async fn run(ctx: &Ctx, which: &str, days: u64) -> Result<()> {
    let host = ctx.host().await?;
    let table = ctx.table(&[""]).await?;
    let here: BTreeSet<String> = resource_list(which, &table, host)?.into_iter().collect();
    let known = known_hosts(&table);
    let now = lamport(ctx).await?;
    let mut gone = BTreeSet::new();
    let mut changes = Changes::new();
    for entry in table.iter().filter(|entry| is_old(entry, now, days)) {
        let (Some(owner), in_scope) = (owner(entry), in_scope(entry, &here, which == "all")) else {
            continue;
        };
        if in_scope && !known.contains(owner) {
            gone.insert(owner.to_owned());
            changes.push((entry.key.clone(), None));
        }
    }
    let count = changes.len();
    for batch in changes.chunks(BATCH) {
        ctx.apply_forced(batch.to_vec()).await?;
    }
    if count > 0 {
        let names: Vec<String> = gone.into_iter().collect();
        let done = if ctx.opts.dry_run {
            "would delete"
        } else {
            "deleted"
        };
        ctx.ui.note(&format!(
            "{done} {count} keys of hosts that are not in the cluster: {}",
            names.join(" ")
        ));
    }
    Ok(())
}

/// The host whose live key an entry is, and goes with it: not its line in the roster, and not its logs, which others may
/// still need.
fn owner(entry: &Entry) -> Option<&str> {
    let key = entry.key.as_str();
    let (family, host, res) = classify(&entry.key);
    let leaf = res.and_then(|res| {
        key.strip_prefix("resource-")?
            .strip_prefix(res)?
            .strip_prefix('/')
    });
    // Signs of life are made up by the daemon that is asked: there is nothing to delete.
    let stays = key.starts_with("roster/")
        || family.durability == Durability::Liveness
        || leaf.is_some_and(|leaf| leaf.starts_with("log-"));
    host.filter(|_| family.owner == Owner::Host && !stays && !entry.is_tombstone())
}

fn in_scope(entry: &Entry, here: &BTreeSet<String>, elsewhere: bool) -> bool {
    match entry
        .key
        .as_str()
        .strip_prefix("resource-")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((res, _)) => here.contains(res),
        None => elsewhere,
    }
}

fn is_old(entry: &Entry, now: Timestamp, days: u64) -> bool {
    now.secs().saturating_sub(entry.stamp.secs()) > days.saturating_mul(86_400)
}

/// The hosts that belong to the cluster, or that an imported tree has an address of.
fn known_hosts(table: &Table) -> BTreeSet<String> {
    let active = roster(table).into_iter();
    let active = active.filter(|(_, node)| node.state == NodeState::Active);
    let mut known: BTreeSet<String> = active.map(|(host, _)| host).collect();
    for entry in table.iter().filter(|entry| !entry.is_tombstone()) {
        known.extend(
            entry
                .key
                .as_str()
                .strip_prefix("ips/ip-")
                .map(str::to_owned),
        );
    }
    known
}

/// Deletions of all that is left of one host, whatever its age.
pub(super) fn leftovers(table: &Table, host: &str) -> Changes {
    let own = table.iter().filter(|entry| owner(entry) == Some(host));
    own.map(|entry| (entry.key.clone(), None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn leftovers_are_all_keys_of_a_host_but_its_logs_and_its_line_in_the_roster() {
        let mut table = Table::new();
        for key in [
            "actual-a/features",
            "actual-a/time",
            "defaults-a/sync-limit",
            "resource-r/version-000000001-a",
            "resource-r/log-000000001-a",
            "resource-r/todo-a/attach",
            "resource-r/actual-a/is-primary",
            "resource-r/data-a",
            "resource-r/data-b",
            "resource-r/size",
            "roster/a",
        ] {
            table.merge(entry(key, Some("1"), 1, 1));
        }
        let keys: Vec<String> = leftovers(&table, "a")
            .into_iter()
            .map(|(key, _)| key.to_string())
            .collect();
        assert_eq!(
            keys,
            [
                "actual-a/features",
                "defaults-a/sync-limit",
                "resource-r/actual-a/is-primary",
                "resource-r/data-a",
                "resource-r/todo-a/attach",
                "resource-r/version-000000001-a",
            ]
        );
    }
}
