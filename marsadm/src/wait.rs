//! Waiting for keys: a watch, a table of what it reported, and a condition.

use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use mars_meta_api::WatchEvent;
use mars_meta_model::Table;

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
        let result = loop {
            let Ok(event) = tokio::time::timeout_at(self.deadline, watch.next()).await else {
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
