//! The bytes of a pattern, from left to right.

/// What is left of a pattern.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next byte, which stays.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// Takes the next byte.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// Takes `text` if it comes next.
    pub(super) fn take(&mut self, text: &[u8]) -> bool {
        let rest = self.bytes.strip_prefix(text);
        self.bytes = rest.unwrap_or(self.bytes);
        rest.is_some()
    }

    /// Takes all up to a byte, and the byte; nothing if it does not come.
    pub(super) fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.bytes.iter().position(|byte| *byte == end)?;
        let (found, rest) = self.bytes.split_at(at);
        self.bytes = &rest[1..];
        Some(found)
    }

    /// Takes the digits of a number, at most `most` of them.
    pub(super) fn number(&mut self, base: u32, most: usize) -> Option<u32> {
        let digit = |byte: &u8| char::from(*byte).to_digit(base);
        let mut value = None;
        for _ in 0..most {
            let Some(digit) = self.bytes.first().and_then(digit) else {
                break;
            };
            self.next();
            value = Some(value.unwrap_or(0_u32).saturating_mul(base) + digit);
        }
        value
    }

    /// Takes the rest of a quantifier in braces, whose first brace was taken, in the crate's syntax. Nothing, and nothing
    /// is taken, if it is none; an error if its numbers are wrong.
    pub(super) fn count(&mut self) -> Option<Result<String, &'static str>> {
        let end = self.bytes.iter().position(|byte| *byte == b'}')?;
        let inner = std::str::from_utf8(&self.bytes[..end]).ok()?;
        let (low, high) = match inner.split_once(',') {
            Some((low, high)) => (low, Some(high)),
            None => (inner, None),
        };
        let clean = |text: &str| text.trim_matches([' ', '\t']).to_owned();
        let (low, high) = (clean(low), high.map(clean));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let all = low.clone() + high.as_deref().unwrap_or_default();
        if all.is_empty() || !digits(&all) {
            return None;
        }
        self.bytes = &self.bytes[end + 1..];
        let number = |text: &str| match text {
            "" => Some(0),
            text => text.parse::<u16>().ok(),
        };
        let Some(first) = number(&low) else {
            return Some(Err(TOO_LARGE));
        };
        Some(match high.as_deref() {
            None => Ok(format!("{{{first}}}")),
            Some("") => Ok(format!("{{{first},}}")),
            Some(high) => match number(high) {
                None => Err(TOO_LARGE),
                Some(last) if last < first => {
                    Err("a quantifier `{m,n}` has the larger number first")
                }
                Some(last) => Ok(format!("{{{first},{last}}}")),
            },
        })
    }
}

const TOO_LARGE: &str = "a quantifier has a number beyond 65535";
