//! `lowlevel-delete-host`: take a dead host out of the cluster.

use super::leave_resource::own_keys;
use crate::context::{Changes, Ctx, key, set};
use crate::error::{Error, Result};
use crate::wall::now;
use mars_meta_model::{NodeState, Table, member_key, resources_of, roster};
use std::time::Duration;

/// Take a dead host out of the cluster: its key is no longer accepted, and every node cuts it off as soon as it hears of
/// it. Its name may be used again by another machine. A host that lives leaves by itself: marsadm leave-cluster there.
///
/// Refused while the host is heard of, or is a member of resources. With --force it is removed all the same, and its
/// memberships with it; what only its disk has is not asked about.
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
        let me = ctx.host().await?;
        if me == dead {
            return Err(Error::refused(format!("{dead} is this host"))
                .hint("marsadm leave-cluster; or run this on another node"));
        }
        let table = ctx
            .table(&["roster/", "directory/", "resource-", "ips/"])
            .await?;
        if !ctx.opts.force {
            check_dead(ctx, dead).await?;
        }
        let changes = changes(&table, dead, ctx.opts.force)?;
        ctx.apply(changes).await?;
        ctx.ui.note(&format!("{dead} is no longer in the cluster"));
        Ok(())
    };
    work.await
        .map_err(|error| error.about(&format!("lowlevel-delete-host {dead}")))
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
    let Some(mut record) = line.filter(|record| record.state == NodeState::Active || force) else {
        let all = roster(table).into_iter();
        let active = all.filter(|(_, record)| record.state == NodeState::Active);
        let names: Vec<String> = active.map(|(name, _)| name).collect();
        return Err(
            Error::not_found(format!("{dead} is no node of this cluster"))
                .hint(format!("nodes: {}", names.join(" "))),
        );
    };
    record.state = NodeState::Left;
    let mut changes = vec![set(&format!("roster/{dead}"), &record.to_string())?];
    changes.push((key(&format!("ips/ip-{dead}"))?, None));
    let memberships: Vec<String> = resources_of(table, dead).into_keys().collect();
    if !memberships.is_empty() && !force {
        return Err(Error::refused(format!(
            "{dead} is still a member of resources: {}",
            memberships.join(" ")
        ))
        .hint("let it leave them first, or --force"));
    }
    for res in memberships {
        let member = member_key(&res, dead);
        changes.extend(member.map(|member| (member, None)));
        let mut keys: Changes = own_keys(table, &res, dead);
        // Those that matter also where this host does not see the resource's keys.
        for leaf in ["data", "device"] {
            keys.push((key(&format!("resource-{res}/{leaf}-{dead}"))?, None));
        }
        for switch in ["attach", "connect", "sync", "allow-replay"] {
            let text = format!("resource-{res}/todo-{dead}/{switch}");
            keys.push((key(&text)?, None));
        }
        keys.sort();
        keys.dedup();
        changes.extend(keys);
    }
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
        let plain = changes(&table, "a", false).unwrap();
        assert_eq!(plain.len(), 2);
        table.merge(entry("directory/r/member-a", Some("storage"), 1, 1));
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
        ] {
            assert!(keys.iter().any(|key| key == wanted), "{wanted}: {keys:?}");
        }
        assert!(!keys.iter().any(|key| key == "resource-r/size"));
    }
}
