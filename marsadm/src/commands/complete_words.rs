//! `complete-words`: what may stand where the cursor is. Called by the scripts that `completion` prints.

use super::completion::Shell;
use super::reading_help;
use crate::cli::Cli;
use crate::context::{Ctx, Options};
use crate::error::Result;
use crate::limits::COMPLETION_TIMEOUT;
use crate::macros::macro_names;
use clap::{Arg, Command, CommandFactory as _};
use mars_meta_model::{NodeState, resources, roster};
use std::path::PathBuf;

/// Print the words that may stand in place of the last one. Line `:files`: files too; `:nospace`: no blank follows.
///
/// Example: marsadm complete-words bash -- primary my
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The shell that asks
    pub shell: Shell,
    /// The words of the command line behind the program's name, up to the one with the cursor
    #[arg(last = true)]
    pub words: Vec<String>,
}

/// Runs the command; what the daemon does not tell in time is left out.
///
/// # Errors
/// None: where nothing is known, nothing is printed.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let mut root = Cli::command();
    root.build();
    let words = joined(&args.words);
    let place = Place::of(&root, &words);
    let names = names(ctx, place.socket.clone(), &place.want).await;
    let mut found = place.candidates(&names);
    found.sort();
    found.dedup();
    // bash takes `--option=` as words of their own.
    let split = args.shell == Shell::Bash && words.last().is_some_and(|w| is_assignment(w));
    for word in &found {
        let word = match word.split_once('=') {
            Some((_, value)) if split => value,
            _ => word,
        };
        ctx.ui.line(word);
    }
    if matches!(place.want, Want::Files) {
        ctx.ui.line(":files");
    }
    if found.len() == 1 && found[0].ends_with(['=', '-']) {
        ctx.ui.line(":nospace");
    }
    Ok(())
}

fn is_assignment(word: &str) -> bool {
    word.starts_with("--") && word.contains('=')
}

/// Puts together again what bash has cut at `=`.
fn joined(words: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut glue = false;
    for word in words {
        match out.last_mut() {
            Some(last) if word == "=" && last.starts_with("--") => {
                last.push('=');
                glue = true;
            }
            Some(last) if std::mem::take(&mut glue) => last.push_str(word),
            _ => out.push(word.clone()),
        }
    }
    out
}

/// Prefix of a command that means `--force`.
const FORCE: &str = "force-";

/// What stands at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Want {
    Nothing,
    Files,
    Resources,
    Hosts,
    Keys,
    Words(Vec<String>),
}

struct Place {
    /// What the word at the cursor begins with and keeps.
    kept: String,
    /// The part that is completed.
    start: String,
    want: Want,
    socket: Option<PathBuf>,
}

impl Place {
    fn of(root: &Command, words: &[String]) -> Self {
        let (last, before) = match words.split_last() {
            Some((last, before)) => (last.clone(), before),
            None => (String::new(), &[][..]),
        };
        let mut command = root;
        let mut positionals = 0;
        let mut open: Option<&Arg> = None;
        let mut socket = None;
        let mut reading = None;
        for word in before {
            if let Some(arg) = open.take() {
                if arg.get_id() == "socket" {
                    socket = Some(word.into());
                }
            } else if let Some(path) = word.strip_prefix("--socket=") {
                socket = Some(path.into());
            } else if word.starts_with('-') {
                open = option(command, word);
            } else if let Some(sub) =
                command.find_subcommand(word.strip_prefix("force-").unwrap_or(word))
            {
                command = sub;
                positionals = 0;
            } else if reading.is_none() && command.get_name() == root.get_name() {
                reading = Some(of_reading_word(word));
            } else {
                positionals += 1;
            }
        }
        let (kept, start, want) = if let Some(arg) = open {
            (String::new(), last, wanted(arg))
        } else if let Some((name, value)) = last.split_once('=').filter(|_| last.starts_with("--"))
        {
            let want = named(command, name).map_or(Want::Nothing, wanted);
            (format!("{name}="), value.to_owned(), want)
        } else if last.starts_with('-') {
            (String::new(), last, Want::Words(options(command)))
        } else if let Some(want) = reading {
            let want = if positionals == 0 {
                want
            } else {
                Want::Nothing
            };
            (String::new(), last, want)
        } else if command.has_subcommands() && positionals == 0 {
            let mut words = subcommands(command);
            if command.get_name() == root.get_name() {
                words.extend(reading_words(&last));
                words.extend(forced_words(root, &last));
            }
            (String::new(), last, Want::Words(words))
        } else {
            let arg = command
                .get_positionals()
                .nth(positionals)
                .or_else(|| command.get_positionals().last().filter(|arg| is_many(arg)));
            (String::new(), last, arg.map_or(Want::Nothing, wanted))
        };
        Self {
            kept,
            start,
            want,
            socket,
        }
    }

    fn candidates(&self, names: &[String]) -> Vec<String> {
        let mut kept = self.kept.clone();
        let mut start = self.start.as_str();
        let mut named: Vec<&str> = Vec::new();
        let words = match &self.want {
            Want::Nothing | Want::Files => return Vec::new(),
            Want::Words(words) => words.as_slice(),
            Want::Keys => names,
            Want::Resources | Want::Hosts => {
                // Each part of a list is completed, with what is not in it yet.
                if let Some((done, part)) = start.rsplit_once(',') {
                    named = done.split(',').chain(["all"]).collect();
                    kept.push_str(done);
                    kept.push(',');
                    start = part;
                }
                names
            }
        };
        words
            .iter()
            .filter(|word| word.starts_with(start) && !named.contains(&word.as_str()))
            .map(|word| format!("{kept}{word}"))
            .collect()
    }
}

fn is_many(arg: &Arg) -> bool {
    arg.get_num_args()
        .is_some_and(|range| range.max_values() > 1)
        || matches!(arg.get_action(), clap::ArgAction::Append)
}

/// The option that `word` is, if it takes the next word.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    named(command, word)
        .filter(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
}

fn named<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let long = arg.get_long_and_visible_aliases().unwrap_or_default();
        word.strip_prefix("--")
            .is_some_and(|name| long.contains(&name))
            || arg
                .get_short()
                .is_some_and(|short| word == format!("-{short}"))
    })
}

fn options(command: &Command) -> Vec<String> {
    command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| {
            let equals = if arg.get_action().takes_values() && !arg.is_require_equals_set() {
                "="
            } else {
                ""
            };
            Some(format!("--{}{equals}", arg.get_long()?))
        })
        .collect()
}

fn subcommands(command: &Command) -> Vec<String> {
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .flat_map(|sub| std::iter::once(sub.get_name()).chain(sub.get_visible_aliases()))
        .map(str::to_owned)
        .collect()
}

/// The original's words that only read, which are no commands of the definition: those of macros once they are begun.
fn reading_words(start: &str) -> Vec<String> {
    let mut words: Vec<String> = reading_help::words().map(str::to_owned).collect();
    for prefix in ["view-", "prettyprint-"] {
        let macros = macro_names(prefix == "view-");
        if start.starts_with(prefix) {
            words.extend(macros.map(|name| format!("{prefix}{name}")));
        } else if prefix.starts_with(start) && !start.is_empty() {
            words.push(prefix.to_owned());
        }
    }
    words
}

/// Commands with the prefix that means `--force`, once it is begun.
fn forced_words(root: &Command, start: &str) -> Vec<String> {
    if start.starts_with(FORCE) {
        let words = subcommands(root).into_iter();
        words.map(|word| format!("{FORCE}{word}")).collect()
    } else if FORCE.starts_with(start) && !start.is_empty() {
        vec![FORCE.to_owned()]
    } else {
        Vec::new()
    }
}

/// What stands behind a word that is no command of the definition.
fn of_reading_word(word: &str) -> Want {
    if word.starts_with("view-") || reading_help::words().any(|known| known == word) {
        Want::Resources
    } else {
        Want::Nothing
    }
}

/// What an argument is, by the name of its value in the help.
fn wanted(arg: &Arg) -> Want {
    let possible = arg.get_possible_values();
    if !possible.is_empty() && arg.get_action().takes_values() {
        return Want::Words(possible.iter().map(|v| v.get_name().to_owned()).collect());
    }
    let name = arg.get_value_names().and_then(|names| names.first());
    let name = name.map_or("", clap::builder::Str::as_str);
    match name.trim_end_matches('S') {
        "RE" | "RESOURCE" => Want::Resources,
        "HOST" | "NODE" | "PEER" => Want::Hosts,
        "COND" => Want::Words(conditions()),
        "KEY" | "PREFIX" => Want::Keys,
        "FILE" | "DIR" | "DISK" | "PATH" => Want::Files,
        _ => Want::Nothing,
    }
}

/// The conditions of wait-resource.
fn conditions() -> Vec<String> {
    let is = "attached replaying fetching syncing primary secondary device consistent uptodate";
    let todo = "attach fetch replay sync primary secondary";
    let is = is.split(' ').map(|word| format!("is-{word}"));
    is.chain(todo.split(' ').map(|word| format!("todo-{word}")))
        .collect()
}

/// Names that only the daemon knows; none if it does not answer soon.
async fn names(ctx: &Ctx, socket: Option<PathBuf>, want: &Want) -> Vec<String> {
    let opts = Options {
        socket: socket.unwrap_or_else(|| ctx.opts.socket.clone()),
        timeout: COMPLETION_TIMEOUT.min(ctx.opts.timeout),
        ..ctx.opts.clone()
    };
    let ctx = Ctx::new(ctx.ui.clone(), opts);
    match want {
        Want::Resources => {
            let table = ctx.table(&["directory/"]).await.unwrap_or_default();
            let names = resources(&table).into_iter();
            names.chain(["all".to_owned()]).collect()
        }
        Want::Hosts => {
            let table = ctx.table(&["roster/"]).await.unwrap_or_default();
            let active = roster(&table)
                .into_iter()
                .filter(|(_, node)| node.state == NodeState::Active);
            active.map(|(host, _)| host).collect()
        }
        Want::Keys => {
            // An empty prefix would be all that the node knows: the first parts come first, as folders do.
            let table = ctx.table(&[""]).await.unwrap_or_default();
            let live = table.iter().filter(|entry| !entry.is_tombstone());
            live.map(|entry| entry.key.to_string()).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: &str) -> Place {
        let mut root = Cli::command();
        root.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Place::of(&root, &joined(&words))
    }

    fn found(line: &str) -> Vec<String> {
        place(line).candidates(&["mydata".to_owned(), "web".to_owned()])
    }

    #[test]
    fn every_place_wants_what_belongs_there() {
        assert_eq!(found("prim"), ["primary"]);
        assert_eq!(found("primary m"), ["mydata"]);
        assert_eq!(found("force-primary m"), ["mydata"]);
        assert_eq!(found("primary web,m"), ["web,mydata"]);
        assert_eq!(found("primary web,"), ["web,mydata"]);
        assert!(
            place("primary web,")
                .candidates(&["all".to_owned()])
                .is_empty()
        );
        assert_eq!(found("rol"), ["role"]);
        assert_eq!(found("show-"), ["show-state", "show-errors"]);
        assert!(found("view-is-pr").contains(&"view-is-primary".to_owned()));
        assert!(found("vie").contains(&"view-".to_owned()));
        assert!(found("prettyprint-repl").contains(&"prettyprint-replinfo".to_owned()));
        assert_eq!(place("get-link ").want, Want::Keys);
        assert_eq!(place("list-links ").want, Want::Keys);
        assert_eq!(found("--timeout 5 primary --force w"), ["web"]);
        assert_eq!(found("primary web --ignore"), ["--ignore-sync"]);
        assert_eq!(found("-o n"), ["ndjson"]);
        assert_eq!(found("--output=n"), ["--output=ndjson"]);
        assert_eq!(
            found("--output = n"),
            ["--output=ndjson"],
            "as bash cuts it"
        );
        assert_eq!(found("--time"), ["--timeout="]);
        assert_eq!(found("wait-resource web is-up"), ["is-uptodate"]);
        assert_eq!(found("log ver"), ["verify"]);
        assert_eq!(found("view-diskstate m"), ["mydata"]);
        assert_eq!(found("--host b view-is-primary web,"), ["web,mydata"]);
        assert_eq!(found("role w"), ["web"]);
        assert_eq!(place("view-diskstate web ").want, Want::Nothing);
        assert_eq!(place("prettyprint-default ").want, Want::Nothing);
        assert_eq!(place("nonsense ").want, Want::Nothing);
        assert_eq!(found("force-pri"), ["force-primary"]);
        assert_eq!(found("for"), ["force-"]);
        let disabled = ["view-disabled-log-digests", "view-disabled-net-digests"];
        assert_eq!(
            found("view-dis")
                .iter()
                .filter(|w| w.contains("-digests"))
                .count(),
            disabled.len()
        );
        assert!(
            disabled
                .iter()
                .all(|word| found("view-dis").contains(&(*word).to_owned()))
        );
        assert!(macro_names(true).all(|name| !name.contains('|')));
        assert_eq!(place("--host ").want, Want::Hosts);
        assert_eq!(place("wait-cluster a b ").want, Want::Hosts);
        assert_eq!(place("log verify ").want, Want::Files);
        assert_eq!(place("create-resource r ").want, Want::Files);
        assert_eq!(place("primary web ").want, Want::Nothing);
        assert_eq!(place("--socket /x primary ").socket, Some("/x".into()));
    }
}
