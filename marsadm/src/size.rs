//! Sizes as the original writes them: small letters count in thousands, capital ones in 1024s.

use crate::error::{Error, Result};

/// Bytes of a size such as `256M`, `1.5g` or `4096`.
///
/// # Errors
/// If the text is no size, or not a whole number of bytes that fits.
pub fn parse_size(text: &str) -> Result<u64> {
    let error = || {
        Error::usage(format!(
            "'{text}' is no size: digits, then one of k m g t p (thousands) or K M G T P (1024s)"
        ))
        .hint("for example 256M")
    };
    let (number, factor) = match text.char_indices().next_back() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            let power = "kmgtp"
                .find(unit.to_ascii_lowercase())
                .and_then(|p| u32::try_from(p).ok())
                .ok_or_else(error)?;
            let base: u64 = if unit.is_ascii_lowercase() {
                1000
            } else {
                1024
            };
            (&text[..at], base.pow(power + 1))
        }
        _ => (text, 1),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 15 {
        return Err(error());
    }
    let whole: u64 = whole.parse().map_err(|_| error())?;
    let mut bytes = whole.checked_mul(factor).ok_or_else(error)?;
    if !fraction.is_empty() {
        let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| error())?);
        let part: u128 = fraction.parse().map_err(|_| error())?;
        let part = u64::try_from(part * u128::from(factor) / scale).map_err(|_| error())?;
        bytes = bytes.checked_add(part).ok_or_else(error)?;
    }
    Ok(bytes)
}

/// Bytes for people: `256.0 MiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    let mut unit = 0;
    let mut scaled = u128::from(bytes) * 10;
    while scaled >= 10_240 && unit < 5 {
        scaled /= 1024;
        unit += 1;
    }
    let name = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit];
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{}.{} {name}", scaled / 10, scaled % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_differ_by_case() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1k", 1000),
            ("1K", 1024),
            ("256M", 256 << 20),
            ("1.5G", 3 << 29),
            ("2.g", 2_000_000_000),
            ("1P", 1 << 50),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for bad in [
            "",
            "M",
            "1X",
            "-1",
            "1,5G",
            ".5G",
            "99999999P",
            "1 G",
            "1MB",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_for_people() {
        assert_eq!(human(512), "512 B");
        assert_eq!(human(256 << 20), "256.0 MiB");
        assert_eq!(human(1536 << 20), "1.5 GiB");
    }
}
