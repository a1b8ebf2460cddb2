//! io_uring backend: one ring per file, no thread.
#![expect(
    unsafe_code,
    reason = "the kernel reads buffers through raw pointers after submission"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use bytes::Bytes;
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};

use super::progress::Progress;
use super::{AppendError, AppendFile, Backend, Completion};
use crate::limits::{MAX_IN_FLIGHT, RING_ENTRIES};

/// Whether this machine lets us use io_uring as we need it.
///
/// # Errors
/// The reason in one line, for the log: kernel too old, forbidden by policy, or no memory for rings.
pub fn available() -> Result<(), String> {
    let ring = IoUring::new(8).map_err(|error| format!("io_uring cannot be set up: {error}"))?;
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
        return Err("io_uring of this kernel is too old: waiting with a timeout is missing".into());
    }
    let mut probe = Probe::new();
    let probed = ring.submitter().register_probe(&mut probe);
    probed.map_err(|error| format!("io_uring cannot be probed: {error}"))?;
    for (code, name) in [
        (opcode::Writev::CODE, "WRITEV"),
        (opcode::Fsync::CODE, "FSYNC"),
    ] {
        if !probe.is_supported(code) {
            return Err(format!("io_uring of this kernel lacks {name}"));
        }
    }
    Ok(())
}

/// The vector of one submitted write; its pointers lead into the buffers of the same operation.
#[derive(Debug, Default)]
struct IoVecs(Vec<libc::iovec>);

// SAFETY: the pointers are only read by the kernel, and lead to memory that the operation's reference-counted
// buffers keep alive and unmoved whatever thread owns the operation.
unsafe impl Send for IoVecs {}

#[derive(Debug)]
enum Op {
    Write {
        token: u64,
        progress: Progress,
        vecs: IoVecs,
    },
    Sync {
        token: u64,
    },
}

/// Writer on a ring of its own.
///
/// Every operation lives in `ops`, under its number, from submission until its completion was seen:
/// buffers and vectors stay where they are. Drop waits for that, or leaks.
pub(super) struct RingFile {
    ring: IoUring,
    file: File,
    ops: BTreeMap<u64, Op>,
    next: u64,
    poisoned: bool,
    ready: Vec<Completion>,
}

impl std::fmt::Debug for RingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingFile")
            .field("file", &self.file)
            .field("ops", &self.ops)
            .finish_non_exhaustive()
    }
}

impl RingFile {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let ring = IoUring::new(RING_ENTRIES)?;
        Ok(Self {
            ring,
            file,
            ops: BTreeMap::new(),
            next: 0,
            poisoned: false,
            ready: Vec::new(),
        })
    }

    fn admit(&self) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if self.in_flight() >= MAX_IN_FLIGHT {
            return Err(AppendError::Busy);
        }
        Ok(())
    }

    /// Stores `op` and submits it, or its rest.
    fn start(&mut self, mut op: Op) {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let fd = Fd(self.file.as_raw_fd());
        let entry = match &mut op {
            Op::Write { progress, vecs, .. } => {
                vecs.0 = progress
                    .buffers()
                    .map(|part| libc::iovec {
                        iov_base: part.as_ptr().cast_mut().cast(),
                        iov_len: part.len(),
                    })
                    .collect();
                let count = u32::try_from(vecs.0.len()).unwrap_or(u32::MAX);
                opcode::Writev::new(fd, vecs.0.as_ptr(), count)
                    .offset(progress.offset)
                    .build()
            }
            Op::Sync { .. } => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
        };
        self.ops.insert(id, op);
        if let Err(error) = self.push(&entry.user_data(id)) {
            // Not submitted: the kernel does not know the operation.
            self.finish(id, Err(error));
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: the entry's descriptor is open as long as `self`, and its vector and buffers belong to the
        // operation in `ops`, which stays there unmoved until its completion was seen (see `Drop`).
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))
    }

    /// Handles the result of operation `id`; resubmits what is not complete.
    fn finish(&mut self, id: u64, result: io::Result<usize>) {
        let Some(op) = self.ops.remove(&id) else {
            return;
        };
        let again = |error: &io::Error| {
            error.kind() == io::ErrorKind::Interrupted || error.raw_os_error() == Some(libc::EAGAIN)
        };
        let (token, result) = match (op, result) {
            (op, Err(error)) if again(&error) && error.raw_os_error().is_some() => {
                return self.start(op);
            }
            (
                Op::Write {
                    token,
                    mut progress,
                    vecs,
                },
                Ok(written),
            ) => match progress.advance(written) {
                Ok(()) if progress.is_done() => (token, Ok(())),
                Ok(()) => {
                    return self.start(Op::Write {
                        token,
                        progress,
                        vecs,
                    });
                }
                Err(error) => (token, Err(AppendError::of(error))),
            },
            (Op::Sync { token }, Ok(_)) => (token, Ok(())),
            (Op::Write { token, .. } | Op::Sync { token }, Err(error)) => {
                (token, Err(AppendError::of(error)))
            }
        };
        let result = if self.poisoned {
            Err(AppendError::Poisoned)
        } else {
            result
        };
        self.poisoned |= matches!(result, Err(AppendError::Failed(_)));
        self.ready.push(Completion { token, result });
    }

    /// Handles all completions that are there.
    fn reap(&mut self) {
        let done: Vec<_> = self
            .ring
            .completion()
            .map(|entry| (entry.user_data(), entry.result()))
            .collect();
        for (id, code) in done {
            let result = usize::try_from(code)
                .map_err(|_| io::Error::from_raw_os_error(code.saturating_neg()));
            self.finish(id, result);
        }
    }

    fn submit_now(&mut self) {
        // Entries that cannot be submitted now stay in the ring and go out with the next call.
        drop(self.ring.submit());
    }
}

impl AppendFile for RingFile {
    fn submit_write(
        &mut self,
        token: u64,
        offset: u64,
        parts: Vec<Bytes>,
    ) -> Result<(), AppendError> {
        self.admit()?;
        let progress = Progress::new(offset, parts);
        if progress.is_done() {
            self.ready.push(Completion {
                token,
                result: Ok(()),
            });
            return Ok(());
        }
        self.start(Op::Write {
            token,
            progress,
            vecs: IoVecs::default(),
        });
        self.submit_now();
        Ok(())
    }

    fn submit_sync(&mut self, token: u64) -> Result<(), AppendError> {
        self.admit()?;
        self.start(Op::Sync { token });
        self.submit_now();
        Ok(())
    }

    fn poll_completions(&mut self, timeout: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        self.reap();
        if self.ready.is_empty() && !self.ops.is_empty() && !timeout.is_zero() {
            let wait = Timespec::from(timeout);
            let args = SubmitArgs::new().timespec(&wait);
            match self.ring.submitter().submit_with_args(1, &args) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
            self.reap();
        }
        self.submit_now();
        out.append(&mut self.ready);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.ops.len() + self.ready.len()
    }

    fn ready_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring's descriptor is open as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    fn backend(&self) -> Backend {
        Backend::Ring
    }
}

impl Drop for RingFile {
    fn drop(&mut self) {
        while !self.ops.is_empty() {
            let waited = self.ring.submit_and_wait(1);
            if waited.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                // The kernel may still read the buffers: better leaked than freed.
                std::mem::forget(std::mem::take(&mut self.ops));
                return;
            }
            self.reap();
        }
    }
}
