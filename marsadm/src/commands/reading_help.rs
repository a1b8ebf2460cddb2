//! The help of the original's reading words, which are answered before the command line is parsed
//! ([`crate::macros::main`]), and of every other command for `help COMMAND`.

use crate::cli::definition;
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::shown::shown;
use crate::suggest;

/// A word that only reads.
struct Word {
    /// The words that mean it.
    names: &'static [&'static str],
    about: &'static str,
    example: &'static str,
}

const WORDS: &[Word] = &[
    Word {
        names: &["role", "state"],
        about: "Print whether this host is the primary of a resource, and who should be if that is another one.",
        example: "marsadm role mydata",
    },
    Word {
        names: &["show"],
        about: "Print the keys that bear on this host, as key=value.",
        example: "marsadm show all",
    },
    Word {
        names: &["show-state", "mars-state"],
        about: "Print the role of this host, and of a secondary whether it is inconsistent, outdated or uptodate.",
        example: "marsadm show-state mydata",
    },
    Word {
        names: &["show-errors"],
        about: "Print the errors and warnings of a resource on this host.",
        example: "marsadm show-errors mydata",
    },
];

/// The words themselves, for completion.
pub fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().flat_map(|word| word.names).copied()
}

/// The help of a reading word; nothing if it is another one.
#[must_use]
pub fn reading(verb: &str) -> Option<String> {
    let (about, example) = if let Some(word) = WORDS.iter().find(|word| word.names.contains(&verb))
    {
        (word.about, word.example.to_owned())
    } else if let Some(name) = verb.strip_prefix("view-").filter(|name| !name.is_empty()) {
        let about = "Evaluate a macro for a resource, a list or all, and print the result; docs/macros.md has their names.";
        (about, format!("marsadm view-{name} mydata"))
    } else if verb.starts_with("pretty") {
        let about = "Print the source of a macro.";
        (about, "marsadm prettyprint-default".to_owned())
    } else {
        return None;
    };
    let arguments = if verb.starts_with("pretty") {
        ""
    } else {
        " [RES [ARG]..]"
    };
    Some(format!(
        "{about}\n\nUsage: marsadm [OPTIONS] {verb}{arguments}\n\nRES is a resource, several joined by commas, or all. \
         Options of the original: --host=HOST, --macro=TEXT, --window=SECS, --verbose.\n\nExample: {example}"
    ))
}

/// The help of a command, or with no words that of the program.
///
/// # Errors
/// If there is no such command.
pub fn of(words: &[String]) -> Result<String> {
    let mut root = definition();
    root.build();
    let mut command = &mut root;
    for word in words {
        if let Some(text) = reading(word) {
            return Ok(text);
        }
        let known: Vec<String> = command
            .get_subcommands()
            .map(|sub| sub.get_name().to_owned())
            .collect();
        let name = word.strip_prefix("force-").unwrap_or(word);
        command = command.find_subcommand_mut(name).ok_or_else(|| {
            let near = suggest::similar(word, &known);
            let hint = if near.is_empty() {
                "marsadm --help lists all commands".to_owned()
            } else {
                format!("did you mean {}?", near.join(" or "))
            };
            let why = format!("there is no command '{}'", shown(word));
            crate::gone::refusal(word).unwrap_or_else(|| {
                Error::of(Code::UnknownCommand, why)
                    .hint(hint)
                    .about("help")
            })
        })?;
    }
    Ok(command.render_long_help().to_string())
}
