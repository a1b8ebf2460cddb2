//! Mutations of inputs that are known to be good, from a seed.

/// A stream of numbers (SplitMix64): the same from the same seed, everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Numbers at which lengths, counts and offsets go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x100,
    0x1000,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Longest input that mutation makes.
const LEN_MAX: usize = 64 << 10;

/// Makes inputs out of a corpus.
#[derive(Debug)]
pub struct Mutator<'c> {
    rng: Rng,
    corpus: &'c [Vec<u8>],
}

impl<'c> Mutator<'c> {
    /// Of a corpus that is not empty.
    #[must_use]
    pub const fn new(seed: u64, corpus: &'c [Vec<u8>]) -> Self {
        Self {
            rng: Rng::new(seed),
            corpus,
        }
    }

    fn pick(&mut self) -> &'c [u8] {
        let at = self.rng.below(self.corpus.len());
        self.corpus.get(at).map_or(&[], Vec::as_slice)
    }

    /// The next input: one of the corpus, changed in up to eight ways.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut data = self.pick().to_vec();
        for _ in 0..=self.rng.below(8) {
            self.change(&mut data);
        }
        data.truncate(LEN_MAX);
        data
    }

    fn range(&mut self, len: usize) -> (usize, usize) {
        let (a, b) = (self.rng.below(len + 1), self.rng.below(len + 1));
        (a.min(b), a.max(b))
    }

    fn change(&mut self, data: &mut Vec<u8>) {
        let at = self.rng.below(data.len());
        match self.rng.below(10) {
            0 => {
                let bit = self.rng.below(8);
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let value = self.rng.byte();
                if let Some(byte) = data.get_mut(at) {
                    *byte = value;
                }
            }
            2 | 3 => self.number(data, at),
            4 => data.truncate(at),
            5 => {
                let more = self.rng.below(16);
                for _ in 0..more {
                    data.push(self.rng.byte());
                }
            }
            6 => {
                let (from, to) = self.range(data.len());
                data.drain(from..to);
            }
            7 => {
                let (from, to) = self.range(data.len());
                let part = data[from..to].to_vec();
                data.splice(at..at, part);
            }
            8 => {
                let other = self.pick();
                let (from, to) = self.range(other.len());
                let (start, end) = self.range(data.len());
                data.splice(start..end, other[from..to].iter().copied());
            }
            _ => {
                let byte = data.get(at).copied().unwrap_or_default();
                if let Some(place) = data.get_mut(at) {
                    *place = if self.rng.below(2) == 0 {
                        byte.wrapping_add(1)
                    } else {
                        byte.wrapping_sub(1)
                    };
                }
            }
        }
    }

    /// A number of 1, 2, 4 or 8 bytes, in either order.
    fn number(&mut self, data: &mut [u8], at: usize) {
        let pick = self.rng.below(NUMBERS.len());
        let number = NUMBERS.get(pick).copied().unwrap_or_default();
        let len = 1 << self.rng.below(4);
        let mut bytes = number.to_le_bytes()[..len].to_vec();
        if self.rng.below(4) == 0 {
            bytes.reverse();
        }
        for (place, byte) in data.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
    }
}
