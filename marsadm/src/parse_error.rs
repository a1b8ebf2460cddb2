//! Errors of the command line in this program's own words, in every form of output.

use crate::cli::Cli;
use crate::error::Error;
use crate::error_code::Code;
use crate::shown::shown;
use crate::suggest;
use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// The command of a command line, with its sub-command if it has one.
#[must_use]
pub fn whole_verb(args: &[OsString], verb: &str) -> String {
    let command = Cli::command();
    let Some(found) = command.find_subcommand(verb) else {
        return verb.to_owned();
    };
    let words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    let mut words = words.take_while(|word| *word != "--");
    match words.find(|word| found.find_subcommand(word).is_some()) {
        Some(sub) => format!("{verb} {sub}"),
        None => verb.to_owned(),
    }
}

/// The help of the command of a command line; nothing if there is no such command.
#[must_use]
pub fn help_of(args: &[OsString], verb: &str) -> Option<String> {
    let words = whole_verb(args, verb);
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    crate::commands::reading_help::of(&words).ok()
}

/// The failure that a wrong command line is.
#[must_use]
pub fn from_clap(error: &clap::Error, verb: Option<&str>) -> Error {
    let text = |kind| error.get(kind).map(plain).unwrap_or_default();
    let argument = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue);
    let (code, why) = match error.kind() {
        ErrorKind::InvalidSubcommand => (
            Code::UnknownCommand,
            format!(
                "there is no command '{}'",
                text(ContextKind::InvalidSubcommand)
            ),
        ),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            (Code::CommandLine, "a command is missing".to_owned())
        }
        ErrorKind::MissingRequiredArgument => (Code::CommandLine, format!("{argument} is missing")),
        ErrorKind::UnknownArgument if argument.starts_with('-') => (
            Code::CommandLine,
            format!("option {argument} is not known to this command"),
        ),
        ErrorKind::UnknownArgument => (Code::CommandLine, format!("'{argument}' is too much")),
        ErrorKind::InvalidValue if value.is_empty() => {
            (Code::CommandLine, format!("{argument} needs a value"))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map_or_else(
                || match text(ContextKind::ValidValue) {
                    valid if valid.is_empty() => String::new(),
                    valid => format!(": one of {valid}"),
                },
                |reason| format!(": {}", own_words(&reason.to_string())),
            );
            (
                Code::CommandLine,
                format!("'{value}' is no value for {argument}{reason}"),
            )
        }
        ErrorKind::ArgumentConflict => {
            let prior = text(ContextKind::PriorArg);
            let why = if prior.is_empty() {
                format!("{argument} was given twice")
            } else {
                format!("{argument} and {prior} exclude each other")
            };
            (Code::CommandLine, why)
        }
        ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues if verb == Some("set-link") => {
            (Code::CommandLine, "a value without a key".to_owned())
        }
        _ => (Code::CommandLine, first_line(error)),
    };
    let near = suggestions(error, verb, code);
    let nested = verb.is_some_and(|verb| Cli::command().find_subcommand(verb).is_some());
    let help = match verb {
        Some(verb) if code != Code::UnknownCommand || nested => format!("marsadm {verb} --help"),
        _ => "marsadm --help".to_owned(),
    };
    let hint = if !near.is_empty() {
        format!("did you mean {}? See {help}", near.join(" or "))
    } else if verb == Some("set-link") && (argument.contains("PATH") || argument.starts_with('-')) {
        format!(
            "set-link VALUE PATH [VALUE PATH..], and if a value begins with '-': set-link -- VALUE PATH; see {help}"
        )
    } else if verb == Some("log convert") && !argument.starts_with('-') {
        format!("log convert FILE --to PATH; see {help}")
    } else {
        format!("see {help}")
    };
    let error = Error::of(code, why).hint(hint);
    match verb {
        Some(verb) if code != Code::UnknownCommand || nested => error.about(verb),
        _ => error,
    }
}

/// The failure that a word is which is no command; nothing if it is one.
#[must_use]
pub fn unknown_command(word: &str) -> Option<Error> {
    let command = Cli::command();
    if command.find_subcommand(word).is_some() {
        return None;
    }
    let near = near_commands(&command, word);
    let hint = if near.is_empty() {
        "see marsadm --help".to_owned()
    } else {
        format!("did you mean {}? See marsadm --help", near.join(" or "))
    };
    let why = format!("there is no command '{}'", shown(word));
    Some(Error::of(Code::UnknownCommand, why).hint(hint))
}

/// The sub-commands that are most like a word.
fn near_commands(above: &clap::Command, wrong: &str) -> Vec<String> {
    let known: Vec<String> = above
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .flat_map(|sub| std::iter::once(sub.get_name()).chain(sub.get_visible_aliases()))
        .map(str::to_owned)
        .collect();
    let near = suggest::similar(wrong, &known);
    near.into_iter().map(str::to_owned).collect()
}

/// Words that the wrong one may have been meant for.
fn suggestions(error: &clap::Error, verb: Option<&str>, code: Code) -> Vec<String> {
    let text = |kind| error.get(kind).map(plain).unwrap_or_default();
    let near = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let mut near: Vec<String> = near
        .into_iter()
        .map(text)
        .filter(|name| !name.is_empty())
        .collect();
    if code == Code::UnknownCommand {
        let wrong = text(ContextKind::InvalidSubcommand);
        let command = Cli::command();
        let above = verb.and_then(|verb| command.find_subcommand(verb));
        let similar = near_commands(above.unwrap_or(&command), &wrong);
        if !similar.is_empty() {
            near = similar;
        }
    }
    near
}

/// What Rust says of a text that is no number, in words for people.
fn own_words(reason: &str) -> String {
    let words = match reason {
        "invalid digit found in string" => "it is no whole number",
        "cannot parse integer from empty string" => "a number is missing",
        "number too large to fit in target type" => "the number is too large",
        "number too small to fit in target type" => "the number is too small",
        "invalid float literal" => "it is no number",
        "provided string was not `true` or `false`" => "true or false is wanted",
        other => other,
    };
    words.to_owned()
}

fn plain(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(list) => list.join(", "),
        other => other.to_string(),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_given_beside_wrong_words() {
        let help = |line: &str, verb: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            help_of(&args, verb)
        };
        let clock = help("marsadm clock repair --help", "clock").unwrap();
        assert!(clock.contains("marsadm clock epoch"), "{clock}");
        let dump = help("marsadm log dump --help --x", "log").unwrap();
        assert!(dump.contains("marsadm log dump"), "{dump}");
        assert_eq!(help("marsadm nosuch --help", "nosuch"), None);
    }

    #[test]
    fn wrong_numbers_are_told_in_our_words() {
        for (args, why) in [
            (["wait-cluster", "--window=x"], "it is no whole number"),
            (["wait-cluster", "--window="], "value"),
            (
                ["wait-cluster", "--window=99999999999999999999999"],
                "too large",
            ),
            (
                ["log-rotate", "--thresh-logfiles=1x"],
                "it is no whole number",
            ),
        ] {
            let line = ["marsadm", args[0], args[1]];
            let error = Cli::command().try_get_matches_from(line).unwrap_err();
            let told = from_clap(&error, Some(args[0])).why;
            assert!(told.contains(why), "{args:?}: {told}");
            assert!(!told.contains("in string"), "{args:?}: {told}");
            assert!(!told.contains("target type"), "{args:?}: {told}");
        }
    }
}
