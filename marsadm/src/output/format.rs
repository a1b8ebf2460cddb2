//! The forms of output.

use clap::ValueEnum;
use std::ffi::OsString;

/// In which form data go to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people; of the original's commands: what its scripts know
    #[default]
    Table,
    /// One JSON document per command, also of a failure
    Json,
    /// One JSON document per line and item
    Ndjson,
}

impl Format {
    /// Whether programs read the output.
    #[must_use]
    pub const fn is_structured(self) -> bool {
        !matches!(self, Self::Table)
    }

    /// The form that a command line asks for, also of one that cannot be parsed: the last `-o` or `--output`, else
    /// the environment variable MARS_OUTPUT.
    #[must_use]
    pub fn wanted(args: &[OsString]) -> Self {
        let mut wanted = std::env::var("MARS_OUTPUT").unwrap_or_default();
        let mut rest = args.iter().skip(1).map(|arg| arg.to_str().unwrap_or(""));
        while let Some(arg) = rest.next() {
            let value = match arg {
                "--" => break,
                "-o" | "--output" => rest.next(),
                _ => arg
                    .strip_prefix("--output=")
                    .or_else(|| arg.strip_prefix("-o"))
                    .map(|value| value.trim_start_matches('=')),
            };
            if let Some(value) = value {
                value.clone_into(&mut wanted);
            }
        }
        Self::from_str(&wanted, true).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_found_in_a_wrong_command_line_too() {
        let wanted = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Format::wanted(&args)
        };
        assert_eq!(wanted("marsadm nonsense -o json --what"), Format::Json);
        assert_eq!(wanted("marsadm --output=ndjson"), Format::Ndjson);
        assert_eq!(wanted("marsadm -ojson x"), Format::Json);
        assert_eq!(wanted("marsadm -o"), Format::Table);
        assert_eq!(wanted("marsadm set-link -- -o json"), Format::Table);
    }
}
