//! Starting and stopping units as the keys have it.

use super::apply::{Activity, Report, problem};
use super::engine::Generated;
use super::wish::{UnitWish, status_key};
use crate::context::{Changes, Ctx, set};
use crate::error::Result;
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// Starts and stops what the wishes say; all resources at once, so that none waits for another.
pub(super) async fn activate(
    ctx: &Ctx,
    host: &str,
    activity: &Activity,
    wishes: &BTreeMap<String, UnitWish>,
    generated: &Generated,
    report: &mut Report,
) -> Result<()> {
    let mut running = JoinSet::new();
    for (resource, wish) in wishes {
        let is_meant = match activity {
            Activity::Generate => false,
            Activity::Of(names) => names.contains(resource),
            Activity::All => true,
        };
        let (Some((start, stop)), Some(run)) = (&wish.units, wish.run) else {
            continue;
        };
        let (verb, unit) = if run {
            ("start", start)
        } else {
            ("stop", stop)
        };
        // Only what was made of a template that is installed here: names in keys choose, they do not command.
        if !is_meant || !generated.units.contains_key(unit) {
            continue;
        }
        if ctx.opts.dry_run {
            ctx.ui.note(&format!("would {verb}: {unit}"));
            continue;
        }
        let (systemctl, limit) = (ctx.systemd.systemctl(), ctx.systemd.unit_timeout);
        let (resource, unit) = (resource.clone(), unit.to_string());
        running.spawn(async move {
            let ended = systemctl.unit(verb, &unit, limit).await;
            (resource, verb, unit, ended)
        });
    }
    let mut changes = Changes::new();
    while let Some(done) = running.join_next().await {
        let Ok((resource, verb, unit, ended)) = done else {
            continue;
        };
        if ended.status != 0 {
            let text = problem(verb, &unit, &ended);
            report.problems.push(format!("resource {resource}: {text}"));
            report.failed.insert(resource.clone());
        }
        let key = status_key(&resource, verb, host);
        let status = ended.status.to_string();
        // As it is by now: the new primary may have reset it meanwhile.
        let now = ctx.get(&crate::context::key(&key)?).await?;
        if now.as_ref().and_then(|entry| entry.text()) != Some(&status) {
            changes.push(set(&key, &status)?);
        }
        report.actions.push((resource, verb, unit, ended.status));
    }
    report.actions.sort();
    if !changes.is_empty() {
        ctx.apply(changes).await?;
    }
    Ok(())
}
