//! `log-purge-all`, `err-purge-all` and `link-purge-all`: remove keys that are left over.

use super::each::{each, own_table, resource_table};
use crate::context::{Changes, Ctx, key};
use crate::error::Result;
use crate::keys::{Res, version_links};
use mars_meta_model::View as _;
use std::collections::{BTreeMap, BTreeSet};

/// Remove keys that are left over. No data are lost.
///
/// log-purge-all deletes this host's versions and logs that no replica's history leads to (with --force: those of all
/// hosts). err-purge-all deletes this host's error messages; what still holds is reported anew. link-purge-all does
/// nothing but count: the daemons collect deleted keys by themselves.
///
/// Example: marsadm log-purge-all mydata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Resource, a list with commas, or all
    #[arg(value_name = "RES")]
    pub resource: String,
}

/// Runs `log-purge-all`.
///
/// # Errors
/// If there is no such resource.
pub async fn logs(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "log-purge-all", &args.resource, async |host, res| {
        let table = resource_table(ctx, res).await?;
        let view = Res::new(&table, res);
        let known = reachable(&view);
        let mut changes = Changes::new();
        let mut foreign = 0;
        for (leaf, nr, of, origin) in objects(&view) {
            if known.contains(&(nr, origin)) {
                continue;
            }
            if of == host || ctx.opts.force {
                changes.push((key(&format!("resource-{res}/{leaf}"))?, None));
            } else {
                foreign += 1;
            }
        }
        if changes.is_empty() {
            ctx.ui.note(&format!(
                "no versions or logs of {host} are left over in resource {res}"
            ));
        }
        if foreign > 0 {
            ctx.ui.note(&format!(
                "{foreign} of other hosts are left over in resource {res}: run it there, or add --force"
            ));
        }
        ctx.apply(changes).await?;
        Ok(())
    })
    .await
}

/// Runs `err-purge-all`.
///
/// # Errors
/// If this host has no replica.
pub async fn errors(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "err-purge-all", &args.resource, async |host, res| {
        let table = own_table(ctx, host, res).await?;
        let of = |prefix: String| {
            let live = table.scan(&prefix).filter(|entry| !entry.is_tombstone());
            live.map(|entry| (entry.key.clone(), None))
                .collect::<Changes>()
        };
        let mut changes = of(format!("resource-{res}/actual-{host}/msg-err-"));
        changes.extend(of(format!("actual-{host}/msg-err-")));
        ctx.apply(changes).await?;
        Ok(())
    })
    .await
}

/// Runs `link-purge-all`.
///
/// # Errors
/// If there is no such resource.
pub async fn links(ctx: &Ctx, args: &Args) -> Result<()> {
    each(ctx, "link-purge-all", &args.resource, async |_, res| {
        let table = resource_table(ctx, res).await?;
        let deleted = table.scan(&format!("resource-{res}/"));
        let count = deleted.filter(|entry| entry.is_tombstone()).count();
        ctx.ui.note(&format!(
            "{count} deleted keys of {res} are remembered here; the daemons forget them when all nodes know"
        ));
        Ok(())
    })
    .await
}

/// Version and log keys: leaf, number, whose key it is, and who wrote that log.
fn objects(view: &Res<'_>) -> Vec<(String, u64, String, String)> {
    let prefix = format!("resource-{}/", view.name);
    let live = view.table.scan(&prefix).filter_map(|entry| {
        let leaf = entry.key.as_str().strip_prefix(&prefix)?;
        let (kind, rest) = leaf.split_once('-')?;
        let (nr, of) = rest.split_once('-')?;
        let nr: u64 = nr.parse().ok()?;
        let text = entry.text()?;
        let origin = match kind {
            "log" => of.to_owned(),
            "version" => version_links(text).map_or_else(|| of.to_owned(), |(at, _)| at.origin),
            _ => return None,
        };
        Some((leaf.to_owned(), nr, of.to_owned(), origin))
    });
    live.collect()
}

/// The logs (number and writer) that belong to the history of a replica: what leads up to its position, and what
/// follows.
fn reachable(view: &Res<'_>) -> BTreeSet<(u64, String)> {
    let mut before: BTreeMap<(u64, String), BTreeSet<(u64, String)>> = BTreeMap::new();
    let mut after = before.clone();
    let prefix = format!("resource-{}/", view.name);
    for entry in view.table.scan(&format!("{prefix}version-")) {
        if let Some((at, Some(previous))) = entry.text().and_then(version_links) {
            let (at, previous) = ((at.nr, at.origin), (previous.nr, previous.origin));
            after
                .entry(previous.clone())
                .or_default()
                .insert(at.clone());
            before.entry(at).or_default().insert(previous);
        }
    }
    let stands: Vec<(u64, String)> = view
        .table
        .scan(&format!("{prefix}replay-"))
        .filter_map(|entry| {
            let host = entry.key.as_str().strip_prefix(&prefix)?;
            let at = view.replay(host.strip_prefix("replay-")?)?.at;
            Some((at.nr, at.origin))
        })
        .collect();
    let mut known: BTreeSet<(u64, String)> = BTreeSet::new();
    for links in [&before, &after] {
        let mut todo = stands.clone();
        let mut seen = BTreeSet::new();
        while let Some(log) = todo.pop() {
            if seen.insert(log.clone()) {
                todo.extend(links.get(&log).into_iter().flatten().cloned());
            }
        }
        known.extend(seen);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::{Table, testing::entry};

    #[test]
    fn what_no_history_leads_to_is_left_over() {
        let mut table = Table::new();
        let z = "0".repeat(32);
        for (key, value) in [
            ("replay-a", "log-000000003-a,0,0".to_owned()),
            (
                "version-000000002-a",
                format!("{z},log-000000002-b,5:{z},log-000000001-b,9"),
            ),
            (
                "version-000000003-a",
                format!("{z},log-000000003-a,0:{z},log-000000002-b,5"),
            ),
            (
                "version-000000004-b",
                format!("{z},log-000000004-a,7:{z},log-000000003-a,4"),
            ),
            // A branch that lost.
            (
                "version-000000003-b",
                format!("{z},log-000000003-b,0:{z},log-000000002-b,5"),
            ),
        ] {
            table.merge(entry(&format!("resource-r/{key}"), Some(&value), 1, 1));
        }
        let known = reachable(&Res::new(&table, "r"));
        let logs: Vec<(u64, &str)> = known.iter().map(|(nr, o)| (*nr, o.as_str())).collect();
        assert_eq!(logs, [(1, "b"), (2, "b"), (3, "a"), (4, "a")]);
    }
}
