//! Times in words, always in UTC: a snapshot is read anywhere.

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
        let seconds = rest[..digits].parse::<i64>().ok();
        match seconds.filter(|_| (9..=12).contains(&digits) && decimals == 9) {
            Some(seconds) => {
                out.push_str(&date_time(seconds));
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

/// `YYYY-MM-DD HH:MM:SS` of a time since the epoch.
pub(crate) fn date_time(seconds: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The date of a day since the epoch, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 1 March of a year divisible by 400, so that leap days end a year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
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
