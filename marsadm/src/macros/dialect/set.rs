//! Sets of bytes, and brackets.

use super::bytes::Input;
use super::escape::{Meaning, common};
use super::{LAST_NEWLINE, RETURN};
use std::fmt::Write as _;

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Set([u64; 4]);

impl Set {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut set = Self::default();
        bytes.iter().for_each(|byte| set.add(*byte));
        set
    }

    pub(super) fn all() -> Self {
        Self([u64::MAX; 4])
    }

    /// A set that has a name in brackets, such as `alpha`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let fits: fn(u8) -> bool = match name {
            "alpha" => |b| b.is_ascii_alphabetic(),
            "digit" => |b| b.is_ascii_digit(),
            "alnum" => |b| b.is_ascii_alphanumeric(),
            "upper" => |b| b.is_ascii_uppercase(),
            "lower" => |b| b.is_ascii_lowercase(),
            "space" => |b| matches!(b, b'\t'..=b'\r' | b' '),
            "blank" => |b| matches!(b, b'\t' | b' '),
            "punct" => |b| b.is_ascii_punctuation(),
            "print" => |b| matches!(b, b' '..=b'~'),
            "graph" => |b| b.is_ascii_graphic(),
            "cntrl" => |b| b.is_ascii_control(),
            "xdigit" => |b| b.is_ascii_hexdigit(),
            "word" => |b| b.is_ascii_alphanumeric() || b == b'_',
            "ascii" => |b| b.is_ascii(),
            _ => return None,
        };
        let mut set = Self::default();
        (0..=u8::MAX).filter(|b| fits(*b)).for_each(|b| set.add(b));
        Some(set)
    }

    fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    fn join(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours |= theirs;
        }
    }

    /// All other bytes.
    pub(super) fn negated(mut self) -> Self {
        self.0.iter_mut().for_each(|bits| *bits = !*bits);
        self
    }

    /// Adds the large letters of small ones, and the other way round.
    pub(super) fn fold(&mut self) {
        for small in b'a'..=b'z' {
            let large = small.to_ascii_uppercase();
            if self.has(small) || self.has(large) {
                self.add(small);
                self.add(large);
            }
        }
    }

    /// Writes it in the crate's syntax, for texts that are marked.
    pub(super) fn write(&self, out: &mut String) {
        let mut set = *self;
        for (real, mark) in [(b'\n', LAST_NEWLINE), (b'\r', RETURN)] {
            if self.has(real) {
                set.add(mark);
            } else {
                set.remove(mark);
            }
        }
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for byte in (0..=u8::MAX).filter(|byte| set.has(*byte)) {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(byte) => *last = byte,
                _ => ranges.push((byte, byte)),
            }
        }
        let _ = match ranges[..] {
            [] => write!(out, "[^\\x00-\\xFF]"),
            [(byte, last)] if byte == last => write!(out, "\\x{byte:02X}"),
            _ => {
                out.push('[');
                for (first, last) in ranges {
                    let _ = if first == last {
                        write!(out, "\\x{first:02X}")
                    } else {
                        write!(out, "\\x{first:02X}-\\x{last:02X}")
                    };
                }
                write!(out, "]")
            }
        };
    }
}

const NO_END: &str = "a `[` has no `]`";

/// Reads what follows a `[`.
pub(super) fn class(input: &mut Input<'_>, fold: bool) -> Result<Set, String> {
    let negated = input.take(b"^");
    let mut set = Set::default();
    let mut first = true;
    loop {
        if !first && input.take(b"]") {
            break;
        }
        first = false;
        let low = match item(input, fold)? {
            Meaning::Set(found) => {
                set.join(&found);
                continue;
            }
            Meaning::Byte(low) => low,
        };
        let range = input.peek() == Some(b'-') && input.rest().get(1).is_some_and(|b| *b != b']');
        if !range {
            set.add(low);
            continue;
        }
        input.next();
        match item(input, fold)? {
            Meaning::Byte(high) if low <= high => (low..=high).for_each(|byte| set.add(byte)),
            Meaning::Byte(high) => {
                let (low, high) = (low.escape_ascii(), high.escape_ascii());
                return Err(format!("the range `{low}-{high}` ends before it begins"));
            }
            // Then the hyphen stands for itself.
            Meaning::Set(found) => {
                set.add(low);
                set.add(b'-');
                set.join(&found);
            }
        }
    }
    if fold {
        set.fold();
    }
    Ok(if negated { set.negated() } else { set })
}

fn item(input: &mut Input<'_>, fold: bool) -> Result<Meaning, String> {
    match input.next().ok_or(NO_END)? {
        b'\\' => {
            let letter = input.next().ok_or(NO_END)?;
            if let Some(meaning) = common(input, letter)? {
                return Ok(meaning);
            }
            match letter {
                b'b' => Ok(Meaning::Byte(0x08)),
                b'N' => Err("`\\N` in brackets is not known".to_owned()),
                b'1'..=b'7' => {
                    let digits = input.rest().len();
                    let low = input.number(8, 2).unwrap_or(0);
                    let digits = digits - input.rest().len();
                    let number = (u32::from(letter - b'0') << (3 * digits)) + low;
                    Ok(match u8::try_from(number) {
                        Ok(byte) => Meaning::Byte(byte),
                        Err(_) => Meaning::Set(Set::default()),
                    })
                }
                other => Ok(Meaning::Byte(other)),
            }
        }
        b'[' => match input.peek() {
            Some(kind @ (b':' | b'.' | b'=')) => named(input, kind, fold),
            _ => Ok(Meaning::Byte(b'[')),
        },
        other => Ok(Meaning::Byte(other)),
    }
}

/// `[:name:]`, whose first bracket was taken; without its end, the bracket stands for itself.
fn named(input: &mut Input<'_>, kind: u8, fold: bool) -> Result<Meaning, String> {
    let rest = &input.rest()[1..];
    let word = |byte: &&u8| byte.is_ascii_alphabetic() || **byte == b'^';
    let length = rest.iter().take_while(word).count();
    if !rest[length..].starts_with(&[kind, b']']) {
        return Ok(Meaning::Byte(b'['));
    }
    if kind != b':' {
        return Err("`[.` and `[=` in brackets are not known".to_owned());
    }
    let name = String::from_utf8_lossy(&rest[..length]).into_owned();
    input.next();
    input.until(b']');
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name, true),
        None => (name.as_str(), false),
    };
    let mut set = Set::named(name).ok_or_else(|| format!("there is no set `[:{name}:]`"))?;
    if fold {
        set.fold();
    }
    Ok(Meaning::Set(if negated { set.negated() } else { set }))
}
