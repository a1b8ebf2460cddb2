//! The writer: one thread that owns the core. All that is queued shares one commit.

use crate::config::WallClock;
use crate::core::Core;
use crate::hub::{Hub, Source};
use crate::job::{Done, Job, WriteError};
use crate::limits::{GROUP_CHANGES_MAX, GROUP_REQUESTS_MAX};
use mars_meta_model::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

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
        while closing.is_none() {
            let Some(request) = self.queue.blocking_recv() else {
                break;
            };
            closing = self.group(request);
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
                next = self.queue.try_recv().ok();
            }
        }
        self.commit(jobs, waiting);
        closing
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
        let count = jobs.len();
        let (hub, waiting_ref) = (&self.hub, &waiting);
        let outcome = self.core.commit_group((self.wall)(), jobs, |done| {
            for (done, waiting) in done.iter().zip(waiting_ref) {
                match done {
                    Done::Applied(committed) | Done::Epoch(Ok(committed)) => {
                        hub.publish(&committed.entries, waiting.source);
                    }
                    Done::Merged(merged) => hub.publish(&merged.applied, waiting.source),
                    Done::Forgotten(entries) => hub.forgotten(entries),
                    Done::Observed(_) | Done::Epoch(Err(_)) | Done::Local => {}
                }
            }
        });
        let last = self.core.last_stamp().as_nanos();
        self.last_stamp.store(last, Ordering::Release);
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
