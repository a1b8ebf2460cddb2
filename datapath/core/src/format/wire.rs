//! Little-endian fields at fixed offsets.

/// `N` bytes of `buf` at `at`; what lies beyond the end reads as zero (callers check lengths first).
pub(crate) fn array<const N: usize>(buf: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    for (slot, byte) in out.iter_mut().zip(buf.iter().skip(at)) {
        *slot = *byte;
    }
    out
}

pub(crate) fn u16_at(buf: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(buf, at))
}

pub(crate) fn u32_at(buf: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(buf, at))
}

pub(crate) fn u64_at(buf: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(buf, at))
}

/// Copies `bytes` to `at`; bytes beyond the end of `buf` are dropped (layouts are constants, tested).
pub(crate) fn put(buf: &mut [u8], at: usize, bytes: &[u8]) {
    for (slot, byte) in buf.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

/// A length-prefixed text of at most 63 bytes in a field of 64; `None` if malformed or the rest not zero.
pub(crate) fn text64(buf: &[u8], at: usize) -> Option<&str> {
    let field = buf.get(at..at.checked_add(64)?)?;
    let (len, rest) = field.split_first()?;
    let (text, tail) = rest.split_at_checked(usize::from(*len))?;
    if tail.iter().any(|b| *b != 0) {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// Writes a text of at most 63 bytes as [`text64`] reads it.
pub(crate) fn put_text64(buf: &mut [u8], at: usize, text: &str) {
    let len = u8::try_from(text.len()).unwrap_or(0).min(63);
    put(buf, at, &[len]);
    put(
        buf,
        at + 1,
        text.as_bytes().get(..usize::from(len)).unwrap_or_default(),
    );
}

/// `len` rounded up to a multiple of `alignment` (a power of two).
pub(crate) fn align_up(len: usize, alignment: usize) -> usize {
    let mask = alignment.saturating_sub(1);
    len.saturating_add(mask) & !mask
}
