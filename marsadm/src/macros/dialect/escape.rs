//! What a backslash begins.

use super::bytes::Input;
use super::set::Set;
use super::{TEXT_END, TEXT_START, Translator};

/// A character by its number. `None`: beyond a byte, so that it is in no text.
type Code = Option<u8>;

/// What a backslash stands for inside and outside of brackets.
pub(super) enum Meaning {
    /// A byte.
    Byte(u8),
    /// One of several bytes.
    Set(Set),
}

/// Reads what means the same inside and outside of brackets; `letter` follows the backslash. Nothing for what else a
/// letter or digit could mean.
pub(super) fn common(input: &mut Input<'_>, letter: u8) -> Result<Option<Meaning>, String> {
    let byte = |byte| Ok(Some(Meaning::Byte(byte)));
    let set =
        |set: Set, large: bool| Ok(Some(Meaning::Set(if large { set.negated() } else { set })));
    let large = letter.is_ascii_uppercase();
    match letter {
        b'n' => byte(b'\n'),
        b't' => byte(b'\t'),
        b'r' => byte(b'\r'),
        b'f' => byte(0x0c),
        b'e' => byte(0x1b),
        b'a' => byte(0x07),
        b'd' | b'D' => set(Set::named("digit").unwrap_or_default(), large),
        b's' | b'S' => set(Set::named("space").unwrap_or_default(), large),
        b'w' | b'W' => set(Set::named("word").unwrap_or_default(), large),
        b'h' | b'H' => set(Set::of(b"\t \xa0"), large),
        b'v' | b'V' => set(Set::of(b"\n\x0b\x0c\r\x85"), large),
        b'c' => match input.next() {
            Some(next) if next.is_ascii() => byte(next.to_ascii_uppercase() ^ 0x40),
            _ => Err("`\\c` needs a character".to_owned()),
        },
        b'x' => Ok(Some(code(hexadecimal(input)?))),
        b'o' => {
            let digits = input.take(b"{").then(|| input.until(b'}')).flatten();
            let digits = digits.ok_or("`\\o` needs `{DIGITS}`")?;
            Ok(Some(code(
                Input::new(digits)
                    .number(8, usize::MAX)
                    .map_or(Some(0), |n| u8::try_from(n).ok()),
            )))
        }
        b'0' => Ok(Some(code(
            input.number(8, 2).map_or(Some(0), |n| u8::try_from(n).ok()),
        ))),
        b'p' | b'P' | b'X' => Err(format!(
            "`\\{}`, which asks for properties of characters, is not known: patterns see bytes",
            char::from(letter)
        )),
        b'N' if input.rest().starts_with(b"{U+") => {
            let name = input.until(b'}').ok_or("`\\N{` has no end")?;
            let number = Input::new(&name[3..]).number(16, usize::MAX);
            Ok(Some(code(number.and_then(|n| u8::try_from(n).ok()))))
        }
        _ if letter.is_ascii_alphanumeric() => Ok(None),
        other => byte(other),
    }
}

fn code(code: Code) -> Meaning {
    match code {
        Some(byte) => Meaning::Byte(byte),
        None => Meaning::Set(Set::default()),
    }
}

fn hexadecimal(input: &mut Input<'_>) -> Result<Code, String> {
    let number = if input.take(b"{") {
        let digits = input.until(b'}').ok_or("`\\x{` has no end")?;
        Input::new(digits).number(16, usize::MAX)
    } else {
        input.number(16, 2)
    };
    Ok(number.map_or(Some(0), |number| u8::try_from(number).ok()))
}

impl Translator<'_> {
    /// Translates what follows a backslash outside of brackets.
    pub(super) fn escape(&mut self) -> Result<(), String> {
        let letter = self.input.next().ok_or("a backslash ends it")?;
        if let Some(meaning) = common(&mut self.input, letter)? {
            match meaning {
                Meaning::Byte(byte) => self.byte(byte),
                Meaning::Set(set) => self.set(&set),
            }
            return Ok(());
        }
        match letter {
            b'A' => self.place(TEXT_START),
            b'z' => self.place("\\z"),
            b'Z' => self.place(TEXT_END),
            b'b' | b'B' if self.input.peek() == Some(b'{') => {
                return Err("kinds of bounds, `\\b{..}`, are not known".to_owned());
            }
            b'b' => self.place("\\b"),
            b'B' => self.place("\\B"),
            b'N' => self.not_a_newline()?,
            b'R' => {
                self.out.push_str("(?:");
                Set::of(b"\r").write(&mut self.out);
                Set::of(b"\n").write(&mut self.out);
                self.out.push('|');
                Set::of(b"\n\x0b\x0c\r\x85").write(&mut self.out);
                self.place(")");
            }
            b'K' => {
                return Err(
                    "`\\K` is not known; keep what comes before by a group and `$1`".to_owned(),
                );
            }
            b'G' => return Err("`\\G` is not known".to_owned()),
            b'g' | b'k' => return Err("back references are not known".to_owned()),
            b'1'..=b'9' => self.number(letter)?,
            b'C' => return Err("`\\C` is not known".to_owned()),
            other => self.byte(other),
        }
        Ok(())
    }

    fn not_a_newline(&mut self) -> Result<(), String> {
        let named = self.input.peek() == Some(b'{')
            && Input::new(&self.input.rest()[1..]).count().is_none();
        if named {
            return Err("names of characters, `\\N{..}`, are not known".to_owned());
        }
        self.set(&Set::of(b"\n").negated());
        Ok(())
    }

    /// A group that was seen, or a byte by its octal number.
    fn number(&mut self, first: u8) -> Result<(), String> {
        let rest = self.input.rest();
        let more = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let octal = (b'1'..=b'7').contains(&first);
        let group = std::str::from_utf8(&rest[..more]).unwrap_or_default();
        let group = format!("{}{group}", char::from(first)).parse::<usize>();
        if more == 0 || !octal || group.is_ok_and(|group| group <= self.groups) {
            return Err("back references are not known".to_owned());
        }
        let low = self.input.number(8, 2).unwrap_or(0);
        let digits = rest.len() - self.input.rest().len();
        let high = u32::from(first - b'0') << (3 * digits);
        match u8::try_from(high + low) {
            Ok(byte) => self.byte(byte),
            Err(_) => self.set(&Set::default()),
        }
        Ok(())
    }
}
