//! `man`: manual pages, generated from the definition of the command line.

use crate::cli::with_examples;
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use clap::{Arg, Command};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Write the manual pages into a folder, one for each command; without --dir print that of COMMAND.
///
/// Example: marsadm man --dir /usr/share/man/man1
/// Example: marsadm man primary | man -l -
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Words of a command; none: marsadm itself
    pub command: Vec<String>,
    /// Folder, which must exist
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// An unknown command, or a folder that cannot be written.
pub fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let pages = pages();
    if let Some(dir) = &args.dir {
        if ctx.opts.dry_run {
            let count = pages.len();
            ctx.ui
                .note(&format!("would write {count} pages into {}", dir.display()));
            return Ok(());
        }
        for (name, text) in &pages {
            let path = dir.join(format!("{name}.1"));
            std::fs::write(&path, text).map_err(|error| {
                let kind = Kind::of_io(&error);
                Error::new(
                    kind,
                    format!("{} cannot be written: {error}", path.display()),
                )
                .hint("name a folder that is there and that you may write")
                .about("man")
            })?;
        }
        ctx.ui.note(&format!("{} pages written", pages.len()));
        return Ok(());
    }
    let words = std::iter::once("marsadm").chain(args.command.iter().map(String::as_str));
    let name = words.collect::<Vec<_>>().join("-");
    let Some((_, text)) = pages.iter().find(|(page, _)| *page == name) else {
        return Err(Error::not_found(format!("there is no page {name}"))
            .hint("see marsadm --help for all commands")
            .about("man"));
    };
    ctx.ui.document("Text", &json!({ "text": text }))?;
    ctx.ui.line(text.trim_end());
    Ok(())
}

/// All pages with their names, that of the program first.
#[must_use]
pub fn pages() -> Vec<(String, String)> {
    let mut root = with_examples();
    root.build();
    let mut out = Vec::new();
    walk("marsadm", None, &root, &mut out);
    out
}

fn walk(name: &str, above: Option<&str>, command: &Command, out: &mut Vec<(String, String)>) {
    out.push((name.to_owned(), page(name, above, command)));
    for sub in visible(command) {
        let sub_name = format!("{name}-{}", sub.get_name());
        walk(&sub_name, Some(name), sub, out);
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn page(name: &str, above: Option<&str>, command: &Command) -> String {
    let mut out = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let upper = escape(&name.to_uppercase());
    line(
        &mut out,
        &format!(".TH {upper} 1 \"\" \"mars {version}\" \"MARS\""),
    );
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    line(&mut out, ".SH NAME");
    line(
        &mut out,
        &format!("{} \\- {}", escape(name), escape(&about)),
    );
    line(&mut out, ".SH SYNOPSIS");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage);
    for one in usage.lines() {
        line(&mut out, &format!(".B {}", escape(one.trim())));
    }
    let long = command
        .get_long_about()
        .map_or_else(|| about.clone(), ToString::to_string);
    let after = command.get_after_help().map(ToString::to_string);
    let text = format!("{long}\n{}", after.unwrap_or_default());
    let (examples, prose): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|one| one.starts_with("Example:"));
    line(&mut out, ".SH DESCRIPTION");
    let prose = prose.join("\n");
    for one in prose.trim().lines() {
        line(
            &mut out,
            &if one.trim().is_empty() {
                ".PP".to_owned()
            } else {
                escape(one)
            },
        );
    }
    section(&mut out, "ARGUMENTS", command.get_positionals(), true);
    let own = |arg: &&Arg| !arg.is_positional() && (above.is_none() || !arg.is_global_set());
    section(
        &mut out,
        "OPTIONS",
        command.get_arguments().filter(own),
        false,
    );
    if visible(command).next().is_some() {
        line(&mut out, ".SH COMMANDS");
        for sub in visible(command) {
            line(&mut out, ".TP");
            line(
                &mut out,
                &format!("\\fB{}\\-{}\\fR(1)", escape(name), escape(sub.get_name())),
            );
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            line(&mut out, &escape(&about));
        }
    }
    if !examples.is_empty() {
        line(&mut out, ".SH EXAMPLES");
        line(&mut out, ".nf");
        for one in examples {
            line(&mut out, &escape(one.trim_start_matches("Example:").trim()));
        }
        line(&mut out, ".fi");
    }
    if above.is_none() {
        line(&mut out, ".SH EXIT STATUS");
        line(&mut out, EXIT_STATUS);
    }
    line(&mut out, ".SH SEE ALSO");
    line(
        &mut out,
        &match above {
            Some(above) => format!(
                ".BR {} (1),\nwhere options of all commands and exit codes are described",
                escape(above)
            ),
            None => "The documents marsadm\\-exit\\-codes and marsadm\\-output.".to_owned(),
        },
    );
    out
}

const EXIT_STATUS: &str = "0 done or yes, 1 no, 2 wrong command line, 3 not found, 4 refused, 5 conflict, 6 timeout, \
7 unreachable, 8 partly done, 9 no permission, 10 internal fault. Commands of the original end with its codes 2 and 25 \
unless \\-\\-output is given.";

fn section<'a>(
    out: &mut String,
    title: &str,
    args: impl Iterator<Item = &'a Arg>,
    positional: bool,
) {
    let args: Vec<&Arg> = args.filter(|arg| !arg.is_hide_set()).collect();
    if args.is_empty() {
        return;
    }
    line(out, &format!(".SH {title}"));
    for arg in args {
        line(out, ".TP");
        let name = if positional {
            format!("\\fI{}\\fR", escape(&value_name(arg)))
        } else {
            let short = arg.get_short().map(|c| format!("\\-{c}"));
            let long = arg.get_long().map(|name| format!("\\-\\-{}", escape(name)));
            let names: Vec<String> = short.into_iter().chain(long).collect();
            let value = if arg.get_action().takes_values() {
                format!(" \\fI{}\\fR", escape(&value_name(arg)))
            } else {
                String::new()
            };
            format!("\\fB{}\\fR{value}", names.join(", "))
        };
        line(out, &name);
        let help = arg.get_long_help().or_else(|| arg.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        line(out, &escape(&help.replace("\n\n", "\n")));
    }
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.join(" ")
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

/// Text that troff takes as it is.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    text.lines()
        .map(|one| match one.chars().next() {
            Some('.' | '\'') => format!("\\&{one}"),
            _ => one.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_examples() {
        let pages = pages();
        assert!(pages.len() > 40);
        for (name, text) in &pages {
            for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
                assert!(text.contains(part), "{name}: {part}");
            }
            assert!(text.is_ascii() || !text.contains('\u{fffd}'), "{name}");
        }
        let primary = &pages
            .iter()
            .find(|(n, _)| n == "marsadm-primary")
            .unwrap()
            .1;
        assert!(
            primary.contains(".SH EXAMPLES\n.nf\nmarsadm primary mydata"),
            "{primary}"
        );
        assert!(
            !primary.contains("\\-\\-socket"),
            "options of all stand in marsadm(1)"
        );
        assert!(pages[0].1.contains("\\-\\-socket"));
    }

    #[test]
    fn troff_sees_no_commands_in_texts() {
        assert_eq!(escape(".so x\n'b -c \\d"), "\\&.so x\n\\&'b \\-c \\ed");
    }
}
