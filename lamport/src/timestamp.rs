//! A Lamport stamp and its text form `sec.nsec`.

use std::fmt;
use std::str::FromStr;

/// Nanoseconds since the Unix epoch, as issued or observed by a [`crate::Clock`].
///
/// The text form is `SECONDS.NANOSECONDS` with exactly nine digits behind the dot, as in the
/// modification time of a legacy symlink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

const NS_PER_SEC: u64 = 1_000_000_000;

impl Timestamp {
    /// The stamp before all others; never issued by a clock.
    pub const ZERO: Self = Self(0);

    /// A stamp of `ns` nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// A stamp from whole seconds and the nanoseconds behind them; saturates at the largest stamp.
    #[must_use]
    pub const fn from_parts(secs: u64, nanos: u32) -> Self {
        Self(secs.saturating_mul(NS_PER_SEC).saturating_add(nanos as u64))
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0 / NS_PER_SEC
    }

    /// Nanoseconds within the second, below 10^9.
    #[must_use]
    pub const fn subsec_nanos(self) -> u64 {
        self.0 % NS_PER_SEC
    }

    /// This stamp plus `ns` nanoseconds, saturating.
    #[must_use]
    pub const fn plus_nanos(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this stamp, 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.secs(), self.subsec_nanos())
    }
}

/// Why a text is no stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimestampError(String);

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no stamp of the form SECONDS.NANOSECONDS (nine digits)",
            self.0
        )
    }
}

impl std::error::Error for ParseTimestampError {}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseTimestampError(text.to_owned());
        let (secs, nanos) = text.split_once('.').ok_or_else(error)?;
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(secs) || !digits(nanos) || nanos.len() != 9 {
            return Err(error());
        }
        let secs: u64 = secs.parse().map_err(|_| error())?;
        let nanos: u64 = nanos.parse().map_err(|_| error())?;
        let whole = secs.checked_mul(NS_PER_SEC).ok_or_else(error)?;
        Ok(Self(whole.checked_add(nanos).ok_or_else(error)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_exact_both_ways() {
        for text in [
            "0.000000000",
            "1742550000.100221300",
            "18446744073.709551615",
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "1.5",
            "-1.000000000",
            "1.0000000000",
            "18446744073.709551616",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
