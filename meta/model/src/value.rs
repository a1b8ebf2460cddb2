//! Values: what a symlink's target was.

use crate::limits::VALUE_LEN_MAX;
use std::fmt;
use std::sync::Arc;

/// The text that stands for a tombstone where the legacy tree has one; no value may read so.
pub const TOMBSTONE_TEXT: &str = ".deleted";

/// 1 to 4,095 bytes without NUL, not `.deleted`. UTF-8 in all keys of our own, any bytes in imported ones.
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Arc<[u8]>);

/// Why bytes are no value. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseValueError {
    /// No bytes at all.
    #[error("the value is empty: to remove a key use delete-file")]
    Empty,
    /// Longer than [`VALUE_LEN_MAX`].
    #[error("the value has {0} bytes, at most {VALUE_LEN_MAX} are taken")]
    TooLong(usize),
    /// A NUL byte.
    #[error("the value holds a NUL byte")]
    Nul,
    /// The reserved text of a tombstone.
    #[error("'.deleted' marks a deleted key and is no value: use delete-file")]
    Tombstone,
}

impl Value {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// [`ParseValueError`] names the rule that they break.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, ParseValueError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(ParseValueError::Empty);
        }
        if bytes.len() > VALUE_LEN_MAX {
            return Err(ParseValueError::TooLong(bytes.len()));
        }
        if bytes.contains(&0) {
            return Err(ParseValueError::Nul);
        }
        if &*bytes == TOMBSTONE_TEXT.as_bytes() {
            return Err(ParseValueError::Tombstone);
        }
        Ok(Self(bytes))
    }

    /// A value of text.
    ///
    /// # Errors
    /// As [`Value::new`].
    pub fn text(text: &str) -> Result<Self, ParseValueError> {
        Self::new(text.as_bytes())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if the bytes are UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_and_above() {
        assert_eq!(Value::text(""), Err(ParseValueError::Empty));
        assert_eq!(Value::text(".deleted"), Err(ParseValueError::Tombstone));
        assert_eq!(Value::text("a\0"), Err(ParseValueError::Nul));
        assert!(Value::new(vec![b'x'; VALUE_LEN_MAX]).is_ok());
        assert_eq!(
            Value::new(vec![b'x'; 4096]),
            Err(ParseValueError::TooLong(4096))
        );
        assert_eq!(Value::new(vec![0xff]).unwrap().as_str(), None);
    }
}
