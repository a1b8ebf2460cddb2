//! The logger in a simulated machine: completions in any order, crashes of the process and of the power.

use std::collections::BTreeMap;

use mars_datapath_core::LogPos;
use mars_datapath_core::format::{EncodedBatch, RecordBody, SegmentHeader};
use mars_datapath_core::logger::{
    Discarding, Effect, Logger, OpenSegment, RequestId, WriteBackToken,
};
use mars_datapath_core::overlay::{Content, Source};
use mars_datapath_core::scan::{ScanEnd, Scanner};
use mars_lamport::Timestamp;

use crate::support::{Rng, header};

const SIZE: usize = 40;
const NOW: Timestamp = Timestamp::ZERO;

/// Ways in which the world may break its promises, to prove that the checks can fail.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    LogSync,
    DiskFlush,
}

struct Write {
    id: RequestId,
    range: std::ops::Range<usize>,
    value: u8,
    completed: bool,
    /// Must survive a power cut.
    promised: bool,
}

#[derive(Default)]
struct Segment {
    generation: u64,
    base_sequence: u64,
    bytes: Vec<u8>,
    /// Bytes below are on stable storage.
    stable: usize,
    /// End of the segment before, as the header tells.
    follows: Option<LogPos>,
}

struct World {
    rng: Rng,
    lie: Lie,
    logger: Logger,
    segments: BTreeMap<u64, Segment>,
    writes: Vec<Write>,
    /// Flushes under way: how many of the completed writes they promise.
    flushes: BTreeMap<RequestId, Vec<usize>>,
    appends: Vec<(LogPos, LogPos, EncodedBatch)>,
    sync: Option<LogPos>,
    write_backs: Vec<(WriteBackToken, u64, Content)>,
    passes: Vec<(RequestId, u64, Content)>,
    /// What the disk has on stable storage, and what is in its cache in order.
    disk: Vec<u8>,
    cache: Vec<(u64, Content)>,
    disk_flush: Option<usize>,
    published: LogPos,
    emergency: Option<LogPos>,
    next_id: u64,
    completed: Vec<RequestId>,
    failed: Vec<RequestId>,
}

fn apply(disk: &mut [u8], offset: u64, content: &Content) {
    let at = usize::try_from(offset).unwrap();
    let len = usize::try_from(content.len()).unwrap();
    match content {
        Content::Data(data) => disk[at..at + len].copy_from_slice(data),
        Content::Zeroes(_) | Content::Discard(_) => disk[at..at + len].fill(0),
    }
}

impl World {
    fn new(seed: u64, lie: Lie) -> Self {
        let first = Segment {
            generation: 77,
            base_sequence: 500,
            ..Segment::default()
        };
        let open = OpenSegment {
            number: 1,
            generation: 77,
            alignment: 64,
        };
        Self {
            rng: Rng(seed),
            lie,
            logger: Logger::new(SIZE as u64, open, 500),
            segments: BTreeMap::from([(1, first)]),
            writes: Vec::new(),
            flushes: BTreeMap::new(),
            appends: Vec::new(),
            sync: None,
            write_backs: Vec::new(),
            passes: Vec::new(),
            disk: vec![0; SIZE],
            cache: Vec::new(),
            disk_flush: None,
            published: LogPos::new(1, 0),
            emergency: None,
            next_id: 0,
            completed: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn id(&mut self) -> RequestId {
        self.next_id += 1;
        RequestId(self.next_id)
    }

    fn submit(&mut self) {
        let id = self.id();
        if self.rng.chance(20) {
            let done = self.writes.iter().enumerate().filter(|(_, w)| w.completed);
            let done = done.map(|(index, _)| index).collect();
            self.flushes.insert(id, done);
            self.logger.handle_flush(id).unwrap();
            return;
        }
        let at = self.rng.below(SIZE - 1);
        let len = 1 + self.rng.below((SIZE - at).min(12));
        let fua = self.rng.chance(15);
        let mut value = u8::try_from(self.writes.len() + 1).unwrap();
        if self.rng.chance(15) {
            value = 0;
            let how = if self.rng.chance(50) {
                Discarding::Zeroes
            } else {
                Discarding::Discard
            };
            self.logger
                .handle_discard(id, at as u64, len as u64, how, fua)
                .unwrap();
        } else {
            self.logger
                .handle_write(id, at as u64, vec![value; len].into(), fua)
                .unwrap();
        }
        if fua {
            self.flushes.insert(id, Vec::new());
        }
        self.writes.push(Write {
            id,
            range: at..at + len,
            value,
            completed: false,
            promised: false,
        });
    }

    fn effects(&mut self) {
        while let Some(effect) = self.logger.poll(NOW) {
            match effect {
                Effect::Append { start, end, batch } => {
                    assert_eq!(self.emergency, None, "append in emergency mode");
                    self.appends.push((start, end, batch));
                }
                Effect::Sync { upto } => {
                    assert_eq!(self.sync.replace(upto), None, "two syncs at once");
                    assert!(upto <= self.logger.appended());
                }
                Effect::Complete { id } => self.complete(id),
                Effect::Fail { id, .. } => self.failed.push(id),
                Effect::WriteBack {
                    token,
                    offset,
                    content,
                } => {
                    self.check_logged(offset, &content);
                    let overlap = self.write_backs.iter().any(|(_, at, other)| {
                        *at < offset + content.len() && offset < at + other.len()
                    });
                    assert!(!overlap, "overlapping write-backs under way");
                    self.write_backs.push((token, offset, content));
                }
                Effect::FlushDisk => {
                    assert_eq!(
                        self.disk_flush.replace(self.cache.len()),
                        None,
                        "two flushes"
                    );
                }
                Effect::Publish { written_back } => {
                    assert!(written_back > self.published && written_back <= self.logger.durable());
                    self.published = written_back;
                }
                Effect::Closed { end } => self.next_segment(end),
                Effect::EnterEmergency { end } => {
                    assert_eq!((end, self.published), (self.logger.appended(), end));
                    self.emergency = Some(end);
                    self.logger.handle_emergency_recorded();
                }
                Effect::PassThrough {
                    id,
                    offset,
                    content,
                } => {
                    assert!(
                        self.emergency.is_some(),
                        "written past the log in normal mode"
                    );
                    self.passes.push((id, offset, content));
                }
            }
        }
    }

    fn complete(&mut self, id: RequestId) {
        assert!(
            self.logger.failure().is_none(),
            "acknowledged after a failure"
        );
        assert!(!self.completed.contains(&id), "completed twice");
        self.completed.push(id);
        let own = self.writes.iter().position(|w| w.id == id);
        if let Some(own) = own {
            self.writes[own].completed = true;
        }
        // A flush, or a write with FUA, which promises itself.
        if let Some(covered) = self.flushes.remove(&id) {
            for index in covered.into_iter().chain(own) {
                self.writes[index].promised = true;
            }
        }
    }

    /// Every byte that is written back must be in the stable part of the log.
    fn check_logged(&self, offset: u64, content: &Content) {
        if self.lie == Lie::LogSync {
            return;
        }
        let mut state = vec![None; SIZE];
        for (number, segment) in &self.segments {
            for batch in batches(*number, segment, 0, &segment.bytes[..segment.stable]).0 {
                for record in batch.records {
                    let at = usize::try_from(record.offset).unwrap();
                    let len = usize::try_from(record.length()).unwrap();
                    for (index, slot) in state[at..at + len].iter_mut().enumerate() {
                        let byte = match &record.body {
                            RecordBody::Write(data) => data[index],
                            _ => 0,
                        };
                        slot.get_or_insert_with(Vec::new).push(byte);
                    }
                }
            }
        }
        let mut image = vec![0; SIZE];
        apply(&mut image, offset, content);
        for at in usize::try_from(offset).unwrap()..usize::try_from(offset + content.len()).unwrap()
        {
            let logged = state[at]
                .as_ref()
                .is_some_and(|values| values.contains(&image[at]));
            assert!(logged, "byte {at} is written back before the log holds it");
        }
    }

    fn next_segment(&mut self, end: LogPos) {
        let segment = &self.segments[&end.segment];
        assert!(self.lie != Lie::None || segment.stable as u64 == end.position);
        let number = end.segment + 1 + self.rng.next() % 3;
        let generation = self.rng.next();
        let base_sequence = self.logger.next_sequence();
        let segment = Segment {
            generation,
            base_sequence,
            follows: Some(end),
            ..Segment::default()
        };
        self.segments.insert(number, segment);
        let open = OpenSegment {
            number,
            generation,
            alignment: 64,
        };
        self.logger.handle_segment_open(open).unwrap();
    }

    fn store(&mut self, start: LogPos, bytes: &[u8]) {
        let file = &mut self.segments.get_mut(&start.segment).unwrap().bytes;
        let at = usize::try_from(start.position).unwrap();
        if file.len() < at + bytes.len() {
            file.resize(at + bytes.len(), 0);
        }
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Something that is under way gets done.
    fn progress(&mut self) {
        match self.rng.below(5) {
            0 if !self.appends.is_empty() => {
                let index = self.rng.below(self.appends.len());
                let (start, end, batch) = self.appends.swap_remove(index);
                self.store(start, &batch.to_vec());
                self.logger.handle_appended(end);
            }
            1 => {
                if let Some(upto) = self.sync.take() {
                    if self.lie != Lie::LogSync {
                        for (number, segment) in self.segments.range_mut(..=upto.segment) {
                            let all = segment.bytes.len();
                            let end = usize::try_from(upto.position).unwrap();
                            segment.stable =
                                segment
                                    .stable
                                    .max(if *number < upto.segment { all } else { end });
                        }
                    }
                    self.logger.handle_durable(upto);
                }
            }
            2 if !self.write_backs.is_empty() => {
                let index = self.rng.below(self.write_backs.len());
                let (token, offset, content) = self.write_backs.swap_remove(index);
                self.cache.push((offset, content));
                self.logger.handle_written_back(token);
            }
            3 if !self.passes.is_empty() => {
                let index = self.rng.below(self.passes.len());
                let (id, offset, content) = self.passes.swap_remove(index);
                self.cache.push((offset, content));
                self.logger.handle_passed_through(id);
            }
            4 => {
                if let Some(count) = self.disk_flush.take() {
                    for (offset, content) in self.cache.drain(..count) {
                        if self.lie != Lie::DiskFlush {
                            apply(&mut self.disk, offset, &content);
                        }
                    }
                    self.logger.handle_disk_flushed();
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, with_submit: bool) {
        match self.rng.below(20) {
            0..5 if with_submit && self.writes.len() < 250 => self.submit(),
            5 => self.logger.request_sync(),
            6 => self.logger.request_checkpoint(),
            7 if self.rng.chance(20) => self.logger.request_close(),
            _ => self.progress(),
        }
        if self.rng.chance(60) {
            self.effects();
        }
    }

    fn log_full(&mut self) {
        self.effects();
        for (start, _, batch) in std::mem::take(&mut self.appends) {
            // The append failed, perhaps after a part had been written.
            let bytes = batch.to_vec();
            let cut = self.rng.below(bytes.len());
            self.store(start, &bytes[..cut]);
        }
        self.logger.handle_log_full();
        assert!(self.logger.is_emergency());
    }

    /// What a reader sees now.
    fn read_all(&self) -> Vec<u8> {
        let mut image = self.disk.clone();
        for (offset, content) in &self.cache {
            apply(&mut image, *offset, content);
        }
        for piece in self.logger.read(0, SIZE as u64) {
            match piece.source {
                Source::Hit(data) => apply(&mut image, piece.offset, &Content::Data(data)),
                Source::Zero(len) => apply(&mut image, piece.offset, &Content::Zeroes(len)),
                Source::Miss(_) => {}
            }
        }
        image
    }

    /// Each byte is that of a write at least as new as the last one that satisfies `floor`.
    fn check_bytes(&self, image: &[u8], what: &str, floor: impl Fn(&Write) -> bool) {
        for (at, byte) in image.iter().enumerate() {
            let over: Vec<&Write> = self
                .writes
                .iter()
                .filter(|w| w.range.contains(&at))
                .collect();
            let from = over.iter().rposition(|w| floor(w));
            let mut allowed: Vec<u8> = over[from.unwrap_or(0)..].iter().map(|w| w.value).collect();
            if from.is_none() {
                allowed.push(0);
            }
            assert!(
                allowed.contains(byte),
                "{what}: byte {at} is {byte}, allowed {allowed:?}"
            );
        }
    }

    /// The disk after recovery from what survives.
    fn recover(&mut self, power: bool) -> Vec<u8> {
        let mut disk = self.disk.clone();
        for (offset, content) in std::mem::take(&mut self.cache) {
            if !power || self.rng.chance(50) {
                apply(&mut disk, offset, &content);
            }
        }
        if let Some(end) = self.emergency {
            assert_eq!(self.published, end);
            return disk;
        }
        for (start, _, batch) in std::mem::take(&mut self.appends) {
            let bytes = batch.to_vec();
            let cut = self.rng.below(bytes.len() + 1);
            self.store(start, &bytes[..cut]);
        }
        let published = self.published;
        let mut reached = None;
        for (number, segment) in self.segments.range(published.segment..) {
            if reached.is_some() && segment.follows != reached {
                break;
            }
            let mut bytes = segment.bytes.clone();
            if power {
                // Of what was never synced, any sectors may be lost.
                for chunk in bytes[segment.stable..].chunks_mut(64) {
                    if self.rng.chance(30) {
                        chunk.fill(0);
                    }
                }
            }
            let from = if *number == published.segment {
                published.position
            } else {
                0
            };
            let (found, end) = batches(*number, segment, from, &bytes);
            for record in found.into_iter().flat_map(|batch| batch.records) {
                match record.body {
                    RecordBody::Write(data) => {
                        apply(&mut disk, record.offset, &Content::Data(data));
                    }
                    RecordBody::Zeroes(len) | RecordBody::Discard(len) => {
                        apply(&mut disk, record.offset, &Content::Zeroes(len));
                    }
                    _ => {}
                }
            }
            reached = Some(LogPos::new(*number, end.position()));
        }
        disk
    }

    /// The disk is the exact state after some number of writes, all that satisfy `floor` among them.
    fn check_prefix(&self, image: &[u8], what: &str, floor: impl Fn(&Write) -> bool) {
        let least = self
            .writes
            .iter()
            .rposition(floor)
            .map_or(0, |index| index + 1);
        let mut state = vec![0; SIZE];
        for (index, write) in self.writes.iter().enumerate() {
            if index >= least && state == image {
                return;
            }
            state[write.range.clone()].fill(write.value);
        }
        assert_eq!(
            state, image,
            "{what}: no state after at least {least} writes"
        );
    }
}

fn batches(
    number: u64,
    segment: &Segment,
    from: u64,
    bytes: &[u8],
) -> (Vec<mars_datapath_core::format::Batch>, ScanEnd) {
    let header = SegmentHeader {
        number,
        generation: segment.generation,
        base_sequence: segment.base_sequence,
        predecessor: None,
        ..header()
    };
    let mut scanner = Scanner::new(&header, from, SIZE as u64);
    let from = usize::try_from(from).unwrap().min(bytes.len());
    scanner.feed(&bytes[from..]);
    let found = std::iter::from_fn(|| scanner.next_batch()).collect();
    (found, scanner.end())
}

/// One life of a device: random work, then a crash of the process or of the power, then recovery.
fn life(seed: u64, lie: Lie) {
    let mut world = World::new(seed, lie);
    let steps = 20 + world.rng.below(400);
    let full_at = if world.rng.chance(25) {
        world.rng.below(steps)
    } else {
        usize::MAX
    };
    for step in 0..steps {
        if step == full_at {
            world.log_full();
        }
        world.step(true);
        if world.rng.chance(10) {
            world.check_bytes(&world.read_all(), "read", |w| w.completed);
        }
    }
    let power = world.rng.chance(60);
    let image = world.recover(power);
    let floor = |w: &Write| if power { w.promised } else { w.completed };
    let what = format!("seed {seed}, power cut {power}");
    world.check_bytes(&image, &what, floor);
    if world.emergency.is_none() {
        world.check_prefix(&image, &what, floor);
    }
}

fn caught(lie: Lie) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..400).any(|seed| std::panic::catch_unwind(|| life(seed, lie)).is_err());
    std::panic::set_hook(hook);
    found
}

#[test]
fn crashes_keep_every_promise() {
    for seed in 0..1500 {
        println!("seed {seed}");
        life(seed, Lie::None);
    }
}

#[test]
fn a_log_or_disk_that_lies_is_noticed() {
    assert!(
        caught(Lie::LogSync),
        "the checks cannot see a sync that did nothing"
    );
    assert!(
        caught(Lie::DiskFlush),
        "the checks cannot see a flush that did nothing"
    );
}

#[test]
fn everything_drains_and_completes() {
    for seed in 0..300 {
        let mut world = World::new(seed, Lie::None);
        for step in 0..200 {
            if step == 100 && seed % 3 == 0 {
                world.log_full();
            }
            world.step(true);
        }
        for _ in 0..100_000 {
            if world.logger.is_drained() && world.sync.is_none() {
                break;
            }
            world.logger.request_sync();
            world.logger.request_checkpoint();
            world.step(false);
            world.effects();
        }
        assert!(world.logger.is_drained(), "seed {seed}: {:?}", world.logger);
        assert_eq!(world.completed.len() as u64, world.next_id, "seed {seed}");
        assert_eq!(world.logger.dirty_bytes(), 0, "seed {seed}");
        assert_eq!(world.emergency.is_some(), seed % 3 == 0, "seed {seed}");
        world.cache.clear();
        world.check_prefix(&world.disk, &format!("seed {seed}"), |_| true);
    }
}

#[test]
fn after_a_failure_everything_fails_and_nothing_is_acknowledged() {
    for seed in 0..300 {
        let mut world = World::new(seed, Lie::None);
        for step in 0..100 {
            if step == 50 && seed % 3 == 0 {
                world.log_full();
            }
            world.step(true);
        }
        let acknowledged = world.completed.len();
        world.logger.handle_failed("fdatasync of the log: EIO");
        for _ in 0..100 {
            world.step(true);
        }
        world.effects();
        assert_eq!(world.logger.failure(), Some("fdatasync of the log: EIO"));
        assert_eq!(world.completed.len(), acknowledged, "seed {seed}");
        let mut answered = [&world.completed[..], &world.failed[..]].concat();
        answered.sort_unstable();
        let all: Vec<_> = (1..=world.next_id).map(RequestId).collect();
        assert_eq!(
            answered, all,
            "seed {seed}: each request is answered exactly once"
        );
    }
}
