//! How a sync goes, recorded in the superblock.

use super::Secondary;
use crate::limits::RETRY_DELAY;
use crate::replicate::SyncEvent;
use mars_datapath_core::LogPos;
use mars_datapath_core::replay::{Replay, Strictness};
use mars_datapath_core::version::{LogEnd, ReplayValue};
use std::io;
use std::time::Instant;

impl Secondary {
    /// Takes what a sync says.
    pub(crate) fn handle_synced(&mut self, event: SyncEvent) {
        if self
            .sync
            .as_ref()
            .is_none_or(|task| event.task != task.id())
        {
            return;
        }
        if let Err(error) = self.take_sync(event) {
            tracing::error!(resource = %self.replica.context.shared.name, %error, "sync failed");
            self.sync = None;
            self.sync_after = Some(Instant::now() + RETRY_DELAY);
            self.replica
                .context
                .shared
                .message("inf-sync", Some(&error.to_string()));
        }
    }

    pub(super) fn take_sync(&mut self, event: SyncEvent) -> Result<(), io::Error> {
        use crate::replicate::Synced as S;
        match event.what {
            S::Begun { start, previous } => {
                self.drop_logs().map_err(|error| error.error)?;
                self.replica.record(|state| {
                    state.applied = start.clone();
                    state.previous_version.clone_from(&previous);
                    state.sync.synced = 0;
                    state.sync.started_at = start.pos();
                    state.sync.target = None;
                    state.flags.syncing = true;
                    state.flags.primary = false;
                })?;
                self.restart_at(start);
            }
            S::Progress { synced } => self.replica.record(|state| state.sync.synced = synced)?,
            S::Done { target } => {
                let total = self.replica.size;
                self.replica.record(|state| {
                    state.sync.synced = total;
                    state.sync.total = total;
                    state.sync.target = Some(ReplayValue {
                        applied: target.clone(),
                        dirty: 0,
                    });
                    state.flags.syncing = false;
                })?;
                self.sync = None;
                self.replica.context.shared.message("inf-sync", None);
                tracing::info!(resource = %self.replica.context.shared.name, target = %target, "sync complete");
            }
            S::Lost { reason } => {
                self.sync = None;
                self.sync_after = Some(Instant::now() + RETRY_DELAY);
                self.replica
                    .context
                    .shared
                    .message("inf-sync", Some(&reason));
            }
        }
        self.show();
        Ok(())
    }

    /// Forgets where fetch and replay stood and goes on at `start`.
    pub(super) fn restart_at(&mut self, start: LogEnd) {
        self.fetch = None;
        self.fetch_after = None;
        self.tail = None;
        self.current = None;
        self.stopped = None;
        self.next_sequence = None;
        self.durable = start.pos();
        self.replay = Replay::new(
            start.pos(),
            LogPos::new(u64::MAX, u64::MAX),
            Strictness::Epochs,
        );
        self.fetched = start;
        self.replica.context.shared.chain.set_durable(self.durable);
        self.replica
            .context
            .shared
            .update(|status| status.replay_code = 0);
        self.replica.context.shared.message("err-replay-stop", None);
        self.replica
            .context
            .shared
            .message("err-splitbrain-detected", None);
    }
}
