//! Waiting for keys: a watch, a table of what it reported, and a condition.

use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::limits::{WAIT_SILENT, WAIT_TOLD_EVERY};
use crate::plane::{plane, sign};
use crate::ui::Ui;
use mars_meta_api::WatchEvent;
use mars_meta_model::Table;
use tokio::time::Instant;

/// What a condition says of the present state.
#[derive(Debug)]
pub enum Step<T> {
    /// It holds.
    Ready(T),
    /// Not yet; the text completes "waiting: ".
    Waiting(String),
    /// It will not come about.
    Failed(Error),
}

/// Says what a command waits for where no terminal shows it: once, if the wait is no short one, and now and then, if it
/// waits for something else by then.
#[derive(Debug)]
pub struct Teller<'c> {
    ui: &'c Ui,
    /// When something is to be said; `None`: not before something changes.
    due: Option<Instant>,
    /// Not before then.
    rest: Instant,
}

impl<'c> Teller<'c> {
    /// For a wait that begins now.
    #[must_use]
    pub fn new(ui: &'c Ui) -> Self {
        let rest = Instant::now() + WAIT_SILENT;
        Self {
            ui,
            due: ui.is_quiet().then_some(rest),
            rest,
        }
    }

    /// When [`Teller::tell`] is to be called.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Something else is waited for from now on.
    pub fn changed(&mut self) {
        if self.ui.is_quiet() {
            self.due = Some(self.rest);
        }
    }

    /// Says it.
    pub fn tell(&mut self, what: &str, deadline: Instant) {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now).as_secs();
        self.ui
            .aside(&format!("waiting {what}, at most {left} s more"));
        self.rest = now + WAIT_TOLD_EVERY;
        self.due = None;
    }
}

impl Ctx {
    /// Waits until `condition` holds for the keys under `prefixes`; it is asked at first when the snapshot is
    /// complete, then after every change. With `--dry-run` it is asked once.
    ///
    /// # Errors
    /// The condition's own failure; [`Kind::Timeout`] with what was waited for last; a lost connection.
    pub async fn wait_for<T>(
        &self,
        prefixes: &[&str],
        mut condition: impl FnMut(&Table) -> Step<T>,
    ) -> Result<T> {
        let mut watch = self.client().await?.watch(prefixes).await?;
        let mut table = Table::new();
        let mut synced = false;
        let mut last = String::from("for the state of the cluster");
        let mut waited = false;
        let mut teller = Teller::new(&self.ui);
        let result = loop {
            let until = teller
                .due()
                .map_or(self.deadline, |at| at.min(self.deadline));
            let Ok(event) = tokio::time::timeout_at(until, watch.next()).await else {
                if until < self.deadline {
                    teller.tell(&last, self.deadline);
                    continue;
                }
                break Err(self.timed_out(&last));
            };
            match event? {
                WatchEvent::Entries(entries) => {
                    for entry in entries {
                        table.merge(entry);
                    }
                }
                WatchEvent::Synced => synced = true,
                WatchEvent::Lagged => {
                    table = Table::new();
                    synced = false;
                }
            }
            if !synced {
                continue;
            }
            match condition(&table) {
                Step::Ready(result) => break Ok(result),
                Step::Failed(error) => break Err(error),
                Step::Waiting(what) => {
                    if what != last {
                        self.ui.progress(&format!("waiting: {what}"));
                        teller.changed();
                        last = what;
                        waited = true;
                    }
                }
            }
        };
        if waited {
            self.ui.waited(&last);
        }
        result
    }

    /// [`Ctx::wait_for`] what data planes tell: as long as one of `hosts` does not run, or gives no sign of life, what it told
    /// last is the past, and the condition is taken for not met.
    ///
    /// # Errors
    /// As [`Ctx::wait_for`].
    pub async fn wait_told<T>(
        &self,
        hosts: &[&str],
        prefixes: &[&str],
        mut condition: impl FnMut(&Table) -> Step<T>,
    ) -> Result<T> {
        let signs: Vec<String> = hosts.iter().map(|host| sign(host)).collect();
        let all = prefixes
            .iter()
            .copied()
            .chain(signs.iter().map(String::as_str));
        let all: Vec<&str> = all.collect();
        self.wait_for(&all, |table| {
            let past = hosts
                .iter()
                .find_map(|host| Some((*host, plane(table, host).why_past(host)?)));
            match (condition(table), past) {
                (Step::Ready(_), Some((host, why))) => Step::Waiting(format!(
                    "for the data plane of {host}: {why}, and what it told last does not count"
                )),
                (Step::Waiting(what), Some((_, why))) => Step::Waiting(format!("{what} ({why})")),
                (step, _) => step,
            }
        })
        .await
    }

    /// The error of a wait that took too long.
    #[must_use]
    pub fn timed_out(&self, what: &str) -> Error {
        Error::new(
            Kind::Timeout,
            format!(
                "timeout of {} s reached while waiting {what}",
                self.opts.timeout.as_secs()
            ),
        )
        .hint("see marsadm status; what was written stays in force and may still take effect")
    }
}
