//! What a device may hold after crashes: for each block a value between the last acknowledged and the last issued.

use std::collections::BTreeMap;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// Blocks of the device.
pub(crate) const BLOCKS: u64 = 4096;

/// What happened, in the order in which it was issued. Numbers begin at 1; 0 is the empty block.
#[derive(Debug, Default)]
pub(crate) struct WriteLog {
    /// Number of the last write.
    last: u64,
    /// Block of each write that is or may be on the device.
    writes: BTreeMap<u64, u64>,
    /// Newest write of each block that must be there.
    least: BTreeMap<u64, u64>,
    /// Numbers after which a flush was acknowledged: every write up to there was on stable storage before the next
    /// one was issued.
    flushes: Vec<u64>,
    lost: u64,
}

impl WriteLog {
    /// The content of a block: its place and a number, over and over.
    pub(crate) fn data(block: u64, number: u64) -> Vec<u8> {
        let mut one = block.to_le_bytes().to_vec();
        one.extend(number.to_le_bytes());
        one.repeat(BLOCK / one.len())
    }

    /// The number in a block, which must be whole and in its place.
    fn number(block: u64, data: &[u8]) -> u64 {
        let number = u64::from_le_bytes(data[8..16].try_into().unwrap());
        let wanted = match number {
            0 => vec![0; BLOCK],
            number => Self::data(block, number),
        };
        assert!(
            data == wanted,
            "block {block} is torn or in the wrong place: begins as write {number}"
        );
        number
    }

    /// A write is about to be sent.
    pub(crate) fn issue(&mut self, block: u64) -> u64 {
        self.last += 1;
        self.writes.insert(self.last, block);
        self.last
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        let block = self.writes[&number];
        self.least.insert(block, number);
    }

    /// A flush was acknowledged while nothing else was under way.
    pub(crate) fn flushed(&mut self) {
        self.flushes.push(self.last);
    }

    /// Writes, and how many of them got lost without having been acknowledged.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.last, self.lost)
    }

    /// What the device shows, with nothing under way. From then on exactly this must stay.
    pub(crate) fn check_device(&mut self, image: &[u8]) {
        let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, block) in &self.writes {
            newest.insert(*block, *number);
        }
        for (block, data) in (0..).zip(image.chunks(BLOCK)) {
            let found = Self::number(block, data);
            let least = self.least.get(&block).copied().unwrap_or(0);
            let newest = newest.get(&block).copied().unwrap_or(0);
            // At most one write of a block is under way at a time.
            assert!(
                found == least || found == newest,
                "block {block} holds write {found}; acknowledged was {least}, issued {newest}"
            );
            if found != 0 {
                self.least.insert(block, found);
            }
        }
        let kept: BTreeMap<u64, u64> = self
            .writes
            .iter()
            .filter(|(number, block)| **number <= self.least.get(block).copied().unwrap_or(0))
            .map(|(number, block)| (*number, *block))
            .collect();
        self.lost += (self.writes.len() - kept.len()) as u64;
        self.writes = kept;
    }

    /// What the disk of a follower shows: a state that a power cut of the primary could have left. Where one write
    /// is there, all are that were flushed before it was issued.
    pub(crate) fn check_replica(&self, node: &str, image: &[u8]) {
        let found: Vec<u64> = (0..)
            .zip(image.chunks(BLOCK))
            .map(|(block, data)| Self::number(block, data))
            .collect();
        let newest = found.iter().copied().max().unwrap_or(0);
        let flushed = self
            .flushes
            .iter()
            .rev()
            .find(|at| **at < newest)
            .copied()
            .unwrap_or(0);
        let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, block) in self.writes.range(..=flushed) {
            wanted.insert(*block, *number);
        }
        for (block, least) in wanted {
            let found = found[usize::try_from(block).unwrap()];
            assert!(
                found >= least,
                "{node}: block {block} holds write {found}, but write {least} was flushed before {newest} was issued, which is there"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(writes: &[(u64, u64)]) -> Vec<u8> {
        let mut image = vec![0; 4 * BLOCK];
        for (block, number) in writes {
            let at = usize::try_from(*block).unwrap() * BLOCK;
            image[at..at + BLOCK].copy_from_slice(&WriteLog::data(*block, *number));
        }
        image
    }

    fn caught(check: impl FnOnce() + std::panic::UnwindSafe) {
        assert!(std::panic::catch_unwind(check).is_err());
    }

    fn log() -> WriteLog {
        let mut log = WriteLog::default();
        for block in [0, 1] {
            let number = log.issue(block);
            log.acknowledge(number);
        }
        log.flushed();
        log.issue(1);
        log
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_was_not_may() {
        log().check_device(&image(&[(0, 1), (1, 2)]));
        let mut seen = log();
        seen.check_device(&image(&[(0, 1), (1, 3)]));
        caught(move || seen.check_device(&image(&[(0, 1), (1, 2)])));
        caught(|| log().check_device(&image(&[(1, 2)])));
        caught(|| log().check_device(&image(&[(0, 2), (1, 2)])));
        caught(|| {
            let mut torn = image(&[(0, 1), (1, 2)]);
            torn[100] ^= 1;
            log().check_device(&torn);
        });
    }

    #[test]
    fn a_follower_may_be_old_but_not_miss_what_was_flushed_before() {
        log().check_replica("b", &image(&[]));
        log().check_replica("b", &image(&[(1, 2)]));
        log().check_replica("b", &image(&[(0, 1), (1, 3)]));
        caught(|| log().check_replica("b", &image(&[(1, 3)])));
    }
}
