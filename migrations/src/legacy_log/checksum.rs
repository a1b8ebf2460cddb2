//! The checksums of the payload, all of them weak: two halves of 16 bytes are joined by exclusive or.

use md5::{Digest as _, Md5};
use sha1::Sha1;

/// How the payload of a record is protected. Nothing protects its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checksum {
    /// Eight CRC32C over eighths of the payload: the original's first choice.
    Crc32c,
    /// Eight CRC32 (initial value 0, no final inversion) over eighths of the payload.
    Crc32,
    /// MD5 over each half of the payload.
    Md5,
    /// SHA-1 over the payload, filled up with zeroes.
    Sha1,
    /// The first four bytes of the MD5 over the payload: all there was before 2019.
    Md5Old,
}

impl Checksum {
    /// All kinds, in the order in which the original prefers them.
    pub const ALL: [Self; 5] = [
        Self::Crc32c,
        Self::Crc32,
        Self::Md5,
        Self::Sha1,
        Self::Md5Old,
    ];

    /// Its bit in the check flags.
    #[must_use]
    pub const fn flag(self) -> u16 {
        match self {
            Self::Md5Old => 0x0001,
            Self::Md5 => 0x0002,
            Self::Crc32c => 0x0004,
            Self::Crc32 => 0x0008,
            Self::Sha1 => 0x0010,
        }
    }

    /// The kind that a reader goes by: the preferred one of those flagged, [`Checksum::Md5Old`] if there is none.
    #[must_use]
    pub fn of_flags(flags: u16) -> Self {
        let flagged = |kind: &Self| flags & kind.flag() != 0;
        Self::ALL.into_iter().find(flagged).unwrap_or(Self::Md5Old)
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Md5Old => "md5-old",
        }
    }

    /// The 16 bytes that the trailer holds; `None` for [`Checksum::Md5Old`], which has none, and for
    /// [`Checksum::Md5`] of an odd number of bytes, which is not defined.
    pub(super) fn folded(self, payload: &[u8]) -> Option<[u8; 16]> {
        let mut digest = [0_u8; 32];
        match self {
            Self::Crc32c => eighths(payload, &mut digest, crc32c::crc32c),
            Self::Crc32 => eighths(payload, &mut digest, raw_crc32),
            Self::Md5 => {
                let half = payload.len() / 2;
                let (first, second) = payload.split_at_checked(half)?;
                if first.len() != second.len() {
                    return None;
                }
                let (low, high) = digest.split_at_mut(16);
                low.copy_from_slice(&Md5::digest(first));
                high.copy_from_slice(&Md5::digest(second));
            }
            Self::Sha1 => {
                let (low, _) = digest.split_at_mut(20);
                low.copy_from_slice(&Sha1::digest(payload));
            }
            Self::Md5Old => return None,
        }
        let (low, high) = digest.split_at(16);
        let mut folded = [0; 16];
        for (to, (a, b)) in folded.iter_mut().zip(low.iter().zip(high)) {
            *to = a ^ b;
        }
        Some(folded)
    }
}

/// The word of [`Checksum::Md5Old`].
pub(super) fn old_word(payload: &[u8]) -> u32 {
    super::layout::u32_at(&Md5::digest(payload), 0)
}

/// Eight checksums, little endian; the last part takes what division by eight leaves over.
fn eighths(payload: &[u8], digest: &mut [u8; 32], crc: fn(&[u8]) -> u32) {
    let part = payload.len() / 8;
    let mut rest = payload;
    let last = digest.chunks_exact_mut(4).len() - 1;
    for (index, to) in digest.chunks_exact_mut(4).enumerate() {
        let length = if index == last { rest.len() } else { part };
        let (now, later) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        to.copy_from_slice(&crc(now).to_le_bytes());
        rest = later;
    }
}

/// CRC with the reflected polynomial of Ethernet, from 0 and without inversion.
fn raw_crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        let index = usize::from(low ^ byte);
        (crc >> 8) ^ CRC32_TABLE.get(index).copied().unwrap_or_default()
    })
}

const CRC32_TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut index = 0_u32;
    let mut at = 0;
    while at < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ if value & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_hold() {
        assert_eq!(
            raw_crc32(b"abcdefg").to_be_bytes(),
            [0xac, 0x46, 0xb5, 0xd8]
        );
        assert_eq!(raw_crc32(&[0; 100]), 0);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c::crc32c(b"abcdefg"), 0xe627_f441);
    }

    #[test]
    fn preference_decides_among_several_flags() {
        assert_eq!(Checksum::of_flags(0), Checksum::Md5Old);
        assert_eq!(Checksum::of_flags(0x0400), Checksum::Md5Old);
        assert_eq!(Checksum::of_flags(0x001f), Checksum::Crc32c);
        for kind in Checksum::ALL {
            assert_eq!(Checksum::of_flags(kind.flag() | 0x0200), kind);
        }
    }

    #[test]
    fn tiny_payloads_are_defined_or_refused() {
        for length in 0..20 {
            let payload = vec![7; length];
            for kind in Checksum::ALL {
                let defined = match kind {
                    Checksum::Md5Old => false,
                    Checksum::Md5 => length % 2 == 0,
                    _ => true,
                };
                assert_eq!(
                    kind.folded(&payload).is_some(),
                    defined,
                    "{kind:?} {length}"
                );
            }
        }
    }
}
