//! `marsadm --snapshot FILE COMMAND`: the reading commands of the original, answered from a snapshot.

mod options;
mod raw;
mod show;
mod view;

use super::facts::{Facts, Sets, natural};
use super::library::Library;
use crate::contract::exit_code;
use crate::error::{Error, Kind};
use crate::error_code::Code;
use crate::keys::{is_pattern, matches, unmatched};
use crate::output::Format;
use crate::shown::shown;
use crate::snapshot::Snapshot;
use crate::suggest::{self, STORE_LOST, no_resources};
use mars_meta_model::is_reserved;
use options::Line;
use std::path::PathBuf;

/// What the process prints, and how it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Exit code: 0, or the number of failures, or the code of a refusal.
    pub exit: u8,
    /// Data.
    pub stdout: String,
    /// Messages, those of the failures among them.
    pub stderr: String,
    /// What failed, for programs.
    failures: Vec<Error>,
    /// The resources of a list that were worked on.
    listed: usize,
}

impl Answer {
    fn note(&mut self, text: &str) {
        self.stderr.push_str(text);
        self.stderr.push('\n');
    }

    fn line(&mut self, text: &str) {
        self.stdout.push_str(text);
        self.stdout.push('\n');
    }

    /// Prints a macro's result: with exactly one newline behind it, and nothing if it is empty.
    fn text(&mut self, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if !text.is_empty() {
            self.line(text);
        }
    }

    /// The command as a whole did not work.
    fn refuse(&mut self, command: &str, error: Error) {
        self.exit = exit_code(command, Format::Table, &error);
        self.fail(error);
    }

    fn fail(&mut self, error: Error) {
        // A line each, whatever stands in them.
        self.note(&format!("marsadm: {}", shown(&error.to_string())));
        if let Some(hint) = &error.hint {
            self.note(&format!("  next: {}", shown(hint)));
        }
        self.failures.push(error);
    }

    /// The failures of a list's resources, each with what it was about.
    #[must_use]
    pub fn failures(&self) -> &[Error] {
        &self.failures
    }

    /// The failure as a whole: the only one, or how many of a list there were. Nothing if the command succeeded.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let first = self.failures.first()?;
        let failed = self.failures.len();
        if failed == 1 && self.listed <= 1 {
            return Some(first.clone());
        }
        let listed = self.listed.max(failed);
        let kind = if failed < listed {
            Kind::Partial
        } else {
            first.kind
        };
        let why = format!(
            "{failed} of {listed} resources failed, the first: {}",
            first.why
        );
        let verb = first.what.split(' ').next().unwrap_or_default();
        let hint = first.hint.clone();
        Some(Error {
            hint,
            ..Error::new(kind, why).about(verb)
        })
    }
}

/// Exit code of a command that failed for its resource: the failure and its compensation.
const EXIT_FAILED: u8 = 2;
/// Stack of the evaluation: enough for the deepest nesting that the limits allow.
const STACK_BYTES: usize = 64 << 20;

/// Answers a command line (without the program's name) from a snapshot.
///
/// `template_dirs` are the folders of the user's own macros, the first one first. Nothing is written and nothing is
/// waited for; the only clock is the snapshot's.
#[must_use]
pub fn answer(argv: &[String], snapshot: &Snapshot, template_dirs: &[PathBuf]) -> Answer {
    let run = || dispatch(argv, snapshot, Library::new(template_dirs.to_vec()));
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let answered = std::thread::scope(|scope| {
        let handle = thread.spawn_scoped(scope, run).ok()?;
        handle.join().ok()
    });
    answered.unwrap_or_else(|| {
        let mut answer = Answer::default();
        let error = Error::internal("the evaluation ended by a fault of the program");
        answer.refuse("", error.hint("leave parts of the macro out until it ends"));
        answer
    })
}

fn dispatch(argv: &[String], snapshot: &Snapshot, mut library: Library) -> Answer {
    let mut answer = Answer::default();
    let line = match options::parse(argv, &snapshot.header.host) {
        Ok(line) => line,
        Err(error) => {
            let command = argv.iter().find(|word| !word.starts_with('-'));
            let command = command.map(String::as_str).unwrap_or_default();
            answer.refuse(command, error);
            return answer;
        }
    };
    let sets = Sets::new(snapshot);
    let facts = Facts {
        snap: snapshot,
        opts: &line.options,
        sets: &sets,
    };
    let Some(command) = line.words.first().cloned() else {
        let error = Error::of(Code::CommandLine, "a command is missing");
        answer.refuse("", error.hint("see marsadm --help"));
        return answer;
    };
    if line.foreign && !known_host(&facts, &line, &mut answer) {
        return answer;
    }
    let args = &line.words[1..];
    match command.as_str() {
        "view" => view::view(&mut answer, &facts, library, &line, "default", args),
        "show" => show::show(&mut answer, &facts, args),
        "role" | "state" | "show-state" | "mars-state" => {
            show::role(&mut answer, &facts, &mut library, &command, args);
        }
        "show-info" | "mars-info" => show::info(&mut answer, &facts, &command, args),
        "show-errors" => view::view(&mut answer, &facts, library, &line, "resource-errors", args),
        "get-link" => raw::get_link(&mut answer, &facts, args),
        "list-links" => raw::list_links(&mut answer, &facts, line.deleted, args),
        "clock" => raw::clock(&mut answer, &facts),
        "cat" => raw::cat(&mut answer, &facts, args),
        "lowlevel-ls-host-ips" => raw::host_ips(&mut answer, &facts),
        "merge-cluster-list" => {
            if takes_nothing(&mut answer, &command, args) {
                raw::merge_cluster_list(&mut answer, &facts);
            }
        }
        "help" | "h" => answer.line(
            "marsadm --help tells the commands and options, docs/macros.md those for snapshots",
        ),
        "version" | "v" => answer.line(&format!("marsadm Version: {}", env!("CARGO_PKG_VERSION"))),
        other => {
            if let Some(name) = other.strip_prefix("view-") {
                let name = if name.is_empty() { "default" } else { name };
                view::view(&mut answer, &facts, library, &line, name, args);
            } else if let Some(name) = other.strip_prefix("pretty") {
                let name = name.strip_prefix("print").unwrap_or(name);
                view::source(&mut answer, library, name.trim_start_matches('-'));
            } else if !show::get(&mut answer, &facts, &mut library, other, args) {
                answer.refuse(other, no_reading(other));
            }
        }
    }
    answer
}

/// The refusal of a command that a snapshot or tree cannot answer.
pub(super) fn no_reading(command: &str) -> Error {
    if let Some(error) = crate::gone::refusal(command) {
        return error;
    }
    if let Some(error) = crate::parse_error::unknown_command(command) {
        return error;
    }
    Error::refused(
        "this cannot be answered from a snapshot or tree, which can only be read: nothing was done",
    )
    .hint(format!(
        "on a node of the cluster, without --snapshot and --tree: marsadm {command}"
    ))
    .about(command)
}

/// Announces whose eyes are used; a host without an address is refused.
fn known_host(facts: &Facts<'_>, line: &Line, answer: &mut Answer) -> bool {
    let host = &line.options.host;
    answer.line(&format!("ATTENTION: acting as if I were host '{host}'"));
    if facts.get(&format!("ips/ip-{host}")).is_some() || line.options.force > 0 {
        return true;
    }
    let known: Vec<String> = facts
        .names("ips/ip-")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let why = format!("host {host} is not in the cluster");
    let hint = suggest::hint("hosts of the cluster", host, &known);
    let error = Error::of(Code::HostNotFound, why).hint(format!("{hint}; --force insists"));
    let command = line.words.first().map_or("", String::as_str);
    answer.refuse(command, error.about(&format!("--host={host}")));
    false
}

/// Whether a text may name resources: one, several joined by commas, patterns with `*` or `?`, or `all`.
fn is_id_list(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-,*?".contains(c);
    !text.is_empty() && !text.starts_with(['-', ',']) && text.chars().all(good)
}

/// Whether a text names several resources, or may: each then has a line above it.
fn is_list(text: &str) -> bool {
    text == "all" || text.contains([',', '*', '?'])
}

/// Whether a list names what no resource may be called.
fn names_reserved(text: &str) -> bool {
    let mut names = text.split(',');
    names.any(|name| name != "all" && is_reserved(name))
}

/// The resources that a word stands for: those of this host for `all` or that a pattern matches, else the parts of a list in
/// natural order. A pattern that matches nothing stands for itself, which is no resource.
fn resources(facts: &Facts<'_>, which: &str) -> Vec<String> {
    if which == "all" {
        return facts.all_here();
    }
    let mut names: Vec<String> = Vec::new();
    for name in which.split(',').filter(|name| !name.is_empty()) {
        let mut matching = Vec::new();
        if is_pattern(name) {
            matching = facts.all_here();
            matching.retain(|one| matches(name, one) && !names.contains(one));
        }
        if matching.is_empty() {
            matching.push(name.to_owned());
        }
        names.extend(matching);
    }
    names.sort_by_cached_key(|name| natural(name));
    names
}

/// Why nothing can be said of a resource: it does not exist, or only others know of it and none of them tells.
fn missing(facts: &Facts<'_>, res: &str) -> Option<Error> {
    if !facts.has_resource(res) {
        return Some(unknown(facts, res));
    }
    let untold = facts.snap.header.extra.get("untold")?;
    let reason = untold.get(res)?.as_str()?;
    let prefix = format!("directory/{res}/member-");
    let hosts = facts
        .paths(&prefix)
        .filter(|path| facts.get(path).is_some());
    let hosts = hosts.filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned));
    let hosts: Vec<String> = hosts.collect();
    let here = &facts.snap.header.host;
    Some(crate::outside::untold(here, res, reason, &hosts))
}

/// A resource that does not exist.
fn unknown(facts: &Facts<'_>, res: &str) -> Error {
    if is_pattern(res) {
        return unmatched(&facts.opts.host, res);
    }
    let known: Vec<String> = facts.resources().into_iter().collect();
    let hint = if known.is_empty() {
        let lost = facts
            .paths("actual-")
            .any(|path| path.ends_with(STORE_LOST));
        no_resources(lost).to_owned()
    } else {
        suggest::hint("resources of the cluster", res, &known)
    };
    Error::of(
        Code::ResourceNotFound,
        format!("resource {res} does not exist"),
    )
    .hint(hint)
}

/// Whether the arguments are at most one, which may name resources; else says what is wrong. `needed`: nothing is wrong
/// too.
fn takes_resources(answer: &mut Answer, command: &str, args: &[String], needed: bool) -> bool {
    let error = match args {
        [] if !needed => return true,
        [] => no_name(command, ""),
        [_, more, ..] => too_much(command, more),
        [which] if is_id_list(which) && !names_reserved(which) => return true,
        [which] => no_name(command, which),
    };
    answer.refuse(command, error);
    false
}

/// Whether there are no arguments; else says what is wrong.
fn takes_nothing(answer: &mut Answer, command: &str, args: &[String]) -> bool {
    if let Some(more) = args.first() {
        answer.refuse(command, too_much(command, more));
    }
    args.is_empty()
}

fn too_much(command: &str, more: &str) -> Error {
    Error::of(Code::CommandLine, format!("'{}' is too much", shown(more)))
        .hint(format!("see marsadm {command} --help"))
        .about(command)
}

/// An argument that is no name of a resource.
fn no_name(command: &str, text: &str) -> Error {
    let why = if text.is_empty() {
        "the name of a resource is missing".to_owned()
    } else {
        format!("'{}' is no name of a resource", shown(text))
    };
    Error::of(Code::BadName, why)
        .hint("name a resource, several joined by commas, a pattern with * or ?, or all")
        .about(command)
}

/// Reports a failure of one resource.
fn failed(answer: &mut Answer, command: &str, res: &str, error: Error) {
    answer.line(&shown(&format!("FAILURE cmd='{command}' res='{res}'")));
    answer.fail(error.about(format!("{command} {res}").trim_end()));
    answer.exit = answer.exit.saturating_add(EXIT_FAILED);
}
