//! Numbers in macros: reading, arithmetic, and the forms in which they are shown.

use std::fmt;

/// A number: whole as long as possible, else floating point.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Num {
    /// A whole number, from -2^63 to 2^64 - 1.
    Int(i128),
    /// Any other number.
    Float(f64),
}

/// The smallest and the largest whole numbers.
const WHOLE: std::ops::RangeInclusive<i128> = -(1 << 63)..=(1 << 64) - 1;
/// Up to here each whole number is a floating point number too.
const EXACT: i128 = 1 << 53;

impl Num {
    /// Reads the number at the beginning of a text; what follows it, and all from the first comma on, is ignored.
    pub(crate) fn read(text: &str) -> Self {
        let text = text.split(',').next().unwrap_or_default();
        let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
        let bytes = text.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
        let mut end = digits(sign);
        let whole = end;
        let mut found = end > sign;
        if bytes.get(end) == Some(&b'.') {
            let fraction = digits(end + 1);
            found |= fraction > end + 1;
            end = fraction;
        }
        if text.is_empty() {
            return Self::Int(0);
        }
        if !found {
            return word(bytes);
        }
        let mantissa = end;
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let from = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
            let exponent = digits(from);
            if exponent > from {
                end = exponent;
            }
        }
        // With something behind it, it counts as broken even if it is whole.
        let alone = text[end..].trim_ascii_end().is_empty();
        if end == whole
            && alone
            && let Ok(value) = text[..end].parse()
            && WHOLE.contains(&value)
        {
            return Self::Int(value);
        }
        let value = text[..end].parse().unwrap_or(0.0);
        // So does one with a point and no exponent.
        if alone && end > mantissa {
            return whole_float(value, &WHOLE).map_or(Self::Float(value), Self::Int);
        }
        Self::Float(value)
    }

    /// The nearest floating point number.
    #[expect(clippy::cast_precision_loss, reason = "that is what it is for")]
    pub(crate) fn float(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// The whole part, within the range of the type.
    pub(crate) fn int(self) -> i64 {
        let whole = self.whole();
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }

    /// The whole part as 64 bits: beyond the range, that which is nearest.
    pub(crate) fn word(self) -> u64 {
        let whole = self.whole().clamp(*WHOLE.start(), *WHOLE.end());
        u64::try_from(whole).unwrap_or_else(|_| self.int().cast_unsigned())
    }

    #[expect(clippy::cast_possible_truncation, reason = "saturates by definition")]
    fn whole(self) -> i128 {
        match self {
            Self::Int(value) => value,
            Self::Float(value) => value as i128,
        }
    }

    /// The result of a calculation as what it counts as in the next one: whole if it is exactly so.
    pub(crate) fn settled(self) -> Self {
        match self {
            Self::Float(value) => {
                whole_float(value, &(1 - EXACT..=EXACT - 1)).map_or(self, Self::Int)
            }
            whole => whole,
        }
    }

    /// Applies an operator; `None` where the result is not defined (division by zero).
    pub(crate) fn apply(self, op: char, other: Self) -> Option<Self> {
        if let (Self::Int(a), Self::Int(b)) = (self, other) {
            let whole = match op {
                '+' => a.checked_add(b),
                '-' => a.checked_sub(b),
                '*' => a.checked_mul(b),
                // Smaller ones are divided as floating point numbers, exactly too, but large results show it.
                '/' if a.abs() > EXACT && a.abs() >= b.abs() && a.checked_rem(b) == Some(0) => {
                    a.checked_div(b)
                }
                _ => None,
            };
            if let Some(value) = whole.filter(|value| WHOLE.contains(value)) {
                return Some(Self::Int(value));
            }
        }
        let (a, b) = (self.float(), other.float());
        match op {
            '+' => Some(Self::Float(a + b)),
            '-' => Some(Self::Float(a - b)),
            '*' => Some(Self::Float(a * b)),
            '/' if b != 0.0 => Some(Self::Float(a / b)),
            '%' => self.rest(other),
            _ => None,
        }
    }

    /// What a division of the whole parts leaves, with the sign of the divisor.
    fn rest(self, other: Self) -> Option<Self> {
        let small = |n: Self| match n {
            Self::Int(_) => true,
            Self::Float(value) => value.abs() < 18_446_744_073_709_551_616.0,
        };
        if small(self) && small(other) {
            let (a, b) = (self.whole(), other.whole());
            let rest = (b != 0).then(|| (a % b + b) % b)?;
            let whole = Some(rest).filter(|rest| WHOLE.contains(rest));
            return Some(whole.map_or_else(|| Self::Float(Self::Int(rest).float()), Self::Int));
        }
        let (a, b) = (self.float(), other.float());
        let size = (b.abs() + 0.5).floor();
        let rest = a.abs() % size;
        let rest = if (a < 0.0) != (b < 0.0) && rest != 0.0 {
            size - rest
        } else {
            rest
        };
        Some(Self::Float(if b < 0.0 { -rest } else { rest }))
    }

    /// Compares by value; not-a-number compares as equal to nothing.
    pub(crate) fn compare(self, other: Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }
}

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => f.write_str(&general(*value, 15, false)),
        }
    }
}

/// A number of 64 bits, as macros count.
impl From<i64> for Num {
    fn from(value: i64) -> Self {
        Self::Int(value.into())
    }
}

/// The words for what is no finite number; else 0.
fn word(bytes: &[u8]) -> Num {
    let (minus, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let begins = |text: &str| {
        let start = rest.get(..text.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
    };
    match (begins("inf"), begins("nan")) {
        (true, _) if minus => Num::Float(f64::NEG_INFINITY),
        (true, _) => Num::Float(f64::INFINITY),
        (_, true) => Num::Float(f64::NAN),
        _ => Num::Float(0.0),
    }
}

/// A floating point number that is whole and in a range.
#[expect(clippy::cast_possible_truncation, reason = "it was found to be whole")]
#[expect(clippy::float_cmp, reason = "a whole number is exactly so")]
fn whole_float(value: f64, range: &std::ops::RangeInclusive<i128>) -> Option<i128> {
    let whole = value as i128;
    (value.trunc() == value && range.contains(&whole)).then_some(whole)
}

/// The whole part of a number, at most the largest one.
#[expect(clippy::cast_possible_truncation, reason = "saturates by definition")]
pub(crate) fn truncate(value: f64) -> i64 {
    value as i64
}

/// A number of bytes as floating point.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes are shown, not computed with"
)]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}

/// The form `%.Ng` of C.
pub(crate) fn general(value: f64, precision: usize, keep_zeros: bool) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".to_owned()
        } else if value > 0.0 {
            "Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let precision = precision.max(1);
    let scientific = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if keep_zeros || !text.contains('.') {
            text.to_owned()
        } else {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    let limit = i64::try_from(precision).unwrap_or(i64::MAX);
    if exponent < -4 || exponent >= limit {
        return format!("{}{}", trim(mantissa), exponent_suffix(exponent));
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// The exponent as C writes it: a sign and at least two digits.
pub(crate) fn exponent_suffix(exponent: i64) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.unsigned_abs())
}

/// A size in bytes: a number and perhaps a unit, of which lower-case ones count 1000, upper-case ones 1024.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let powers = |unit: &str| {
        "kmgtp"
            .find(unit)
            .map(|at| i32::try_from(at + 1).unwrap_or(1))
    };
    let unit = &text[digits.len()..];
    let factor = match unit {
        "" => 1.0,
        unit if unit.len() == 1 && unit == unit.to_lowercase() => 1000_f64.powi(powers(unit)?),
        unit if unit.len() == 1 => 1024_f64.powi(powers(&unit.to_lowercase())?),
        _ => return None,
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !plain || digits.is_empty() {
        return None;
    }
    Some(u64::try_from(truncate(Num::read(digits).float() * factor)).unwrap_or(u64::MAX))
}

const BINARY: [(&str, &str, f64); 5] = [
    ("B", "B", 1.0),
    ("K", "KiB", 1024.0),
    ("M", "MiB", 1_048_576.0),
    ("G", "GiB", 1_073_741_824.0),
    ("T", "TiB", 1_099_511_627_776.0),
];
const DECIMAL: [(&str, &str, f64); 5] = [
    ("b", "B", 1.0),
    ("k", "KB", 1e3),
    ("m", "MB", 1e6),
    ("g", "GB", 1e9),
    ("t", "TB", 1e12),
];

/// The unit in which numbers are shown whose largest is `largest`: its name and factor.
pub(crate) fn unit(wanted: &str, largest: f64) -> (&'static str, f64) {
    let named = BINARY.iter().chain(&DECIMAL).find(|u| u.0 == wanted);
    let index = match largest {
        n if n >= 9.99 * BINARY[4].2 => 4,
        n if n >= 9.99 * BINARY[3].2 => 3,
        n if n >= BINARY[2].2 => 2,
        n if n >= BINARY[1].2 => 1,
        _ => 0,
    };
    let (_, name, factor) = named.unwrap_or(&BINARY[index]);
    (name, *factor)
}

/// Several numbers in one unit: `573.000/2048.000 MiB`.
pub(crate) fn human(wanted: &str, delim: &str, unit_sep: &str, numbers: &[f64]) -> String {
    let largest = numbers.iter().copied().fold(0.0, f64::max);
    let (name, factor) = unit(wanted, largest);
    let delim = if delim.is_empty() { "/" } else { delim };
    let unit_sep = if unit_sep.is_empty() { " " } else { unit_sep };
    let shown: Vec<String> = numbers
        .iter()
        .map(|n| {
            if !n.is_finite() {
                general(*n, 15, false)
            } else if factor > 1.0 {
                format!("{:.3}", n / factor)
            } else {
                truncate(n + 0.1).to_string()
            }
        })
        .collect();
    format!("{}{unit_sep}{name}", shown.join(delim))
}

/// Seconds as `HH:MM:SS`; unknown (empty or negative) as `--:--:--`.
pub(crate) fn seconds(text: &str) -> String {
    let number = Num::read(text);
    if text.is_empty() || number.float() < 0.0 {
        return "--:--:--".to_owned();
    }
    let all = number.int();
    format!("{:02}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60)
}

/// A bar of about `width` characters: done up to `min`, known up to `mid`, of `max`.
pub(crate) fn bar(width: usize, min: f64, mid: f64, max: f64) -> String {
    let max = max.max(1.0);
    let mid = mid.min(max).max(0.0);
    let min = min.min(mid).max(0.0);
    let total = float(u64::try_from(width).unwrap_or(0));
    let (done, known) = (total * min / max, total * mid / max);
    let repeat = |c: &str, count: f64| c.repeat(usize::try_from(truncate(count)).unwrap_or(0));
    let mut out = String::from("[");
    out.push_str(&repeat("=", done - 1.0));
    if done < total {
        out.push('>');
    }
    out.push_str(&repeat(":", known - done - 1.0));
    out.push_str(&repeat(".", total - known));
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_beginning_of_a_text() {
        for (text, shown) in [
            ("", "0"),
            ("12abc", "12"),
            ("1,5", "1"),
            (" -3.50x", "-3.5"),
            ("1e3", "1000"),
            ("e3", "0"),
            (".5", "0.5"),
            ("99999999999999999999", "1e+20"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.84467440737096e+19"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-9223372036854775809", "-9.22337203685478e+18"),
            ("1e15", "1000000000000000"),
            ("1.0e15", "1000000000000000"),
            ("1000000000000000.0", "1e+15"),
            ("1e19", "10000000000000000000"),
            ("1e20", "1e+20"),
            ("inf", "Inf"),
            ("-Infinity", "-Inf"),
            ("+iNFx", "Inf"),
            ("NaNo", "NaN"),
            ("in", "0"),
            ("1e400", "Inf"),
            ("--5", "0"),
            ("\u{b}5", "5"),
            ("5.", "5"),
        ] {
            assert_eq!(Num::read(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn results_print_with_fifteen_digits() {
        let third = Num::Int(1).apply('/', Num::Int(3)).unwrap();
        assert_eq!(third.to_string(), "0.333333333333333");
        let sum = Num::read("0.1").apply('+', Num::read("0.2")).unwrap();
        assert_eq!(sum.to_string(), "0.3");
        assert_eq!(general(1e-5, 15, false), "1e-05");
        assert!(Num::Int(1).apply('/', Num::Int(0)).is_none());
        assert!(Num::Int(1).apply('%', Num::Int(0)).is_none());
        assert_eq!(
            Num::Int(-7).apply('%', Num::Int(3)).unwrap().to_string(),
            "2"
        );
        assert!(Num::from(i64::MIN).apply('/', Num::Int(-1)).is_some());
    }

    /// Each line is what Perl 5.36 prints for the two texts.
    #[test]
    fn arithmetic_is_that_of_perl() {
        for (a, op, b, shown) in [
            ("1000000000000000", '/', "1", "1e+15"),
            ("2251799813685248", '/', "2", "1.12589990684262e+15"),
            ("9007199254740992", '/', "1", "9.00719925474099e+15"),
            ("9007199254740993", '/', "1", "9007199254740993"),
            ("9007199254740993", '/', "3", "3002399751580331"),
            ("-9007199254740994", '/', "2", "-4503599627370497"),
            ("9007199254740992", '/', "2", "4.5035996273705e+15"),
            ("1e17", '/', "1", "100000000000000000"),
            ("6", '/', "4", "1.5"),
            ("-6", '/', "3", "-2"),
            ("2", '/', "inf", "0"),
            ("1e15", '+', "1", "1000000000000001"),
            ("1e15x", '+', "1", "1e+15"),
            ("", '+', "9007199254740993", "9007199254740993"),
            ("x", '+', "1000000000000000", "1e+15"),
            ("30", '%', "-16185617492204429127", "-1.61856174922044e+19"),
            ("-561.122", '%', "-18446744073709551615", "-561.122"),
            ("10e14", '+', "1", "1000000000000001"),
            ("1000000000000000.0", '+', "1", "1e+15"),
            ("1e-1", '+', "1", "1.1"),
            ("9223372036854775807", '+', "1", "9223372036854775808"),
            ("18446744073709551615", '+', "1", "1.84467440737096e+19"),
            ("-9223372036854775808", '-', "1", "-9.22337203685478e+18"),
            ("9223372036854775808", '-', "9223372036854775809", "-1"),
            ("9223372036854775807", '*', "2", "18446744073709551614"),
            ("4294967296", '*', "4294967296", "1.84467440737096e+19"),
            ("-4294967296", '*', "2147483648", "-9223372036854775808"),
            ("inf", '*', "0", "NaN"),
            ("inf", '-', "inf", "NaN"),
            ("inf", '%', "3", "NaN"),
            ("3", '%', "inf", "3"),
            ("-3", '%', "inf", "Inf"),
            ("nan", '%', "3", "NaN"),
            ("7", '%', "-3", "-2"),
            ("-7", '%', "-3", "-1"),
            ("7.9", '%', "3", "1"),
            ("18446744073709551615", '%', "10", "5"),
            ("1e19", '%', "7", "3"),
            ("1e20", '%', "7", "2"),
            ("-7", '%', "1e20", "1e+20"),
            ("1e30", '%', "1e20", "19884624838656"),
        ] {
            let result = Num::read(a).apply(op, Num::read(b)).unwrap();
            assert_eq!(result.to_string(), shown, "{a} {op} {b}");
        }
        assert!(Num::Int(7).apply('%', Num::Float(0.5)).is_none());
        let third = Num::read("9007199254740993").apply('/', Num::Int(3));
        let again = third.unwrap().settled().apply('/', Num::Int(1)).unwrap();
        assert_eq!(again.to_string(), "3.00239975158033e+15");
        for (text, word) in [
            ("-1", u64::MAX),
            ("1e20", u64::MAX),
            ("-1e20", 1 << 63),
            ("1e19", 10_000_000_000_000_000_000),
            ("nan", 0),
        ] {
            assert_eq!(Num::read(text).word(), word, "{text}");
        }
    }

    #[test]
    fn units_change_where_documented() {
        assert_eq!(human("", "", "", &[5.0 * 1_073_741_824.0]), "5120.000 MiB");
        assert_eq!(human("k", "", "", &[1500.0]), "1.500 KB");
        assert_eq!(human("", "", "", &[0.0, 1023.0]), "0/1023 B");
        assert_eq!(seconds("3661.9"), "01:01:01");
        assert_eq!(seconds("-1"), "--:--:--");
    }

    #[test]
    fn bars_have_the_known_shapes() {
        assert_eq!(bar(20, 1.0, 1.0, 1.0), "[===================]");
        assert_eq!(bar(20, 0.0, 0.0, 0.0), "[>....................]");
        assert_eq!(bar(20, 300.0, 900.0, 1510.0), "[==>::::::........]");
    }
}
