//! Names and bits of compressions and checksums.

use crate::error::{Error, Result};

/// What a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Compressions; numbers are allowed.
    Compressions,
    /// Checksums, by name only.
    Digests,
}

const BITS: &[(&str, u32)] = &[
    ("CHKSUM_MD5_OLD", 0x0001_0000),
    ("CHKSUM_MD5", 0x0002_0000),
    ("CHKSUM_CRC32C", 0x0004_0000),
    ("CHKSUM_CRC32", 0x0008_0000),
    ("CHKSUM_SHA1", 0x0010_0000),
    ("COMPRESS_LZO", 0x0100_0000),
    ("COMPRESS_LZ4", 0x0200_0000),
    ("COMPRESS_ZLIB", 0x0400_0000),
];

/// The bits of a list of features: names or (for compressions) hexadecimal, octal and decimal numbers, joined by `|`.
///
/// # Errors
/// The element that is not understood.
pub(super) fn parse(text: &str, family: Family) -> Result<u32> {
    let mut mask = 0;
    for part in text.split('|').map(str::trim) {
        mask |= element(part, family).ok_or_else(|| unknown(part, family))?;
    }
    Ok(mask)
}

fn element(part: &str, family: Family) -> Option<u32> {
    if family == Family::Digests && !part.starts_with("CHKSUM") {
        return None;
    }
    if let Some((_, bit)) = BITS.iter().find(|(name, _)| *name == part) {
        return Some(*bit);
    }
    if let Some(hex) = part.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok();
    }
    match part.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ => part.parse().ok(),
    }
}

fn unknown(part: &str, family: Family) -> Error {
    let prefix = match family {
        Family::Compressions => "COMPRESS",
        Family::Digests => "CHKSUM",
    };
    let names: Vec<&str> = BITS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.starts_with(prefix))
        .collect();
    Error::usage(format!("'{part}' is no feature of this kind"))
        .hint(format!("names joined by |: {}", names.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_become_bits() {
        let c = |text| parse(text, Family::Compressions);
        assert_eq!(c("COMPRESS_LZO | COMPRESS_ZLIB").unwrap(), 0x0500_0000);
        assert_eq!(c("0x02000000|1").unwrap(), 0x0200_0001);
        assert_eq!(c("010").unwrap(), 8);
        assert_eq!(c("0").unwrap(), 0);
        for bad in ["", "COMPRESS_LZ5", "0x", "08", "-1", "COMPRESS_LZO||1"] {
            assert!(c(bad).is_err(), "{bad}");
        }
        let d = |text| parse(text, Family::Digests);
        assert_eq!(d("CHKSUM_MD5|CHKSUM_CRC32C").unwrap(), 0x0006_0000);
        assert!(d("0x00060000").is_err(), "digests go by name");
        assert!(d("COMPRESS_LZO").is_err());
    }
}
