//! `systemd-trigger --follow`: a pass whenever a key says something new about the units of this host.

use super::apply::{Activity, Pass, Report, pass};
use super::wish::{UnitWish, wish};
use crate::context::Ctx;
use crate::error::Result;
use crate::limits::{SYSTEMD_DELAY, SYSTEMD_RETRY};
use mars_lamport::Timestamp;
use mars_meta_api::WatchEvent;
use mars_meta_model::{Key, Table, View as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// What is watched.
const PREFIXES: [&str; 3] = ["directory/", "resource-", "todo-global/"];
/// Written by `systemd-trigger` for all hosts.
pub(crate) const GLOBAL_TRIGGER: &str = "todo-global/systemd-global-trigger";

/// What decides about a resource's units, and when somebody last said so, be it the same again.
type Cause = (UnitWish, Option<Timestamp>);

/// What was said of all resources.
#[derive(Debug, Default, PartialEq, Eq)]
struct Causes {
    of: BTreeMap<String, Cause>,
    global: Option<Timestamp>,
}

impl Causes {
    fn read(table: &Table, host: &str) -> Self {
        let stamp = |key: &str| Some(table.entry(&Key::parse(key).ok()?)?.stamp);
        Self {
            of: wish(table, host)
                .into_iter()
                .map(|(name, wish)| {
                    let said = stamp(&format!("resource-{name}/systemd-want"));
                    (name, (wish, said))
                })
                .collect(),
            global: stamp(GLOBAL_TRIGGER),
        }
    }

    /// The resources about which something new was said.
    fn news(&self, before: &Self) -> BTreeSet<String> {
        if self.global != before.global {
            return self.of.keys().cloned().collect();
        }
        let differs = |name: &&String| self.of.get(*name) != before.of.get(*name);
        self.of
            .keys()
            .chain(before.of.keys())
            .filter(differs)
            .cloned()
            .collect()
    }
}

/// Follows the keys until the process is ended. While the daemon does not answer, everything stays as it is.
///
/// # Errors
/// If the daemon does not answer when the command begins.
pub async fn follow(ctx: &Ctx) -> Result<()> {
    let mut begun = false;
    loop {
        let result = follow_once(ctx, &mut begun).await;
        match result {
            Err(error) if !begun => return Err(error),
            Err(error) => ctx
                .ui
                .note(&format!("{error}; units stay as they are until it answers")),
            Ok(()) => {}
        }
        tokio::time::sleep(SYSTEMD_RETRY.0).await;
    }
}

async fn follow_once(ctx: &Ctx, begun: &mut bool) -> Result<()> {
    let host = Ctx::new(ctx.ui.clone(), ctx.opts.clone())
        .local_host()
        .await?
        .to_owned();
    let client = ctx.connect().await?;
    let mut watch = client.watch(&PREFIXES).await?;
    let (mut table, mut synced) = (Table::new(), false);
    let mut done = Causes::default();
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut due: Option<Instant> = None;
    let mut wait = SYSTEMD_RETRY.0;
    let mut is_first = true;
    loop {
        let at = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            event = watch.next() => {
                match event? {
                    WatchEvent::Entries(entries) => entries.into_iter().for_each(|entry| {
                        table.merge(entry);
                    }),
                    WatchEvent::Synced => synced = true,
                    WatchEvent::Lagged => (table, synced) = (Table::new(), false),
                }
                if !synced {
                    continue;
                }
                let now = Causes::read(&table, &host);
                if now != done || is_first {
                    open.extend(now.news(&done));
                    done = now;
                    is_first = false;
                    wait = SYSTEMD_RETRY.0;
                    let soon = Instant::now() + SYSTEMD_DELAY;
                    due = Some(due.map_or(soon, |at| at.min(soon)));
                }
            }
            () = tokio::time::sleep_until(at), if due.is_some() => {
                *begun = true;
                let work = Pass {
                    activity: Activity::Of(std::mem::take(&mut open)),
                    force: false,
                };
                // A connection and a time limit of its own.
                let once = Ctx::new(ctx.ui.clone(), ctx.opts.clone());
                let report = pass(&once, &work).await?;
                tell(ctx, &report);
                let failed = !report.problems.is_empty();
                open.extend(report.failed);
                due = failed.then(|| Instant::now() + wait);
                wait = (2 * wait).min(SYSTEMD_RETRY.1);
            }
        }
    }
}

/// Says what a pass did.
fn tell(ctx: &Ctx, report: &Report) {
    for line in report.lines() {
        ctx.ui.note(&line);
    }
}

impl Report {
    /// What was done and what went wrong, for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let written = self.written.iter().map(|unit| format!("wrote {unit}"));
        let removed = self.removed.iter().map(|unit| format!("removed {unit}"));
        let actions = self.actions.iter().map(|(resource, verb, unit, status)| {
            format!("resource {resource}: {verb} {unit}: status {status}")
        });
        let problems = self.problems.iter().map(|text| format!("warning: {text}"));
        written
            .chain(removed)
            .chain(actions)
            .chain(problems)
            .collect()
    }
}
