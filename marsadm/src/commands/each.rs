//! Running a command for every resource that its argument names, and what they check first.

use super::since::since_key;
use crate::context::{Ctx, key};
use crate::contract::is_original;
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::keys::{Res, resource_list};
use crate::macros::human_number;
use crate::suggest::{self, STORE_LOST, no_resources};
use crate::ui::Ui;
use mars_meta_model::{Entry, Membership, NodeState, Table, members, resources, roster};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::Poll;

/// Prefixes of all keys that belong to a resource.
pub(super) fn prefixes(res: &str) -> [String; 2] {
    [format!("directory/{res}/"), format!("resource-{res}/")]
}

/// Runs `work` for every resource that `text` names, with `--parallel` for several at once; goes on after a failure.
///
/// # Errors
/// The failure of a single resource; of several: how many failed, [`Kind::Partial`], or if all did, of the kind of the
/// first.
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
        if text != res {
            // `all`, a list or a pattern, though of one.
            header(ctx, verb, &table, res).await;
        }
        let result = work(host, res).await.map_err(about);
        report(ctx, verb, res, result.as_ref().err());
        return result;
    }
    if list.is_empty() {
        ctx.ui.note(&format!("{verb}: {host} has no resources"));
    }
    let several = ctx.opts.parallel > 1;
    let tasks = list.iter().map(|res| {
        let (work, table) = (&work, &table);
        let one = async move {
            header(ctx, verb, table, res).await;
            let result = work(host, res)
                .await
                .map_err(|error| error.about(&format!("{verb} {res}")));
            if let Err(error) = &result {
                ctx.ui.error("marsadm", error);
            }
            report(ctx, verb, res, result.as_ref().err());
            result.err().map(|error| error.kind)
        };
        let label = if several {
            format!("{res}: ")
        } else {
            String::new()
        };
        Ui::labelled(label, one)
    });
    let failures: Vec<Kind> = run_some(tasks, ctx.opts.parallel)
        .await
        .into_iter()
        .flatten()
        .collect();
    let Some(first) = failures.first().copied() else {
        return Ok(());
    };
    let failed = failures.len();
    let (kind, hint) = if failed < list.len() {
        (
            Kind::Partial,
            "the messages above say why; what succeeded stays done",
        )
    } else {
        (first, "the messages above say why")
    };
    let error = Error::new(kind, format!("{failed} of {} resources failed", list.len()));
    Err(about(error.hint(hint)))
}

/// Records how a resource fared; of the original's commands also as their scripts know it.
pub(super) fn report(ctx: &Ctx, verb: &str, res: &str, failure: Option<&Error>) {
    ctx.ui.resource(res, failure);
    if failure.is_some() && is_original(verb) && !ctx.ui.is_structured() {
        ctx.ui.line(&format!("FAILURE cmd='{verb}' res='{res}'"));
    }
}

/// The original's line above each resource of a list; its commands for logs have none.
async fn header(ctx: &Ctx, verb: &str, table: &Table, res: &str) {
    if ctx.ui.is_structured() || verb.starts_with("log-") {
        return;
    }
    let size = match key(&format!("resource-{res}/size")) {
        Ok(key) => ctx.get(&key).await.ok().flatten(),
        Err(_) => None,
    };
    let size = size.and_then(|entry| entry.text()?.parse().ok());
    let Some(size) = size else {
        ctx.ui.line(&format!("--------- resource {res}"));
        return;
    };
    let size = human_number("", "", "", &[size]);
    let nodes = ctx.table(&["roster/"]).await.unwrap_or_default();
    let nodes = roster(&nodes).into_values();
    let nodes = nodes.filter(|node| node.state == NodeState::Active).count();
    let replicas = members(table, res).into_values();
    let replicas = replicas.filter(|one| *one == Membership::Storage).count();
    let line = format!("--------- resource {res} {size} [{replicas}/{nodes}]");
    ctx.ui.line(&line);
}

/// Runs tasks, at most `limit` at once, the first ones first; results in their order.
async fn run_some<F: Future>(tasks: impl IntoIterator<Item = F>, limit: usize) -> Vec<F::Output> {
    let mut waiting = tasks.into_iter();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut done: BTreeMap<usize, F::Output> = BTreeMap::new();
    let mut next = 0;
    std::future::poll_fn(|cx| {
        loop {
            while running.len() < limit.max(1)
                && let Some(task) = waiting.next()
            {
                running.push((next, Box::pin(task)));
                next += 1;
            }
            let before = running.len();
            running.retain_mut(|(at, task)| match task.as_mut().poll(cx) {
                Poll::Ready(output) => {
                    done.insert(*at, output);
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && before == 0 {
                return Poll::Ready(());
            }
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    done.into_values().collect()
}

/// All keys of a resource, which must exist.
pub(super) async fn resource_table(ctx: &Ctx, res: &str) -> Result<Table> {
    let table = ctx
        .table(&["directory/", &format!("resource-{res}/")])
        .await?;
    if members(&table, res).is_empty() {
        let all: Vec<String> = resources(&table).into_iter().collect();
        let hint = if all.is_empty() {
            let reports = ctx.table(&["actual-"]).await?;
            let lost = |entry: &Entry| entry.key.as_str().ends_with(STORE_LOST);
            no_resources(reports.iter().filter(|e| !e.is_tombstone()).any(lost)).to_owned()
        } else {
            suggest::hint("resources of the cluster", res, &all)
        };
        let why = format!("resource {res} does not exist");
        return Err(Error::of(Code::ResourceNotFound, why).hint(hint));
    }
    Ok(table)
}

/// All keys of a resource that this host has a replica of.
pub(super) async fn own_table(ctx: &Ctx, host: &str, res: &str) -> Result<Table> {
    let table = resource_table(ctx, res).await?;
    match members(&table, res).get(host) {
        Some(Membership::Storage) => Ok(table),
        Some(Membership::Guest) => Err(Error::of(
            Code::NotMember,
            format!(
                "{host} is only a guest of resource {res}, {}: it has no replica",
                since_key(&table, &member(host, res))
            ),
        )
        .hint(format!("marsadm join-resource {res} DISK"))),
        None => Err(Error::of(
            Code::NotMember,
            format!(
                "{host} is no member of resource {res}{}",
                left_since(&table, host, res)
            ),
        )
        .hint(format!(
            "run this on one of {}, or marsadm join-resource {res} DISK",
            Res::new(&table, res).storage_members().join(" ")
        ))),
    }
}

fn member(host: &str, res: &str) -> String {
    format!("directory/{res}/member-{host}")
}

/// Since when a host is no member any more, if it was one.
pub(super) fn left_since(table: &Table, host: &str, res: &str) -> String {
    let told = since_key(table, &member(host, res));
    if told.starts_with("since") {
        format!(", {told}")
    } else {
        String::new()
    }
}

/// The text behind a wait for the data plane.
pub(super) fn data_plane_hint(host: &str) -> String {
    format!("check that mars-datapath runs on {host} and what its log says; see marsadm status")
}
