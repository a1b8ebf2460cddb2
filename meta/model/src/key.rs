//! Keys: legacy paths relative to `/mars`, and the grammar of host and resource names.

use crate::escaped;
use crate::limits::{KEY_DEPTH_MAX, KEY_LEN_MAX, KEY_PART_LEN_MAX, NAME_LEN_MAX};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A key: one to four parts joined by `/`, relative to `/mars`, for example
/// `resource-mydata/todo-hosta/attach`. Ordered by bytes. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a text is no key. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// The text is empty (or just `/mars`).
    #[error("the key is empty: name a path below /mars, for example userspace/note")]
    Empty,
    /// An absolute path outside of `/mars`.
    #[error("key '{0}' is an absolute path outside of /mars: keys are paths below /mars")]
    Outside(String),
    /// A part is empty: two slashes in a row, or one at the end.
    #[error("key '{0}' has an empty part: remove the doubled or trailing slash")]
    EmptyPart(String),
    /// A part is `.` or `..`.
    #[error("key '{0}' has the part '.' or '..': keys are names, not walks through a tree")]
    Dots(String),
    /// The text holds a NUL byte.
    #[error("key '{0}' holds a NUL byte")]
    Nul(String),
    /// More parts than [`KEY_DEPTH_MAX`].
    #[error("key '{0}' has more than {KEY_DEPTH_MAX} parts")]
    TooDeep(String),
    /// Longer than [`KEY_LEN_MAX`], or a part longer than [`KEY_PART_LEN_MAX`].
    #[error(
        "key of {0} bytes is too long: at most {KEY_LEN_MAX} in all and {KEY_PART_LEN_MAX} a part"
    )]
    TooLong(usize),
}

impl Key {
    /// Takes a path with or without a leading `/mars/`.
    ///
    /// # Errors
    /// [`ParseKeyError`] names the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, ParseKeyError> {
        let shown = || escaped(text);
        let path = match text.strip_prefix('/') {
            None => text,
            Some(_) if text == "/mars" || text == "/mars/" => return Err(ParseKeyError::Empty),
            Some(rest) => rest
                .strip_prefix("mars/")
                .ok_or_else(|| ParseKeyError::Outside(shown()))?,
        };
        if is_plain(path) {
            return Ok(Self(path.into()));
        }
        if path.is_empty() {
            return Err(ParseKeyError::Empty);
        }
        if path.len() > KEY_LEN_MAX {
            return Err(ParseKeyError::TooLong(path.len()));
        }
        if path.contains('\0') {
            return Err(ParseKeyError::Nul(shown()));
        }
        let mut depth = 0;
        for part in path.split('/') {
            depth += 1;
            if part.is_empty() {
                return Err(ParseKeyError::EmptyPart(shown()));
            }
            if part == "." || part == ".." {
                return Err(ParseKeyError::Dots(shown()));
            }
            if part.len() > KEY_PART_LEN_MAX {
                return Err(ParseKeyError::TooLong(part.len()));
            }
        }
        if depth > KEY_DEPTH_MAX {
            return Err(ParseKeyError::TooDeep(shown()));
        }
        Ok(Self(path.into()))
    }

    /// The key as text, without a leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts from the root to the leaf.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

/// Whether a path follows all rules, in one pass. Parts that begin with a dot are left to a closer look.
fn is_plain(path: &str) -> bool {
    let (mut depth, mut part) = (1, 0);
    for byte in path.bytes() {
        match byte {
            b'/' if part > 0 => (depth, part) = (depth + 1, 0),
            b'.' if part == 0 => return false,
            0 | b'/' => return false,
            _ => part += 1,
        }
        if part > KEY_PART_LEN_MAX {
            return false;
        }
    }
    part > 0 && depth <= KEY_DEPTH_MAX && path.len() <= KEY_LEN_MAX
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", &*self.0)
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is no host or resource name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Wrong characters, wrong first character, empty, or too long.
    #[error(
        "'{0}' is no valid {1} name: letters, digits, '_' and '-', not beginning with '-', \
         at most {NAME_LEN_MAX} bytes"
    )]
    Grammar(String, &'static str),
    /// One of the words that have a meaning of their own.
    #[error("'{0}' is a reserved word and cannot name a {1}: choose another name")]
    Reserved(String, &'static str),
}

const RESERVED: [&str; 9] = [
    "none",
    "all",
    "any",
    "full",
    "empty",
    "undefined",
    "remote",
    "local",
    "localhost",
];

/// Whether a word has a meaning of its own where names stand, so that nothing may be called so.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Checks the grammar that the original uses for hosts, resources and devices. `kind` is the word used in
/// the error text.
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str, kind: &'static str) -> Result<(), NameError> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty()
        || name.len() > NAME_LEN_MAX
        || name.starts_with('-')
        || !name.bytes().all(ok)
    {
        return Err(NameError::Grammar(escaped(name), kind));
    }
    if is_reserved(name) {
        return Err(NameError::Reserved(name.to_owned(), kind));
    }
    Ok(())
}

/// [`check_name`] for a host.
///
/// # Errors
/// [`NameError`].
pub fn check_host_name(name: &str) -> Result<(), NameError> {
    check_name(name, "host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_paths_with_and_without_the_legacy_root() {
        for text in ["uuid", "/mars/uuid"] {
            assert_eq!(Key::parse(text).unwrap().as_str(), "uuid");
        }
        let deep = "resource-r/todo-h/attach";
        assert_eq!(Key::parse(deep).unwrap().parts().count(), 3);
        assert!(Key::parse("a/b/c/d").is_ok());
    }

    #[test]
    fn names_the_broken_rule() {
        use ParseKeyError as E;
        let text = |s: &str| s.to_owned();
        assert_eq!(Key::parse(""), Err(E::Empty));
        assert_eq!(Key::parse("/mars/"), Err(E::Empty));
        assert_eq!(
            Key::parse("/etc/passwd"),
            Err(E::Outside(text("/etc/passwd")))
        );
        assert_eq!(Key::parse("a//b"), Err(E::EmptyPart(text("a//b"))));
        assert_eq!(Key::parse("a/"), Err(E::EmptyPart(text("a/"))));
        assert_eq!(Key::parse("a/../b"), Err(E::Dots(text("a/../b"))));
        assert_eq!(
            Key::parse("/mars/../etc"),
            Err(E::Dots(text("/mars/../etc")))
        );
        assert_eq!(Key::parse("a/./b"), Err(E::Dots(text("a/./b"))));
        assert_eq!(Key::parse("a\0b"), Err(E::Nul(text("a\\x00b"))));
        assert_eq!(Key::parse("a/b/c/d/e"), Err(E::TooDeep(text("a/b/c/d/e"))));
        assert_eq!(Key::parse(&"x".repeat(1024)), Err(E::TooLong(1024)));
        assert_eq!(Key::parse(&"x".repeat(256)), Err(E::TooLong(256)));
        assert!(Key::parse(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn names_follow_the_original_grammar() {
        for good in ["hosta", "bs7", "istore-test-bs7", "A_b", &"x".repeat(63)] {
            assert!(check_host_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a.b",
            "a/b",
            "a b",
            "(none)",
            "all",
            "local",
            &"x".repeat(64),
        ] {
            assert!(check_host_name(bad).is_err(), "{bad}");
        }
    }
}
