//! Log segments of a primary: the first one, rotation, and the hole that a full log leaves.

use super::super::driver::Context;
use super::super::replica::Replica;
use super::super::workers::AppendJob;
use super::{BeginError, EMERGENCY, Primary};
use crate::limits::{EMERGENCY_HOLE, EMERGENCY_HYSTERESIS, RESUME_FREE_BYTES};
use crate::segments::ChainLink;
use bytes::Bytes;
use mars_datapath_core::LogPos;
use mars_datapath_core::format::{Predecessor, SegmentHeader, Successor};
use mars_datapath_core::limits::MIN_ALIGNMENT;
use mars_datapath_core::logger::{Logger, OpenSegment};
use mars_datapath_core::version::{LogEnd, LogName, VersionValue, chain_value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

impl Primary {
    /// The segment ended: goes on in the next one, unless the role is being left.
    pub(super) fn segment_closed(&mut self, end: LogPos) {
        let Some((place, previous)) = self.place(end) else {
            return;
        };
        let shared = Arc::clone(&self.replica.context.shared);
        shared.chain.set_durable(end);
        shared.chain.finish(&place);
        self.closed_at = Some(end);
        if self.leaving {
            return;
        }
        if self.is_below_limit(0) {
            tracing::error!(resource = %shared.name, percent = self.asked.emergency_limit, "less than the emergency limit is free: writes go past the log");
            self.logger.handle_log_full();
            return;
        }
        match self.rotate(&place, &previous) {
            Ok(()) => self.closed_at = None,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::error!(resource = %shared.name, "no room for the next log segment: writes go past the log");
                self.logger.handle_log_full();
            }
            Err(error) => self.fail("cannot begin the next log segment", &error),
        }
    }

    pub(super) fn rotate(&mut self, place: &LogEnd, previous: &str) -> io::Result<()> {
        let version = chain_value(place, previous);
        let made = make_segment(
            &self.replica.context,
            Some((place, &version)),
            place.log.number + 1,
            self.logger.next_sequence(),
        )?;
        self.workers.append(made.append).map_err(io::Error::other)?;
        self.file = Some(made.file);
        self.current = LogEnd {
            log: made.name.clone(),
            position: 0,
        };
        self.previous.insert(made.name.number, (made.name, version));
        self.logger
            .handle_segment_open(made.open)
            .map_err(io::Error::other)?;
        tracing::info!(resource = %self.replica.context.shared.name, log = %self.current.log, "began the next log segment");
        Ok(())
    }

    pub(super) fn enter_emergency(&mut self, end: LogPos) {
        let place = self.place(end);
        let recorded = self.replica.record(|state| {
            if let Some((end, previous)) = place {
                state.applied = end;
                state.previous_version = previous;
            }
            state.flags.emergency = true;
        });
        match recorded {
            Ok(()) => {
                self.logger.handle_emergency_recorded();
                // The reason first: who reads the flag finds since when it is so.
                let shared = &self.replica.context.shared;
                shared.message("err-emergency", Some(&self.why_past_the_log()));
                shared.update(|status| status.emergency = true);
            }
            Err(error) => self.fail("cannot write the superblock", &error),
        }
    }

    fn why_past_the_log(&self) -> String {
        if self.is_below_limit(0) {
            format!(
                "less than {} percent (set-emergency-limit) of the log's filesystem are free: writes go past the log, \
                 secondaries get outdated; free space, then run 'marsadm invalidate' on each secondary",
                self.asked.emergency_limit
            )
        } else {
            EMERGENCY.to_owned()
        }
    }

    /// Whether less than the emergency limit (and `more` percent) of the log's filesystem is free.
    pub(super) fn is_below_limit(&self, more: u64) -> bool {
        let limit = self.asked.emergency_limit;
        let dir = self.replica.context.shared.dir.path();
        // What the system does not tell is no emergency.
        limit > 0
            && mars_datapath_io::free_space(dir)
                .is_ok_and(|space| is_below(space.available, space.total, limit + more))
    }

    /// Begins to log again behind a hole, once there is space and a moment without requests.
    pub(super) fn resume_from_emergency(&mut self) {
        let passing = self.replica.state.flags.emergency && self.logger.is_emergency();
        if !passing || !self.logger.is_drained() || self.leaving {
            return;
        }
        let context = self.replica.context.clone();
        let free =
            mars_datapath_io::free_space(context.shared.dir.path()).map_or(0, |s| s.available);
        if free < RESUME_FREE_BYTES || self.is_below_limit(EMERGENCY_HYSTERESIS) {
            return;
        }
        let next_sequence = self.logger.next_sequence();
        let number = self.current.log.number + EMERGENCY_HOLE + 1;
        let resumed = make_segment(&context, None, number, next_sequence).and_then(|made| {
            self.replica.disk.flush()?;
            self.replica.record(|state| {
                state.applied = LogEnd {
                    log: made.name.clone(),
                    position: 0,
                };
                state.previous_version = String::new();
                state.flags.emergency = false;
                state.flags.primary = true;
            })?;
            self.workers.append(made.append).map_err(io::Error::other)?;
            self.file = Some(made.file);
            self.current = LogEnd {
                log: made.name.clone(),
                position: 0,
            };
            self.previous = BTreeMap::from([(number, (made.name, String::new()))]);
            self.logger = Logger::new(self.replica.size, made.open, next_sequence);
            self.logger
                .set_successor(Successor::Host(context.host.clone()));
            // The place was that of the log which ended full.
            self.closed_at = None;
            Ok(())
        });
        match resumed {
            Ok(()) => {
                tracing::warn!(resource = %context.shared.name, log = %self.current.log, "logging again, behind a hole");
                context.shared.update(|status| status.emergency = false);
                context.shared.message("err-emergency", None);
                self.show();
            }
            Err(error) => {
                tracing::warn!(resource = %context.shared.name, %error, "cannot begin to log again yet");
            }
        }
    }
}

/// A fresh segment, durable, ready for appending.
pub(super) struct MadeSegment {
    pub(super) name: LogName,
    pub(super) file: Arc<File>,
    pub(super) open: OpenSegment,
    pub(super) append: AppendJob,
}

/// Makes segment `number` behind `before` (its end and complete version value), or at the root of a history.
fn make_segment(
    context: &Context,
    before: Option<(&LogEnd, &str)>,
    number: u64,
    base_sequence: u64,
) -> io::Result<MadeSegment> {
    let predecessor = match before {
        None => None,
        Some((end, version)) => {
            let value: VersionValue = version.parse().map_err(io::Error::other)?;
            Some(Predecessor {
                end: end.pos(),
                origin: end.log.origin.clone(),
                digest: value.digest,
            })
        }
    };
    let header = SegmentHeader {
        resource: context.shared.name.clone(),
        origin: context.host.clone(),
        number,
        generation: random_u64(),
        created: crate::clock::wall(),
        base_sequence,
        alignment: MIN_ALIGNMENT,
        predecessor,
    };
    let bytes = Bytes::from(header.encode().map_err(io::Error::other)?.into_vec());
    let name = LogName {
        number,
        origin: context.host.clone(),
    };
    let file = context
        .shared
        .dir
        .create(&name, &bytes)
        .map_err(|error| error.error)?;
    let append = AppendJob::Open {
        file: file.try_clone()?,
        without_io_uring: context.without_io_uring,
    };
    context.shared.chain.put(ChainLink {
        name: name.clone(),
        header: bytes,
        predecessor: header.predecessor.as_ref().map(|p| p.end),
        first: 0,
        end: None,
    });
    context.shared.chain.set_durable(LogPos::new(number, 0));
    let open = OpenSegment {
        number,
        generation: header.generation,
        alignment: header.alignment,
    };
    Ok(MadeSegment {
        name,
        file: Arc::new(file),
        open,
        append,
    })
}

/// Whether `available` is less than `percent` of `total`.
fn is_below(available: u64, total: u64, percent: u64) -> bool {
    u128::from(available) * 100 < u128::from(total) * u128::from(percent)
}

fn random_u64() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}

pub(super) struct Begun {
    pub(super) replica: Replica,
    pub(super) current: LogEnd,
    /// The open segment; `None` if there was no room for one.
    pub(super) log: Option<(Arc<File>, OpenSegment, AppendJob)>,
}

/// Begins the first segment of a new life as primary, behind what was replayed, and records the role.
pub(super) fn begin_segment(
    mut replica: Replica,
    has_log: bool,
    emergency: bool,
    next_sequence: u64,
) -> Result<Begun, BeginError> {
    let context = replica.context.clone();
    let applied = replica.state.applied.clone();
    let io_error = |what| move |error| BeginError::Io { what, error };
    // The very first segment has the number that create-resource handed out.
    let first_of_all = !has_log && applied.position == 0 && applied.log.origin == context.host;
    let version = chain_value(&applied, &replica.state.previous_version);
    let (number, before, previous) = if emergency {
        (applied.log.number + EMERGENCY_HOLE + 1, None, String::new())
    } else if first_of_all {
        (applied.log.number, None, String::new())
    } else {
        context.shared.chain.finish(&applied);
        (
            applied.log.number + 1,
            Some((&applied, version.as_str())),
            version.clone(),
        )
    };
    let made = match make_segment(&context, before, number, next_sequence) {
        Ok(made) => made,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            tracing::error!(resource = %context.shared.name, "no room for a log segment: writes go past the log");
            replica
                .record(|state| {
                    state.flags.primary = true;
                    state.flags.clean = false;
                    state.flags.emergency = true;
                })
                .map_err(io_error("cannot write the superblock"))?;
            return Ok(Begun {
                replica,
                current: applied,
                log: None,
            });
        }
        Err(error) => return Err(BeginError::Segment(number, error.to_string())),
    };
    let current = LogEnd {
        log: made.name.clone(),
        position: 0,
    };
    let recorded = current.clone();
    replica
        .record(|state| {
            state.applied = recorded;
            state.previous_version = previous;
            state.flags.primary = true;
            state.flags.clean = false;
            state.flags.emergency = false;
        })
        .map_err(io_error("cannot write the superblock"))?;
    let log = Some((made.file, made.open, made.append));
    Ok(Begun {
        replica,
        current,
        log,
    })
}
