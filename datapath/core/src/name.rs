//! Names of resources and hosts as they stand in file formats.

use std::fmt;
use std::str::FromStr;

use crate::limits::MAX_NAME;

/// A resource or host name: 1 to 63 of `[A-Za-z0-9_-]`, not starting with `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no name: 1 to 63 letters, digits, '_' or '-', not starting with '-'")]
pub struct NameError(String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let good = !text.is_empty()
            && text.len() <= MAX_NAME
            && !text.starts_with('-')
            && text.bytes().all(plain);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.chars().take(2 * MAX_NAME).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "hostA", "istore-test-bs7", "_x", "9", &"n".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a.b", "a/b", "a\0", "\u{e4}", &"n".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
