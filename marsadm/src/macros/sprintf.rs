//! Formats in the manner of C's `printf`.

use super::number::{Num, exponent_suffix, general};
use crate::limits::{MACRO_TEXT_MAX, MACRO_WIDTH_MAX};

#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    blank: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats `args`; missing ones count as empty, what is no conversion stays as it is.
pub(crate) fn sprintf(format: &str, args: &[String]) -> String {
    let chars: Vec<char> = format.chars().collect();
    let mut args = args.iter();
    let mut out = String::new();
    let mut at = 0;
    // What is longer than any text may be is refused by the caller.
    while at < chars.len() && out.len() <= MACRO_TEXT_MAX {
        if chars[at] != '%' {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let start = at;
        let (spec, end) = parse(&chars, at + 1, &mut args);
        let Some(conversion) = chars.get(end) else {
            out.extend(&chars[start..]);
            break;
        };
        at = end + 1;
        if *conversion == '%' {
            out.push('%');
            continue;
        }
        if !"sdiuxXobBcfFeEgG".contains(*conversion) {
            out.extend(&chars[start..at]);
            continue;
        }
        let arg = args.next().map(String::as_str).unwrap_or_default();
        out.push_str(&convert(*conversion, &spec, arg));
    }
    out
}

fn parse(chars: &[char], mut at: usize, args: &mut std::slice::Iter<'_, String>) -> (Spec, usize) {
    let mut spec = Spec::default();
    loop {
        match chars.get(at) {
            Some('-') => spec.minus = true,
            Some('+') => spec.plus = true,
            Some(' ') => spec.blank = true,
            Some('0') => spec.zero = true,
            Some('#') => spec.sharp = true,
            _ => break,
        }
        at += 1;
    }
    let mut number = |at: &mut usize| {
        if chars.get(*at) == Some(&'*') {
            *at += 1;
            let value = Num::read(args.next().map(String::as_str).unwrap_or_default()).int();
            return (value.unsigned_abs(), value < 0);
        }
        let mut value = 0_u64;
        while let Some(digit) = chars.get(*at).and_then(|c| c.to_digit(10)) {
            value = value.saturating_mul(10).saturating_add(u64::from(digit));
            *at += 1;
        }
        (value, false)
    };
    let limit =
        |value: u64| usize::try_from(value).map_or(MACRO_WIDTH_MAX, |v| v.min(MACRO_WIDTH_MAX));
    let (width, negative) = number(&mut at);
    spec.width = limit(width);
    spec.minus |= negative;
    if chars.get(at) == Some(&'.') {
        at += 1;
        spec.precision = Some(limit(number(&mut at).0));
    }
    while matches!(chars.get(at), Some('l' | 'h' | 'q' | 'L' | 'V')) {
        at += 1;
    }
    (spec, at)
}

fn convert(conversion: char, spec: &Spec, arg: &str) -> String {
    let number = Num::read(arg);
    let mut numeric = true;
    let body = match conversion {
        's' => {
            numeric = false;
            let count = spec.precision.unwrap_or(usize::MAX);
            arg.chars().take(count).collect()
        }
        'c' => {
            numeric = false;
            let code = u32::try_from(number.int()).unwrap_or(0xfffd);
            char::from_u32(code).unwrap_or('\u{fffd}').to_string()
        }
        'd' | 'i' => {
            let value = number.int();
            let digits = value.unsigned_abs().to_string();
            let zeros = spec.precision.unwrap_or(0);
            sign(spec, value < 0) + &format!("{digits:0>zeros$}")
        }
        'u' | 'x' | 'X' | 'o' | 'b' | 'B' => {
            let value = number.int().cast_unsigned();
            let (prefix, digits) = match conversion {
                'x' => ("0x", format!("{value:x}")),
                'X' => ("0X", format!("{value:X}")),
                'o' => ("0", format!("{value:o}")),
                'b' => ("0b", format!("{value:b}")),
                'B' => ("0B", format!("{value:b}")),
                _ => ("", value.to_string()),
            };
            let zeros = spec.precision.unwrap_or(0);
            let prefix = if spec.sharp && value != 0 { prefix } else { "" };
            format!("{prefix}{digits:0>zeros$}")
        }
        _ => floating(conversion, spec, number.float()),
    };
    let missing = spec.width.saturating_sub(body.chars().count());
    let fixed = spec.precision.is_some() && "diuxXobB".contains(conversion);
    if spec.minus {
        body + &" ".repeat(missing)
    } else if spec.zero && !fixed {
        let signed = usize::from(numeric && body.starts_with(['-', '+', ' ']));
        let (sign, digits) = body.split_at(signed);
        format!("{sign}{}{digits}", "0".repeat(missing))
    } else {
        " ".repeat(missing) + &body
    }
}

fn sign(spec: &Spec, negative: bool) -> String {
    if negative {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.blank {
        " "
    } else {
        ""
    }
    .to_owned()
}

fn floating(conversion: char, spec: &Spec, value: f64) -> String {
    let precision = spec.precision.unwrap_or(6);
    let size = value.abs();
    let body = match conversion {
        'f' | 'F' => format!("{size:.precision$}"),
        'e' | 'E' => {
            let text = format!("{size:.precision$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!(
                "{mantissa}{}",
                exponent_suffix(exponent.parse().unwrap_or(0))
            )
        }
        _ => general(size, precision, spec.sharp),
    };
    let body = if conversion.is_ascii_uppercase() {
        body.to_uppercase()
    } else {
        body
    };
    sign(spec, value < 0.0) + &body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions() {
        for (format, args, expected) in [
            ("%.2f%%", &["19.9668"][..], "19.97%"),
            ("%05d|%-4s|%4s|", &["-42", "ab", "cd"], "-0042|ab  |  cd|"),
            ("0x%08x", &["119472128"], "0x071f0000"),
            ("%d %s", &["7.9x"], "7 "),
            ("%*d", &["5", "1"], "    1"),
            ("%y %", &[], "%y %"),
            ("%05s|%B|", &["ab", "5"], "000ab|101|"),
            ("%e %g", &["12345", "0.0001"], "1.234500e+04 0.0001"),
        ] {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            assert_eq!(sprintf(format, &args), expected, "{format}");
        }
        assert!(sprintf("%999999999999999999999s", &[]).len() <= MACRO_WIDTH_MAX);
    }
}
