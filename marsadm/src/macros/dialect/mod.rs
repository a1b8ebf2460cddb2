//! Patterns as Perl reads them, in the syntax of the crate `regex`.
//!
//! A pattern is a sequence of bytes and is matched against bytes. What comes out uses only what both sides agree on: bytes,
//! sets of bytes, groups, alternatives, quantifiers and a few places. Options are resolved here.
//!
//! Two things that the crate does not know are shown to it by bytes that no text contains ([`marked`]): the newline at the
//! end, before which `$` matches, and the carriage return, which the crate's own sense of lines would take for a newline.

mod bytes;
mod escape;
mod set;

use bytes::Input;
use mars_meta_model::shown;
use set::Set;
use std::borrow::Cow;

/// What stands for the newline at the end of a text; also the crate's end of line where only the end of the text counts.
pub(crate) const LAST_NEWLINE: u8 = 0xff;
/// What stands for a carriage return.
const RETURN: u8 = 0xfe;

/// Before the newline at the end, or at the end.
const TEXT_END: &str = "(?m:$)";
/// Before any newline, or at the end.
const LINE_END: &str = "(?:(?mR:$)|(?m:$))";
/// At the beginning, or behind a newline that is not the last thing in the text.
const LINE_START: &str = "(?mR:^)";
const TEXT_START: &str = "\\A";

/// A text as the patterns of [`translate`] see it: of the same length.
pub(crate) fn marked(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if bytes.last() != Some(&b'\n') && !bytes.contains(&b'\r') {
        return Cow::Borrowed(bytes);
    }
    let mut out: Vec<u8> = bytes.to_vec();
    for byte in &mut out {
        if *byte == b'\r' {
            *byte = RETURN;
        }
    }
    if let Some(last) = out.last_mut().filter(|last| **last == b'\n') {
        *last = LAST_NEWLINE;
    }
    Cow::Owned(out)
}

/// The options of a pattern that bear on its meaning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// `m`: `^` and `$` match at every line.
    pub(crate) lines: bool,
    /// `s`: the dot matches newlines.
    pub(crate) dot_all: bool,
    /// `i`: large and small letters are the same.
    pub(crate) fold: bool,
    /// `x`: blanks and comments mean nothing.
    pub(crate) loose: bool,
    /// `n`: plain groups keep nothing.
    keep_none: bool,
}

/// What a quantifier would belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Item,
    Quantifier,
}

struct Translator<'a> {
    input: Input<'a>,
    out: String,
    flags: Flags,
    /// The options outside of the groups that are open.
    outer: Vec<Flags>,
    groups: usize,
    before: Before,
}

/// Translates a pattern.
///
/// # Errors
/// What is wrong with it, or is not known here.
pub(crate) fn translate(pattern: &str, flags: Flags) -> Result<String, String> {
    let mut translator = Translator {
        input: Input::new(pattern.as_bytes()),
        out: String::new(),
        flags,
        outer: Vec::new(),
        groups: 0,
        before: Before::Nothing,
    };
    translator.run()?;
    Ok(translator.out)
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), String> {
        loop {
            self.skip_blanks();
            let Some(byte) = self.input.next() else {
                break;
            };
            match byte {
                b'\\' => self.escape()?,
                b'[' => {
                    let set = set::class(&mut self.input, self.flags.fold)?;
                    self.set(&set);
                }
                b'(' => self.open()?,
                b')' => {
                    self.flags = self.outer.pop().ok_or("a `)` has no `(`")?;
                    self.out.push(')');
                    self.before = Before::Item;
                }
                b'|' => {
                    self.out.push('|');
                    self.before = Before::Nothing;
                }
                b'^' => self.place(if self.flags.lines {
                    LINE_START
                } else {
                    TEXT_START
                }),
                b'$' => self.place(if self.flags.lines { LINE_END } else { TEXT_END }),
                b'.' if self.flags.dot_all => self.set(&Set::all()),
                b'.' => self.set(&Set::of(b"\n").negated()),
                b'*' | b'+' | b'?' => self.quantifier(&char::from(byte).to_string())?,
                b'{' if self.before == Before::Nothing => self.byte(b'{'),
                b'{' => match self.input.count() {
                    Some(count) => self.quantifier(&count?)?,
                    None => self.byte(b'{'),
                },
                other => self.byte(other),
            }
        }
        if self.outer.is_empty() {
            Ok(())
        } else {
            Err("a `(` has no `)`".to_owned())
        }
    }

    fn skip_blanks(&mut self) {
        while self.flags.loose {
            match self.input.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) => drop(self.input.next()),
                Some(b'#') => while self.input.next().is_some_and(|byte| byte != b'\n') {},
                _ => break,
            }
        }
    }

    /// A place, which takes no text.
    fn place(&mut self, text: &str) {
        self.out.push_str(text);
        self.before = Before::Item;
    }

    fn byte(&mut self, byte: u8) {
        let mut set = Set::of(&[byte]);
        if self.flags.fold {
            set.fold();
        }
        self.set(&set);
    }

    fn set(&mut self, set: &Set) {
        set.write(&mut self.out);
        self.before = Before::Item;
    }

    fn quantifier(&mut self, text: &str) -> Result<(), String> {
        match self.before {
            Before::Nothing => {
                return Err(format!("nothing stands before the quantifier `{text}`"));
            }
            Before::Quantifier => return Err(format!("`{text}` follows another quantifier")),
            Before::Item => {}
        }
        self.out.push_str(text);
        self.skip_blanks();
        match self.input.peek() {
            Some(b'?') => {
                self.input.next();
                self.out.push('?');
            }
            Some(b'+') => return Err(format!("`{text}+`, which gives nothing back, is not known")),
            _ => {}
        }
        self.before = Before::Quantifier;
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        if self.input.take(b"*") {
            return Err("verbs such as `(*FAIL)` are not known".to_owned());
        }
        let flags = self.flags;
        if !self.input.take(b"?") {
            self.groups += usize::from(!flags.keep_none);
            self.out.push_str(if flags.keep_none { "(?:" } else { "(" });
        } else if self.input.take(b"#") {
            while let Some(byte) = self.input.next() {
                if byte == b')' {
                    return Ok(());
                }
            }
            return Err("a comment `(?#` has no end".to_owned());
        } else if let Some(unknown) = self.unknown_group() {
            return Err(format!("{unknown} not known"));
        } else if self.input.take(b"P<") || self.input.take(b"<") {
            self.named(b'>')?;
        } else if self.input.take(b"'") {
            self.named(b'\'')?;
        } else if self.options()? {
            // The options hold to the end of the group around them.
            self.before = Before::Nothing;
            return Ok(());
        } else {
            self.out.push_str("(?:");
        }
        self.outer.push(flags);
        self.before = Before::Nothing;
        Ok(())
    }

    fn unknown_group(&mut self) -> Option<&'static str> {
        let starts = |text: &[u8]| self.input.rest().starts_with(text);
        for (texts, what) in [
            (&["=", "!", "<=", "<!"][..], "look-around is"),
            (&[">"], "groups that give nothing back, `(?>`, are"),
            (&["|"], "groups that begin their count again, `(?|`, are"),
            (
                &["P=", "P>", "R", "&", "+", "0", "1", "2", "3", "4", "5"],
                "references to groups are",
            ),
            (&["6", "7", "8", "9", "-1"], "references to groups are"),
            (&["("], "conditions are"),
            (&["{", "?{"], "code in patterns is"),
        ] {
            if texts.iter().any(|text| starts(text.as_bytes())) {
                return Some(what);
            }
        }
        None
    }

    fn named(&mut self, end: u8) -> Result<(), String> {
        let name = self.input.until(end).ok_or("the name of a group ends")?;
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if name.is_empty() || !name.iter().all(good) || name[0].is_ascii_digit() {
            return Err("the name of a group is no word".to_owned());
        }
        self.groups += 1;
        self.out.push('(');
        Ok(())
    }

    /// Reads `i-x)` or `i-x:`; true for the first, which is no group.
    fn options(&mut self) -> Result<bool, String> {
        let mut on = true;
        if self.input.take(b"^") {
            self.flags = Flags::default();
        }
        // What follows `(?i` to its colon is a group, whose options end with it: the caller keeps those around it.
        loop {
            let flags = &mut self.flags;
            match self.input.next() {
                Some(b'm') => flags.lines = on,
                Some(b's') => flags.dot_all = on,
                Some(b'i') => flags.fold = on,
                Some(b'x') => flags.loose = on,
                Some(b'n') => flags.keep_none = on,
                Some(b'p' | b'a' | b'd' | b'l' | b'u') => {}
                Some(b'-') if on => on = false,
                Some(b')') => return Ok(true),
                Some(b':') => return Ok(false),
                Some(other) => {
                    let other = char::from(other).to_string();
                    return Err(format!("`(?` with `{}` is not known", shown(&other)));
                }
                None => return Err("a `(?` has no end".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
