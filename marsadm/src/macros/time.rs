//! Times in words, always in UTC: a snapshot is read anywhere.

use mars_gossip::Utc;

/// Replaces each `sec.nsec` in a text by date and time, with the fraction if `fraction`.
pub(crate) fn local_times(text: &str, fraction: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = run(rest);
        let after = &rest[digits..];
        let decimals = after.strip_prefix('.').map_or(0, run);
        let seconds = rest[..digits].parse::<u64>().ok();
        match seconds.filter(|_| (9..=12).contains(&digits) && decimals == 9) {
            Some(seconds) => {
                out.push_str(&Utc(seconds).without_zone());
                if fraction {
                    out.push_str(&after[..=decimals]);
                }
                rest = &after[decimals + 1..];
            }
            None => {
                out.push_str(&rest[..digits]);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn run(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_become_dates() {
        let text = "x 1699999005.200000000 1.5 951782400.000000001 123";
        assert_eq!(
            local_times(text, false),
            "x 2023-11-14 21:56:45 1.5 2000-02-29 00:00:00 123"
        );
        assert_eq!(
            local_times("1699999005.200000001", true),
            "2023-11-14 21:56:45.200000001"
        );
    }
}
