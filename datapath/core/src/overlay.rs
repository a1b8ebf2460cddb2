//! Device ranges that the log knows newer than the disk: an interval map in which the newest write wins.

use std::collections::BTreeMap;

use bytes::Bytes;

/// What a range of the device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Data(Bytes),
    /// That many zero bytes.
    Zeroes(u64),
    /// That many discarded bytes; they read as zero.
    Discard(u64),
}

impl Content {
    /// Bytes of the device.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Zeroes(len) | Self::Discard(len) => *len,
        }
    }

    /// Whether it covers nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` bytes of it from `at` on; both must lie within (else shorter).
    fn slice(&self, at: u64, len: u64) -> Self {
        match self {
            Self::Data(data) => {
                let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(data.len());
                Self::Data(data.slice(clamp(at)..clamp(at.saturating_add(len))))
            }
            Self::Zeroes(_) => Self::Zeroes(len),
            Self::Discard(_) => Self::Discard(len),
        }
    }
}

/// One piece of the answer to a read; the pieces follow each other without gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte on the device.
    pub offset: u64,
    /// Where its content is.
    pub source: Source,
}

/// Where the content of a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Hit(Bytes),
    /// That many zero bytes.
    Zero(u64),
    /// That many bytes on the disk.
    Miss(u64),
}

#[derive(Clone, Debug)]
struct Extent {
    token: u64,
    content: Content,
}

/// The interval map. Extents never overlap; `token` grows with time.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    extents: BTreeMap<u64, Extent>,
    data_bytes: u64,
    bytes: u64,
}

impl Overlay {
    /// Bytes of memory that the data in it needs at least; what a memory limit is to be held against.
    #[must_use]
    pub const fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Bytes of the device that are newer than the disk.
    #[must_use]
    pub const fn dirty_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the disk is up to date.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Puts `content` over everything that was there.
    pub fn insert(&mut self, offset: u64, content: Content, token: u64) {
        if !content.is_empty() {
            self.remove(offset, content.len(), u64::MAX);
            self.put(offset, Extent { token, content });
        }
    }

    /// Removes what stands in the range and is not newer than `upto`.
    pub fn remove(&mut self, offset: u64, len: u64, upto: u64) {
        let end = offset.saturating_add(len);
        let before = self.extents.range(..offset).next_back();
        let from = before
            .filter(|(at, extent)| at.saturating_add(extent.content.len()) > offset)
            .map_or(offset, |(at, _)| *at);
        let hit: Vec<u64> = self
            .extents
            .range(from..end.max(from))
            .filter(|(_, extent)| extent.token <= upto)
            .map(|(at, _)| *at)
            .collect();
        for at in hit {
            let Some(extent) = self.take(at) else {
                continue;
            };
            let extent_end = at.saturating_add(extent.content.len());
            if at < offset {
                let content = extent.content.slice(0, offset - at);
                self.put(
                    at,
                    Extent {
                        token: extent.token,
                        content,
                    },
                );
            }
            if extent_end > end {
                let content = extent.content.slice(end - at, extent_end - end);
                self.put(
                    end,
                    Extent {
                        token: extent.token,
                        content,
                    },
                );
            }
        }
    }

    /// Removes everything that is not newer than `upto`. Costs a walk over all extents.
    pub fn remove_upto(&mut self, upto: u64) {
        let old = self
            .extents
            .iter()
            .filter(|(_, e)| e.token <= upto)
            .map(|(at, _)| *at);
        for at in old.collect::<Vec<_>>() {
            self.take(at);
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Answers a read of `len` bytes at `offset`.
    #[must_use]
    pub fn read(&self, offset: u64, len: u64) -> Vec<Piece> {
        let end = offset.saturating_add(len);
        let mut pieces = Vec::new();
        let mut at = offset;
        let before = self.extents.range(..offset).next_back();
        let inside = self.extents.range(offset..end.max(offset));
        for (start, extent) in before.into_iter().chain(inside) {
            let extent_end = start.saturating_add(extent.content.len());
            if extent_end <= at {
                continue;
            }
            if *start > at {
                pieces.push(Piece {
                    offset: at,
                    source: Source::Miss(start - at),
                });
                at = *start;
            }
            let stop = extent_end.min(end);
            let source = match extent.content.slice(at - start, stop - at) {
                Content::Data(data) => Source::Hit(data),
                Content::Zeroes(len) | Content::Discard(len) => Source::Zero(len),
            };
            pieces.push(Piece { offset: at, source });
            at = stop;
        }
        if at < end {
            pieces.push(Piece {
                offset: at,
                source: Source::Miss(end - at),
            });
        }
        pieces
    }

    /// All extents in order of the device.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Content)> {
        self.extents
            .iter()
            .map(|(at, extent)| (*at, &extent.content))
    }

    fn put(&mut self, at: u64, extent: Extent) {
        self.bytes = self.bytes.saturating_add(extent.content.len());
        if let Content::Data(data) = &extent.content {
            self.data_bytes = self.data_bytes.saturating_add(data.len() as u64);
        }
        self.extents.insert(at, extent);
    }

    fn take(&mut self, at: u64) -> Option<Extent> {
        let extent = self.extents.remove(&at)?;
        self.bytes = self.bytes.saturating_sub(extent.content.len());
        if let Content::Data(data) = &extent.content {
            self.data_bytes = self.data_bytes.saturating_sub(data.len() as u64);
        }
        Some(extent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 64;

    #[derive(Clone, Debug)]
    enum Op {
        Data(usize, usize),
        Zeroes(usize, usize),
        Discard(usize, usize),
        Remove(usize, usize, u64),
        RemoveUpto(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let range = || (0..SIZE, 0..20_usize).prop_map(|(at, len)| (at, len.min(SIZE - at)));
        prop_oneof![
            4 => range().prop_map(|(at, len)| Op::Data(at, len)),
            1 => range().prop_map(|(at, len)| Op::Zeroes(at, len)),
            1 => range().prop_map(|(at, len)| Op::Discard(at, len)),
            2 => (range(), 0..40_u64).prop_map(|((at, len), back)| Op::Remove(at, len, back)),
            1 => (0..40_u64).prop_map(Op::RemoveUpto),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_an_array(ops in prop::collection::vec(op(), 1..60), at in 0..SIZE, len in 0..SIZE) {
            // One slot per byte: (token, value, memory needed).
            let mut model: Vec<Option<(u64, u8, bool)>> = vec![None; SIZE];
            let mut overlay = Overlay::default();
            for (token, op) in (1_u64..).zip(ops) {
                let byte = u8::try_from(token).unwrap();
                match op {
                    Op::Data(at, len) => {
                        let data = Bytes::from(vec![byte; len]);
                        overlay.insert(at as u64, Content::Data(data), token);
                        model[at..at + len].fill(Some((token, byte, true)));
                    }
                    Op::Zeroes(at, len) => {
                        overlay.insert(at as u64, Content::Zeroes(len as u64), token);
                        model[at..at + len].fill(Some((token, 0, false)));
                    }
                    Op::Discard(at, len) => {
                        overlay.insert(at as u64, Content::Discard(len as u64), token);
                        model[at..at + len].fill(Some((token, 0, false)));
                    }
                    Op::Remove(at, len, back) => {
                        let upto = token.saturating_sub(back);
                        overlay.remove(at as u64, len as u64, upto);
                        for slot in &mut model[at..at + len] {
                            *slot = slot.filter(|(token, ..)| *token > upto);
                        }
                    }
                    Op::RemoveUpto(back) => {
                        let upto = token.saturating_sub(back);
                        overlay.remove_upto(upto);
                        for slot in &mut model {
                            *slot = slot.filter(|(token, ..)| *token > upto);
                        }
                    }
                }
                let count = |f: &dyn Fn(&(u64, u8, bool)) -> bool| {
                    model.iter().flatten().filter(|slot| f(slot)).count() as u64
                };
                prop_assert_eq!(overlay.dirty_bytes(), count(&|_| true));
                prop_assert_eq!(overlay.data_bytes(), count(&|slot| slot.2));
            }
            let len = len.min(SIZE - at);
            let mut got: Vec<Option<u8>> = Vec::new();
            let mut next = at as u64;
            for piece in overlay.read(at as u64, len as u64) {
                prop_assert_eq!(piece.offset, next);
                match piece.source {
                    Source::Hit(data) => got.extend(data.iter().map(|b| Some(*b))),
                    Source::Zero(n) => got.extend((0..n).map(|_| Some(0))),
                    Source::Miss(n) => got.extend((0..n).map(|_| None)),
                }
                next = at as u64 + got.len() as u64;
            }
            let want: Vec<_> = model[at..at + len].iter().map(|s| s.map(|(_, b, _)| b)).collect();
            prop_assert_eq!(got, want);
        }
    }
}
