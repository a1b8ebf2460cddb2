//! The sign of life of a data plane: it is given over a connection, and taken back when that breaks, or falls silent.

use crate::Meta;
use crate::job::Change;
use crate::limits::SIGN_SILENT_TICKS;
use mars_lamport::Timestamp;
use mars_meta_model::{Key, Value, View as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

/// What a key `actual-HOST/datapath` holds when the data plane does not run, and `actual-HOST/datapath-silent` when it does
/// or is known to have ended.
const ENDED: &str = "0";

/// A sign of life that a client has given. Dropped with the connection: if the key still holds it, it is set to `0`.
pub(super) struct SignOfLife {
    sign: Arc<Sign>,
    armed: bool,
    watchdog: Option<AbortHandle>,
}

/// The sign, and what is heard of who gave it.
struct Sign {
    meta: Meta,
    key: Key,
    value: Value,
    /// `actual-HOST/datapath-silent`.
    silent_key: Option<Key>,
    beats: AtomicU64,
    is_silent: AtomicBool,
}

impl SignOfLife {
    /// The sign of life among these changes, if there is one.
    pub(super) fn among(meta: &Meta, changes: &[Change]) -> Option<Self> {
        let is_sign = |key: &Key| {
            let rest = key.as_str().strip_prefix("actual-");
            let leaf = rest.and_then(|rest| rest.split_once('/'));
            leaf.is_some_and(|(_, leaf)| leaf == "datapath")
        };
        let (key, value) = changes.iter().rev().find(|(key, _)| is_sign(key))?;
        let sign = Sign {
            meta: meta.clone(),
            silent_key: Key::parse(&format!("{key}-silent")).ok(),
            key: key.clone(),
            value: value.clone()?,
            beats: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
        };
        Some(Self {
            sign: Arc::new(sign),
            armed: true,
            watchdog: None,
        })
    }

    /// The client has said something later.
    pub(super) fn replaced(mut self) {
        self.armed = false;
    }

    /// The client has asked for the clock. From the first time on it is expected to do so all the time; what never does is an
    /// older data plane.
    pub(super) fn beat(&mut self, tick: Duration) {
        self.sign.beats.fetch_add(1, Ordering::Relaxed);
        if self.watchdog.is_none() && self.sign.value.as_bytes() != ENDED.as_bytes() {
            let work = watch(Arc::clone(&self.sign), tick);
            self.watchdog = Some(tokio::spawn(work).abort_handle());
        }
    }
}

/// Takes the sign back when nothing was heard for too long. Ticks are counted, not time: if this process stood still itself,
/// it has missed what it was told meanwhile.
async fn watch(sign: Arc<Sign>, tick: Duration) {
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = sign.beats.load(Ordering::Relaxed);
    let (mut missed, mut since) = (0, sign.meta.clock().0);
    loop {
        ticks.tick().await;
        let beats = sign.beats.load(Ordering::Relaxed);
        if beats != heard {
            (heard, missed, since) = (beats, 0, sign.meta.clock().0);
            continue;
        }
        missed += 1;
        if missed == SIGN_SILENT_TICKS && sign.stands() {
            let since = Timestamp::from_nanos(since);
            tracing::warn!(key = %sign.key, %since, "the data plane is silent: it hangs, or was stopped");
            sign.is_silent.store(true, Ordering::Relaxed);
            sign.end(&since.to_string()).await;
        }
    }
}

impl Sign {
    fn holds(&self, value: &[u8]) -> bool {
        self.meta.with_table(|table| {
            let held = table.entry(&self.key).and_then(|entry| entry.value());
            held.is_some_and(|held| held.as_bytes() == value)
        })
    }

    /// Whether it is what is known of the data plane.
    fn stands(&self) -> bool {
        self.holds(self.value.as_bytes())
    }

    /// Notes that the data plane does not run, or (`silent`) since when it is silent.
    async fn end(&self, silent: &str) {
        let pair = |key: &Key, text: &str| Some((key.clone(), Some(Value::text(text).ok()?)));
        let silent = self.silent_key.as_ref().and_then(|key| pair(key, silent));
        let changes = pair(&self.key, ENDED).into_iter().chain(silent).collect();
        if let Err(error) = self.meta.apply(changes, false).await {
            tracing::debug!(%error, "the end of the data plane could not be noted");
        }
    }
}

impl Drop for SignOfLife {
    fn drop(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.abort();
        }
        let Some(runtime) = tokio::runtime::Handle::try_current()
            .ok()
            .filter(|_| self.armed)
        else {
            return;
        };
        let sign = Arc::clone(&self.sign);
        runtime.spawn(async move {
            let ended = ENDED.as_bytes();
            let was_silent = sign.is_silent.load(Ordering::Relaxed) && sign.holds(ended);
            if !was_silent && (!sign.stands() || sign.value.as_bytes() == ended) {
                return;
            }
            tracing::warn!(key = %sign.key, "the data plane's connection broke: it is not known to run any more");
            sign.end(ENDED).await;
        });
    }
}
