//! The application of the demonstration: writes random blocks through the device and knows what must be there.

use super::stage::{LIMIT, RESOURCE, io, wrong};
use crate::error::{Error, Result};
use crate::sandbox::nbd_client::{NbdClient, Request};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a write changes as a whole or not at all, in bytes.
pub(super) const SECTOR: usize = 512;
/// Requests in flight.
const WINDOW: usize = 8;
/// Longest write in sectors.
const SECTORS_MAX: u64 = 128;
/// Every so many requests is a flush.
const FLUSH_EVERY: u64 = 40;
/// Pause between requests.
const PACE: Duration = Duration::from_millis(1);
/// One read of the whole device.
const PIECE: usize = 1 << 20;

/// A small seeded generator (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// The next number.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Bytes that follow from a number.
pub(super) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut data);
    data
}

/// What the device must hold.
#[derive(Debug)]
pub(super) struct Model {
    /// Contents.
    pub(super) bytes: Vec<u8>,
    /// Where the writer writes.
    pub(super) area: Range<usize>,
    random: Random,
    /// Writes that failed: old or new, sector by sector.
    unknown: Vec<Change>,
    /// Acknowledged writes after the last flush that was acknowledged.
    pub(super) unflushed: u64,
}

#[derive(Debug)]
struct Change {
    at: usize,
    data: Vec<u8>,
    zero: bool,
}

impl Change {
    const fn range(&self) -> Range<usize> {
        self.at..self.at + self.data.len()
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.at < other.range().end && other.at < self.range().end
    }
}

/// Counters that can be read while the writer runs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    writes: AtomicU64,
    written: AtomicU64,
    flushes: AtomicU64,
    slowest_write_us: AtomicU64,
    slowest_flush_us: AtomicU64,
}

impl Counters {
    /// Acknowledged writes.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Acknowledged bytes.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Acknowledged flushes.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// The longest times from request to reply, of writes and of flushes.
    pub(super) fn slowest(&self) -> (Duration, Duration) {
        let load = |cell: &AtomicU64| Duration::from_micros(cell.load(Ordering::SeqCst));
        (load(&self.slowest_write_us), load(&self.slowest_flush_us))
    }
}

/// A running writer.
#[derive(Debug)]
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    /// What it did so far.
    pub(super) counters: Arc<Counters>,
    thread: JoinHandle<(Model, std::io::Result<()>)>,
}

impl Model {
    /// A device of zeroes.
    pub(super) fn new(size: usize, area: Range<usize>, seed: u64) -> Self {
        Self {
            bytes: vec![0; size],
            area,
            random: Random(seed),
            unknown: Vec::new(),
            unflushed: 0,
        }
    }

    /// Writes that failed, and their bytes.
    pub(super) fn unknown(&self) -> (usize, usize) {
        let bytes = self.unknown.iter().map(|change| change.data.len()).sum();
        (self.unknown.len(), bytes)
    }

    fn change(&mut self) -> Change {
        let sectors = u64::try_from(self.area.len() / SECTOR).unwrap_or(1);
        let count = 1 + self.random.below(SECTORS_MAX);
        let first = self.random.below(sectors - count);
        let at = self.area.start + usize::try_from(first).unwrap_or(0) * SECTOR;
        let len = usize::try_from(count).unwrap_or(1) * SECTOR;
        let zero = self.random.below(8) == 0;
        let data = if zero {
            vec![0; len]
        } else {
            bytes(self.random.next(), len)
        };
        Change { at, data, zero }
    }

    /// Reads the whole device and compares. Sectors of failed writes may be old or new, and count as written then.
    /// Gives the number of sectors of failed writes that were found new.
    pub(super) fn verify(&mut self, client: &mut NbdClient, check: &str) -> Result<usize> {
        let mut found_new = 0;
        let unknown = std::mem::take(&mut self.unknown);
        for from in (0..self.bytes.len()).step_by(PIECE) {
            let to = (from + PIECE).min(self.bytes.len());
            let data = client
                .read(u64::try_from(from).unwrap_or(u64::MAX), to - from)
                .map_err(io("the device cannot be read"))?;
            if data == self.bytes[from..to] {
                continue;
            }
            for (i, sector) in data.chunks(SECTOR).enumerate() {
                let at = from + i * SECTOR;
                let own = &mut self.bytes[at..at + sector.len()];
                if own == sector {
                    continue;
                }
                let is_new = |change: &Change| {
                    change.range().contains(&at)
                        && change.data[at - change.at..].starts_with(sector)
                };
                if !unknown.iter().any(is_new) {
                    return Err(wrong(
                        check,
                        "every acknowledged write, and of failed ones either old or new data in each sector",
                        format!("something else in the sector at byte {at}"),
                    ));
                }
                own.copy_from_slice(sector);
                found_new += 1;
            }
        }
        Ok(found_new)
    }
}

/// Opens the device of a node.
pub(super) fn open(socket: &Path) -> Result<NbdClient> {
    NbdClient::open(socket, RESOURCE).map_err(io("the device cannot be opened"))
}

impl Writer {
    /// Goes on writing through `client`.
    pub(super) fn start(model: Model, client: NbdClient) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(Counters::default());
        let thread = {
            let (stop, counters) = (Arc::clone(&stop), Arc::clone(&counters));
            std::thread::spawn(move || write(model, client, &stop, &counters))
        };
        Self {
            stop,
            counters,
            thread,
        }
    }

    /// Ends with a flush and closes the device.
    pub(super) fn pause(self) -> Result<Model> {
        let (model, result) = self.end()?;
        result.map_err(io("the writer failed"))?;
        Ok(model)
    }

    /// Waits until the connection is lost.
    pub(super) fn lost(self) -> Result<Model> {
        let begin = Instant::now();
        while !self.thread.is_finished() && begin.elapsed() < LIMIT {
            std::thread::sleep(PACE);
        }
        let (model, result) = self.end()?;
        match result {
            Err(_) => Ok(model),
            Ok(()) => Err(wrong(
                "killing the primary breaks the connection to its device",
                "an error",
                "the writer writes on",
            )),
        }
    }

    fn end(self) -> Result<(Model, std::io::Result<()>)> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread
            .join()
            .map_err(|_| Error::internal("the writer's thread broke"))
    }
}

/// What is in flight: a write, or a flush together with how many writes it covers.
#[derive(Debug)]
enum Pending {
    Write(Change),
    Flush(u64),
}

fn write(
    mut model: Model,
    mut client: NbdClient,
    stop: &AtomicBool,
    counters: &Counters,
) -> (Model, std::io::Result<()>) {
    let mut pending = BTreeMap::new();
    let result = run(&mut model, &mut client, stop, counters, &mut pending);
    for (_, (_, request)) in pending {
        if let Pending::Write(change) = request {
            model.unknown.push(change);
        }
    }
    (model, result)
}

type InFlight = BTreeMap<u64, (Instant, Pending)>;

fn run(
    model: &mut Model,
    client: &mut NbdClient,
    stop: &AtomicBool,
    counters: &Counters,
    pending: &mut InFlight,
) -> std::io::Result<()> {
    for round in 1_u64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let request = if round % FLUSH_EVERY == 0 {
            Pending::Flush(counters.writes())
        } else {
            let change = model.change();
            // Of writes in flight to the same place nobody could say which one wins.
            let busy = |(_, other): &(Instant, Pending)| match other {
                Pending::Write(other) => other.overlaps(&change),
                Pending::Flush(_) => false,
            };
            if pending.values().any(busy) {
                continue;
            }
            Pending::Write(change)
        };
        submit(client, pending, request)?;
        while pending.len() >= WINDOW {
            complete(model, client, counters, pending)?;
        }
        std::thread::sleep(PACE);
    }
    while !pending.is_empty() {
        complete(model, client, counters, pending)?;
    }
    submit(client, pending, Pending::Flush(counters.writes()))?;
    complete(model, client, counters, pending)
}

fn submit(client: &mut NbdClient, pending: &mut InFlight, request: Pending) -> std::io::Result<()> {
    let begin = Instant::now();
    // Under way from here on, even if sending fails.
    let cookie = client.next_cookie();
    let (_, request) = &*pending.entry(cookie).or_insert((begin, request));
    client.send(match request {
        Pending::Flush(_) => Request::Flush,
        Pending::Write(change) => {
            let at = u64::try_from(change.at).unwrap_or(u64::MAX);
            if change.zero {
                Request::Zero(at, u32::try_from(change.data.len()).unwrap_or(u32::MAX))
            } else {
                Request::Write(at, &change.data)
            }
        }
    })
}

fn complete(
    model: &mut Model,
    client: &mut NbdClient,
    counters: &Counters,
    pending: &mut InFlight,
) -> std::io::Result<()> {
    let (cookie, _) = client.receive()?;
    let Some((begin, request)) = pending.remove(&cookie) else {
        return Err(std::io::Error::other("a reply to nothing"));
    };
    let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    match request {
        Pending::Write(change) => {
            model.bytes[change.range()].copy_from_slice(&change.data);
            model.unflushed += 1;
            counters.writes.fetch_add(1, Ordering::SeqCst);
            let len = u64::try_from(change.data.len()).unwrap_or(0);
            counters.written.fetch_add(len, Ordering::SeqCst);
            counters
                .slowest_write_us
                .fetch_max(micros, Ordering::SeqCst);
        }
        Pending::Flush(covered) => {
            model.unflushed = counters.writes() - covered;
            counters.flushes.fetch_add(1, Ordering::SeqCst);
            counters
                .slowest_flush_us
                .fetch_max(micros, Ordering::SeqCst);
        }
    }
    Ok(())
}
