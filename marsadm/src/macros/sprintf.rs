//! Formats in the manner of Perl's `sprintf`. Widths and precisions count bytes.

use super::number::{Num, exponent_suffix, general};
use crate::limits::{MACRO_TEXT_MAX, MACRO_WIDTH_MAX};

#[derive(Clone, Debug, Default)]
struct Spec {
    /// The argument, from 1, if it is named.
    index: Option<usize>,
    minus: bool,
    plus: bool,
    blank: bool,
    zero: bool,
    sharp: bool,
    /// What stands between the numbers of a text's bytes, if these are wanted.
    vector: Option<Vec<u8>>,
    width: usize,
    precision: Option<usize>,
    /// Bits of a number, if fewer than all are wanted.
    bits: Option<u32>,
    /// The letter at the end.
    conversion: u8,
}

/// The arguments, of which those that are not named are taken one after the other.
struct Args<'a> {
    all: &'a [String],
    next: usize,
}

impl<'a> Args<'a> {
    fn take(&mut self, index: Option<usize>) -> &'a str {
        let at = index.map_or(self.next, |index| index.saturating_sub(1));
        if index.is_none() {
            self.next += 1;
        }
        self.all.get(at).map(String::as_str).unwrap_or_default()
    }
}

/// Formats `args`; missing ones count as empty, what is no conversion stays as it is.
pub(crate) fn sprintf(format: &str, args: &[String]) -> String {
    let bytes = format.as_bytes();
    let mut args = Args { all: args, next: 0 };
    let mut out = Vec::new();
    let mut at = 0;
    // What is longer than any text may be is refused by the caller.
    while at < bytes.len() && out.len() <= MACRO_TEXT_MAX {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let mut reader = Reader {
            bytes,
            at: at + 1,
            args: &mut args,
        };
        let spec = reader.spec();
        let end = reader.at.min(bytes.len());
        match spec {
            Some(spec) => format_one(&spec, &mut args, &mut out),
            None => out.extend(&bytes[at..end]),
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn format_one(spec: &Spec, args: &mut Args<'_>, out: &mut Vec<u8>) {
    if spec.conversion == b'%' {
        let count = spec.precision.unwrap_or(1).min(1);
        pad(spec, ("", &b"%"[..count]), spec.zero, out);
        return;
    }
    let arg = args.take(spec.index);
    let Some(join) = &spec.vector else {
        convert(spec, arg, out);
        return;
    };
    let mut spec = spec.clone();
    for (i, byte) in arg.bytes().enumerate() {
        if i > 0 {
            out.extend(join);
            (spec.plus, spec.blank) = (false, false);
        }
        if out.len() > MACRO_TEXT_MAX {
            break;
        }
        convert(&spec, &byte.to_string(), out);
    }
}

/// Reads what follows a `%`.
struct Reader<'a, 'b> {
    bytes: &'a [u8],
    at: usize,
    args: &'b mut Args<'a>,
}

impl Reader<'_, '_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, text: &[u8]) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = rest.starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// The conversion, and where it ends; nothing if it is none, and then where the text ends that stands for itself.
    fn spec(&mut self) -> Option<Spec> {
        let mut spec = Spec {
            index: self.index(),
            ..Spec::default()
        };
        self.flags(&mut spec);
        self.vector(&mut spec);
        let (width, negative) = self.number();
        spec.width = width;
        spec.minus |= negative;
        if self.take(b".") {
            let (precision, negative) = self.number();
            spec.precision = (!negative).then_some(precision);
        }
        let whole = self.size(&mut spec);
        let letter = self.peek();
        self.at += 1;
        spec.conversion = match letter? {
            letter @ (b'D' | b'U' | b'O') => {
                spec.bits = None;
                letter.to_ascii_lowercase()
            }
            b'i' => b'd',
            b'%' if spec.vector.is_none() => b'%',
            letter => letter,
        };
        let letters: &[u8] = if spec.vector.is_some() {
            b"duxXobB"
        } else {
            b"%scduxXobBfFeEgG"
        };
        let float = b"fFeEgG".contains(&spec.conversion);
        let good = letters.contains(&spec.conversion) && spec.index != Some(0) && !(float && whole);
        good.then_some(spec)
    }

    /// `2$`: which argument is meant.
    fn index(&mut self) -> Option<usize> {
        let start = self.at;
        let value = self.digits();
        if self.at > start && self.take(b"$") {
            return Some(usize::try_from(value).unwrap_or(usize::MAX));
        }
        self.at = start;
        None
    }

    fn flags(&mut self, spec: &mut Spec) {
        loop {
            match self.peek() {
                Some(b'-') => spec.minus = true,
                Some(b'+') => spec.plus = true,
                Some(b' ') => spec.blank = true,
                Some(b'0') => spec.zero = true,
                Some(b'#') => spec.sharp = true,
                _ => break,
            }
            self.at += 1;
        }
    }

    fn vector(&mut self, spec: &mut Spec) {
        let start = self.at;
        let named = self.take(b"*");
        let index = if named { self.index() } else { None };
        if !self.take(b"v") {
            self.at = start;
            return;
        }
        let join = if named { self.args.take(index) } else { "." };
        spec.vector = Some(join.as_bytes().to_vec());
        while self.take(b"0") {
            spec.zero = true;
        }
    }

    /// A width or precision, within its limit, and whether it is negative.
    fn number(&mut self) -> (usize, bool) {
        let (value, negative) = if self.take(b"*") {
            let index = self.index();
            let value = Num::read(self.args.take(index)).int();
            (value.unsigned_abs(), value < 0)
        } else {
            (self.digits(), false)
        };
        let value = usize::try_from(value).unwrap_or(MACRO_WIDTH_MAX);
        (value.min(MACRO_WIDTH_MAX), negative)
    }

    fn digits(&mut self) -> u64 {
        let mut value = 0_u64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = value
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        value
    }

    /// The size of a number; whether it is one of whole numbers only.
    fn size(&mut self, spec: &mut Spec) -> bool {
        let known: [(&[u8], Option<u32>, bool); 10] = [
            (b"hh", Some(8), true),
            (b"h", Some(16), true),
            (b"z", None, true),
            (b"t", None, true),
            (b"j", None, true),
            (b"ll", None, false),
            (b"l", None, false),
            (b"q", None, false),
            (b"L", None, false),
            (b"V", None, false),
        ];
        let found = known.into_iter().find(|(size, ..)| self.take(size));
        spec.bits = found.and_then(|(_, bits, _)| bits);
        found.is_some_and(|(.., whole)| whole)
    }
}

fn convert(spec: &Spec, arg: &str, out: &mut Vec<u8>) {
    let number = Num::read(arg);
    match spec.conversion {
        b's' => {
            let count = spec.precision.unwrap_or(usize::MAX).min(arg.len());
            pad(spec, ("", &arg.as_bytes()[..count]), spec.zero, out);
        }
        b'c' => {
            let code = u32::try_from(number.int()).unwrap_or(0xfffd);
            let c = char::from_u32(code).unwrap_or('\u{fffd}');
            let mut text = c.to_string();
            if spec.precision == Some(0) {
                text.clear();
            }
            pad(spec, ("", text.as_bytes()), spec.zero, out);
        }
        _ if !number.float().is_finite() => {
            let value = number.float();
            // Perl shows a plus for either flag here.
            let plus = (spec.plus || spec.blank) && value > 0.0;
            let text = Num::Float(value).to_string();
            let (sign, text) = match text.strip_prefix('-') {
                Some(text) => ("-", text),
                None => (if plus { "+" } else { "" }, text.as_str()),
            };
            let text = format!("{sign}{text}");
            pad(spec, ("", text.as_bytes()), spec.zero, out);
        }
        b'd' | b'u' | b'x' | b'X' | b'o' | b'b' | b'B' => whole(spec, number.word(), out),
        _ => floating(spec, number.float(), out),
    }
}

/// A whole number, as its 64 bits.
fn whole(spec: &Spec, word: u64, out: &mut Vec<u8>) {
    let unused = 64 - spec.bits.unwrap_or(64);
    let (prefix, digits) = if spec.conversion == b'd' {
        let value = (word << unused).cast_signed() >> unused;
        (sign(spec, value < 0), value.unsigned_abs().to_string())
    } else {
        let value = (word << unused) >> unused;
        let (prefix, digits) = match spec.conversion {
            b'x' => ("0x", format!("{value:x}")),
            b'X' => ("0X", format!("{value:X}")),
            b'o' => ("", format!("{value:o}")),
            b'b' => ("0b", format!("{value:b}")),
            b'B' => ("0B", format!("{value:b}")),
            _ => ("", value.to_string()),
        };
        let sharp = spec.sharp && value != 0;
        (if sharp { prefix } else { "" }, digits)
    };
    let zeros = spec.precision.unwrap_or(1);
    let digits = digits.trim_start_matches('0');
    let mut digits = format!("{digits:0>zeros$}");
    if spec.conversion == b'o' && spec.sharp && !digits.starts_with('0') {
        digits.insert(0, '0');
    }
    let zero = spec.zero && spec.precision.is_none();
    pad(spec, (prefix, digits.as_bytes()), zero, out);
}

fn sign(spec: &Spec, negative: bool) -> &'static str {
    if negative {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.blank {
        " "
    } else {
        ""
    }
}

fn floating(spec: &Spec, value: f64, out: &mut Vec<u8>) {
    let precision = spec.precision.unwrap_or(6);
    let size = value.abs();
    let point = if spec.sharp && precision == 0 {
        "."
    } else {
        ""
    };
    let body = match spec.conversion {
        b'f' | b'F' => format!("{size:.precision$}{point}"),
        b'e' | b'E' => {
            let text = format!("{size:.precision$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent = exponent_suffix(exponent.parse().unwrap_or(0));
            format!("{mantissa}{point}{exponent}")
        }
        _ if size == 0.0 && spec.sharp => {
            format!("0.{}", "0".repeat(precision.saturating_sub(1)))
        }
        _ => general(size, precision, spec.sharp),
    };
    let body = if spec.conversion.is_ascii_uppercase() {
        body.to_uppercase()
    } else {
        body
    };
    let sign = sign(spec, value.is_sign_negative());
    pad(spec, (sign, body.as_bytes()), spec.zero, out);
}

/// Writes what stands before the digits and these, and fills up to the width.
fn pad(spec: &Spec, (prefix, body): (&str, &[u8]), zero: bool, out: &mut Vec<u8>) {
    let missing = spec.width.saturating_sub(prefix.len() + body.len());
    let fill = |byte: u8, out: &mut Vec<u8>| out.extend(std::iter::repeat_n(byte, missing));
    if !spec.minus && !zero {
        fill(b' ', out);
    }
    out.extend(prefix.as_bytes());
    if !spec.minus && zero {
        fill(b'0', out);
    }
    out.extend(body);
    if spec.minus {
        fill(b' ', out);
    }
}

#[cfg(test)]
mod tests;
