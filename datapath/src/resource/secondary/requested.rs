//! What administrators give up by name: `fake-sync` and `set-replay`; and sizes that grow.

use super::super::driver::Intent;
use super::Secondary;
use mars_datapath_core::LogPos;
use mars_datapath_core::plan::Designated;
use mars_datapath_core::version::LogEnd;
use std::io;

impl Secondary {
    /// Does what the requests ask for, if they name the present state.
    pub(crate) fn handle_requests(&mut self, intent: &Intent) {
        let done = self
            .accept_unsynced(intent)
            .and_then(|()| self.jump(intent))
            .and_then(|()| self.grow_unsynced(intent));
        if let Err(error) = done {
            self.stop(
                -5,
                &format!("what was asked for cannot be recorded: {error}"),
            );
        }
    }

    /// The state of the sync as `accept-unsynced` names it.
    fn unsynced_state(&self) -> String {
        let state = &self.replica.state;
        format!("{},{}", state.sync.synced, state.applied)
    }

    /// `fake-sync`: the disk is taken for synced as it is.
    fn accept_unsynced(&mut self, intent: &Intent) -> io::Result<()> {
        let state = &self.replica.state;
        if !state.flags.syncing
            || intent.wish.sync
            || intent.requests.accept_unsynced.as_deref() != Some(&self.unsynced_state())
        {
            return Ok(());
        }
        self.sync = None;
        let begun = state.sync.started_at != LogPos::default();
        let previous = self.previous_of(&state.applied, intent);
        let at = state.applied.clone();
        tracing::warn!(resource = %self.replica.context.shared.name, "the disk is taken for synced, as was asked for");
        self.replica.record(|state| {
            state.sync.synced = state.sync.total;
            state.sync.target = None;
            state.sync.started_at = at.pos();
            state.flags.syncing = false;
            if !begun {
                state.previous_version = previous.unwrap_or_default();
            }
        })?;
        if !begun {
            self.restart_at(at);
        }
        self.replica.context.shared.message("inf-sync", None);
        self.show();
        Ok(())
    }

    /// `set-replay`: go on at another log, leaving out what lies between.
    fn jump(&mut self, intent: &Intent) -> io::Result<()> {
        let Some((from, to)) = &intent.requests.set_replay else {
            return Ok(());
        };
        let designated = matches!(intent.wish.designated, Some(Designated::Me));
        let state = &self.replica.state;
        if intent.wish.replay
            || designated
            || state.flags.syncing
            || state.applied == *to
            || *from != state.applied.to_string()
        {
            return Ok(());
        }
        let previous = self.previous_of(to, intent);
        tracing::warn!(resource = %self.replica.context.shared.name, from, to = %to, "replay goes on elsewhere, as was asked for");
        self.drop_logs().map_err(|error| error.error)?;
        self.replica.record(|state| {
            state.applied = to.clone();
            state.previous_version = previous.unwrap_or_default();
        })?;
        self.restart_at(to.clone());
        self.show();
        Ok(())
    }

    /// Version value of the log before `at`, as the source tells it.
    fn previous_of(&self, at: &LogEnd, intent: &Intent) -> Option<String> {
        let before = at.log.number.checked_sub(1)?;
        intent.requests.versions.get(&before).cloned()
    }

    /// An unfinished sync covers the new part, too; a finished one learns the new size from the log.
    fn grow_unsynced(&mut self, intent: &Intent) -> io::Result<()> {
        let Some(wanted) = intent.wish.size.filter(|size| *size > self.replica.size) else {
            return Ok(());
        };
        if !self.replica.state.flags.syncing || self.sync.is_some() {
            return Ok(());
        }
        let disk = &self.replica.disk;
        if disk.size() < wanted && disk.refresh_size() < wanted {
            let text = format!(
                "the disk has {} bytes, the resource has {wanted}: enlarge the disk",
                disk.size()
            );
            self.replica.context.shared.message("wrn-size", Some(&text));
            return Ok(());
        }
        self.replica.context.shared.message("wrn-size", None);
        self.replica.record_size(wanted)
    }
}
