//! Where the fields of a record stand.

/// Bytes of a record in front of its payload.
pub const HEADER: usize = 48;
/// Bytes of a record behind its payload.
pub const TRAILER: usize = 36;
/// Bytes of a record besides its payload.
pub const OVERHEAD: usize = HEADER + TRAILER;

pub(super) const START_MAGIC: [u8; 8] = 0xa8f7_e908_d917_7957_u64.to_le_bytes();
pub(super) const END_MAGIC: [u8; 8] = 0x7494_1fb7_4ab5_726d_u64.to_le_bytes();
pub(super) const VERSION: u8 = 1;

/// Offsets in the header.
pub(super) mod head {
    pub(crate) const VERSION: usize = 8;
    pub(crate) const VALID: usize = 9;
    pub(crate) const TOTAL: usize = 10;
    pub(crate) const SECONDS: usize = 12;
    pub(crate) const NANOSECONDS: usize = 20;
    pub(crate) const POSITION: usize = 28;
    pub(crate) const STORED: usize = 36;
    pub(crate) const UNPACKED: usize = 38;
    pub(crate) const CODE: usize = 44;
}

/// Offsets in the trailer.
pub(super) mod tail {
    pub(crate) const OLD_CHECKSUM: usize = 8;
    pub(crate) const VALID: usize = 12;
    pub(crate) const FLAGS: usize = 14;
    pub(crate) const SEQUENCE: usize = 16;
    pub(crate) const CHECKSUM: usize = 20;
    /// In the same place before 2019: when the record was written.
    pub(crate) const WRITTEN_SECONDS: usize = 20;
    pub(crate) const WRITTEN_NANOSECONDS: usize = 28;
}

/// `N` bytes at `at`, zeroes beyond the end.
pub(super) fn array<const N: usize>(buf: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    let from = buf.get(at..).unwrap_or_default();
    for (to, byte) in out.iter_mut().zip(from) {
        *to = *byte;
    }
    out
}

pub(super) fn i16_at(buf: &[u8], at: usize) -> i16 {
    i16::from_le_bytes(array(buf, at))
}

pub(super) fn u16_at(buf: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(buf, at))
}

pub(super) fn u32_at(buf: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(buf, at))
}

pub(super) fn i64_at(buf: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array(buf, at))
}

/// Writes `bytes` at `at`; what does not fit is left out.
pub(super) fn put(buf: &mut [u8], at: usize, bytes: &[u8]) {
    let to = buf.get_mut(at..).unwrap_or_default();
    for (to, byte) in to.iter_mut().zip(bytes) {
        *to = *byte;
    }
}
