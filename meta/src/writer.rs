//! The writer: one thread that owns the core. All that is queued shares one commit.

use crate::config::WallClock;
use crate::core::Core;
use crate::hub::{Hub, Source};
use crate::job::{Done, Job, WriteError};
use crate::limits::{GATHER_MAX_US, GROUP_CHANGES_MAX, GROUP_REQUESTS_MAX};
use mars_meta_model::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

/// A request of the queue.
#[derive(Debug)]
pub(crate) enum Request {
    Write {
        job: Job,
        source: Source,
        reply: oneshot::Sender<Result<Done, WriteError>>,
    },
    GetLocal {
        name: String,
        reply: oneshot::Sender<Result<Option<Vec<u8>>, WriteError>>,
    },
    /// Stop; answered when the store is released.
    Close { reply: oneshot::Sender<()> },
}

struct Waiting {
    source: Source,
    reply: oneshot::Sender<Result<Done, WriteError>>,
}

pub(crate) struct Writer<S> {
    pub(crate) core: Core<S>,
    pub(crate) queue: mpsc::Receiver<Request>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) wall: WallClock,
    /// Greatest stamp, for readers of the clock.
    pub(crate) last_stamp: Arc<AtomicU64>,
    pub(crate) pace: Pace,
    /// Why nothing is written any more.
    pub(crate) failed: watch::Sender<Option<Arc<str>>>,
}

/// How the last group went, by which the next one knows whom to wait for.
pub(crate) struct Pace {
    /// Requests of the last group.
    group: usize,
    /// Until when to wait for as many.
    until: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            group: 0,
            until: Instant::now(),
        }
    }

    /// A group of so many requests began to be committed at `begin` and is done now.
    fn note(&mut self, group: usize, begin: Instant) {
        let now = Instant::now();
        let limit = Duration::from_micros(GATHER_MAX_US);
        self.group = group;
        self.until = now + (now - begin).min(4 * limit) / 4;
    }
}

/// Tells the listeners that nothing more will come, also if the writer panics.
struct CloseHub(Arc<Hub>);

impl Drop for CloseHub {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<S: Store> Writer<S> {
    /// Works until it is closed or nobody can send any more.
    pub(crate) fn run(mut self) {
        let _close = CloseHub(Arc::clone(&self.hub));
        let mut closing = None;
        // What an earlier life left, or its end.
        let mut untidy = true;
        while closing.is_none() {
            let request = match self.queue.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Empty) if untidy => {
                    untidy = self.tidy();
                    self.tell_failure();
                    continue;
                }
                Err(_) => match self.queue.blocking_recv() {
                    Some(request) => request,
                    None => break,
                },
            };
            closing = self.group(request);
            untidy = self.tidy();
            self.tell_failure();
        }
        self.queue.close();
        if let Err(error) = self.core.settle() {
            tracing::warn!(%error, "the metadata store was closed without settling its clock");
        }
        let Self { core, queue, .. } = self;
        // What was queued behind the close is answered by its dropped reply.
        drop(queue);
        drop(core.into_store());
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    /// Tells once that the store has failed, after those whose writes were refused.
    fn tell_failure(&self) {
        let reason = self.core.poisoned();
        if let Some(reason) = reason.filter(|_| self.failed.borrow().is_none()) {
            self.failed.send_replace(Some(reason.into()));
        }
    }

    /// A step of the backend's own work; whether there is more of it.
    fn tidy(&mut self) -> bool {
        match self.core.tidy() {
            Ok(more) => more,
            Err(WriteError::Store(error)) => {
                tracing::error!(%error, "metadata writes stop");
                false
            }
            Err(_) => false,
        }
    }

    /// Commits `first` and all that is queued behind it, up to the bounds of a group.
    fn group(&mut self, first: Request) -> Option<oneshot::Sender<()>> {
        let (mut jobs, mut waiting, mut changes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        let mut closing = None;
        while let Some(request) = next.take() {
            match request {
                Request::Write { job, source, reply } => {
                    changes += job.len();
                    jobs.push(job);
                    waiting.push(Waiting { source, reply });
                }
                Request::GetLocal { name, reply } => {
                    // It sees what was queued before it.
                    self.commit(std::mem::take(&mut jobs), std::mem::take(&mut waiting));
                    let _ = reply.send(self.get_local(&name));
                }
                Request::Close { reply } => {
                    closing = Some(reply);
                    break;
                }
            }
            if jobs.len() < GROUP_REQUESTS_MAX && changes < GROUP_CHANGES_MAX {
                next = self.next(jobs.len());
            }
        }
        self.commit(jobs, waiting);
        closing
    }

    /// The next request of a group that has `collected` so far, if it is there, or about to come.
    ///
    /// Writers that wait for their answers before they write again all come back when a group is done, one behind
    /// the other. Whoever commits the first of them at once makes all others wait for a whole commit more. So a
    /// group waits until it is as large as the one before, for a fraction of what that one took.
    fn next(&mut self, collected: usize) -> Option<Request> {
        loop {
            match self.queue.try_recv() {
                Ok(request) => return Some(request),
                Err(_) if collected >= self.pace.group || Instant::now() >= self.pace.until => {
                    return None;
                }
                // Those who were just answered need the processor to come back.
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn get_local(&mut self, name: &str) -> Result<Option<Vec<u8>>, WriteError> {
        self.core
            .local(name)
            .map_err(|error| WriteError::Store(error.to_string().into()))
    }

    fn commit(&mut self, jobs: Vec<Job>, waiting: Vec<Waiting>) {
        if jobs.is_empty() {
            return;
        }
        let (count, begin) = (jobs.len(), Instant::now());
        let (hub, waiting_ref) = (&self.hub, &waiting);
        let outcome = self.core.commit_group((self.wall)(), jobs, |done| {
            for (done, waiting) in done.iter().zip(waiting_ref) {
                match done {
                    Done::Applied(committed) | Done::Epoch(Ok(committed)) => {
                        hub.publish(&committed.entries, waiting.source);
                    }
                    Done::Merged(merged) => hub.publish(&merged.applied, waiting.source),
                    Done::Collected(collected) => {
                        hub.forgotten(&collected.removed);
                        hub.publish(&collected.written, Source::Local);
                    }
                    Done::Forgotten(entries) => hub.forgotten(entries),
                    Done::Observed(_) | Done::Epoch(Err(_)) | Done::Local => {}
                }
            }
        });
        let last = self.core.last_stamp().as_nanos();
        self.last_stamp.store(last, Ordering::Release);
        self.pace.note(count, begin);
        match outcome {
            Ok(done) => {
                tracing::trace!(requests = count, "committed");
                for (done, waiting) in done.into_iter().zip(waiting) {
                    // Who no longer waits has its write all the same.
                    let _ = waiting.reply.send(Ok(done));
                }
            }
            Err(error) => {
                if matches!(error, WriteError::Store(_)) {
                    tracing::error!(%error, "metadata writes stop");
                }
                for waiting in waiting {
                    let _ = waiting.reply.send(Err(error.clone()));
                }
            }
        }
    }
}
