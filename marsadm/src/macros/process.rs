//! The reading commands on the command line of the process: of the running node, of a snapshot, of a legacy tree.

use super::{Answer, answer, template_dirs};
use crate::cli::verb_of;
use crate::context::{Ctx, Options};
use crate::contract::exit_code;
use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::limits::{
    READ_TIMEOUT, SMALL_FILE_MAX, SNAPSHOT_BYTES_MAX, TIMEOUT_SECS, TIMEOUT_SECS_MAX, WINDOW_SECS,
};
use crate::output::Format;
use crate::outside::told_note;
use crate::regular::open_regular;
use crate::shown::shown;
use crate::snapshot::{Body, Item, Origin, Snapshot, parse, read_following, read_keys};
use crate::ui::Ui;
use clap::ValueEnum as _;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Commands that are answered in the original's words and layouts wherever the state comes from; beside those that begin
/// with `view` and `pretty`.
const READING: [&str; 11] = [
    "show",
    "show-errors",
    "show-state",
    "mars-state",
    "role",
    "state",
    "merge-cluster-list",
    "get-emergency-limit",
    "get-connect-pref-list",
    "get-systemd-unit",
    "get-systemd-want",
];
/// Commands of ours that read a snapshot or tree in their own way.
const OURS: [&str; 5] = ["status", "explain", "check", "top", "snapshot"];
/// Options that this page reads, whose value may be the next word.
const VALUED: [&str; 9] = [
    "--output",
    "-o",
    "--snapshot",
    "--tree",
    "--at",
    "--socket",
    "--host",
    "--timeout",
    "--window",
];

/// A command line whose command only reads.
#[derive(Debug)]
struct Reading {
    origin: Origin,
    socket: PathBuf,
    timeout: Duration,
    /// Seconds after which the process ends in any case.
    limit: u64,
    argv: Vec<String>,
}

/// Answers the command line if its command is one of the original's reading ones, or if the state is that of a snapshot
/// or tree; all of it then follows the original's syntax.
#[must_use]
pub fn main(args: &[OsString]) -> Option<ExitCode> {
    let ui = Ui::process(false).with_format(Format::wanted(args));
    let run = |reading: Reading| -> Result<Answer> {
        if reading.limit < TIMEOUT_SECS_MAX {
            crate::run::watch_over(&ui, &reading.word(), reading.limit, false);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime
            .map_err(|error| Error::internal(format!("the runtime did not start: {error}")))?;
        runtime.block_on(reading.run(&ui))
    };
    let result = split(args)?.and_then(run);
    Some(ExitCode::from(finish(&ui, args, result)))
}

/// [`main`] for whoever has a runtime, and without a watchdog: the exit code, or nothing if the command line is another
/// one.
pub async fn execute(ui: &Ui, args: &[OsString]) -> Option<u8> {
    let result = match split(args)? {
        Ok(reading) => reading.run(ui).await,
        Err(error) => Err(error),
    };
    Some(finish(ui, args, result))
}

fn finish(ui: &Ui, args: &[OsString], result: Result<Answer>) -> u8 {
    let (result, code) = match result {
        Ok(answer) => conclude(ui, &answer),
        Err(error) => {
            let verb = verb_of(args).unwrap_or_default();
            let error = error.with_next_step(&verb);
            let code = exit_code(&verb, ui.format(), &error);
            (Err(error), code)
        }
    };
    ui.finish(&result, false, code)
}

/// Prints an answer; the result of the process and its exit code. People and the original's scripts get the original's
/// code and all messages at once; programs get a document of the failure, and the code that belongs to it.
pub fn conclude(ui: &Ui, answer: &Answer) -> (Result<()>, u8) {
    let code = print(ui, answer);
    if code == 0 || !ui.is_structured() {
        return (Ok(()), code);
    }
    for error in answer.failures() {
        let res = error.what.split_once(' ');
        if let Some((_, res)) = res.filter(|(_, res)| !res.is_empty()) {
            ui.resource(res, Some(error));
        }
    }
    let failure = answer.failure();
    let error = failure.unwrap_or_else(|| Error::internal("the command failed without a reason"));
    let code = error.kind.exit_code();
    (Err(error), code)
}

impl Reading {
    fn word(&self) -> String {
        let word = self.argv.iter().find(|word| !word.starts_with('-'));
        word.cloned().unwrap_or_default()
    }

    async fn run(self, ui: &Ui) -> Result<Answer> {
        let about = self.word();
        let options = Options {
            socket: self.socket,
            timeout: self.timeout,
            window: Duration::from_secs(WINDOW_SECS),
            force: false,
            dry_run: false,
            acting: None,
            parallel: 1,
            force_values: false,
            origin: self.origin,
        };
        let ctx = Ctx::new(ui.clone(), options);
        let answer = answer_from(&ctx, &self.argv).await;
        answer.map_err(|error| error.about(&about))
    }
}

/// Commands that print keys as they are.
const OF_KEYS: [&str; 4] = [
    "get-link",
    "list-links",
    "lowlevel-ls-host-ips",
    "merge-cluster-list",
];

/// Answers a command line of the original's (without the program's name) from where `ctx` looks.
///
/// # Errors
/// If the state cannot be read. That the command fails is no error but told in the answer.
pub async fn answer_from(ctx: &Ctx, argv: &[String]) -> Result<Answer> {
    let names: Vec<String> = argv
        .iter()
        .filter(|word| !word.starts_with('-'))
        .skip(1)
        .flat_map(|word| word.split(',').map(str::to_owned))
        .collect();
    let words: Vec<&String> = argv.iter().filter(|word| !word.starts_with('-')).collect();
    let word = words.first().map_or("", |word| word.as_str());
    let mut snapshot = if OF_KEYS.contains(&word) {
        read_keys(ctx).await?
    } else {
        read_following(ctx, &names).await?
    };
    if words.first().is_some_and(|word| *word == "cat")
        && !matches!(ctx.opts.origin, Origin::Snapshot(_))
    {
        add_files(&mut snapshot, &words[1..], &ctx.opts.origin);
    }
    if ctx.ui.data_terminal() {
        snapshot = snapshot.for_terminal();
    }
    let dirs = template_dirs(
        std::env::var_os("MARS_PATH").as_deref(),
        std::env::var_os("HOME").as_deref(),
        rustix::process::geteuid().is_root(),
    );
    let followed = snapshot.header.extra.get("followed");
    let followed = followed.and_then(|list| list.as_array());
    for res in followed
        .into_iter()
        .flatten()
        .filter_map(|res| res.as_str())
    {
        ctx.ui.note(&told_note(&snapshot.header.host, res));
    }
    Ok(answer(argv, &snapshot, &dirs))
}

/// Prints an answer; its exit code for the original's scripts.
pub fn print(ui: &Ui, answer: &Answer) -> u8 {
    // Both end in a newline of their own.
    if let Some(text) = answer.stderr.strip_suffix('\n') {
        if ui.is_structured() {
            // A single failure is told at the end; of several, only their number.
            let failed = answer.failures().len() == 1;
            let again = |line: &str| {
                failed && (line.starts_with("marsadm: ") || line.starts_with("  next: "))
            };
            let lines = text.split('\n').filter(|line| !again(line));
            lines.for_each(|line| ui.note(line));
        } else {
            // Each on its own: a newline inside a note is shown as an escape.
            text.split('\n').for_each(|line| ui.note(line));
        }
    }
    if let Some(text) = answer.stdout.strip_suffix('\n') {
        if ui.is_structured() {
            text.split('\n').for_each(|line| ui.line(line));
        } else {
            ui.line(text);
        }
    }
    answer.exit
}

/// The files that `cat` is to print. What cannot be read is left out, as in the original.
fn add_files(snapshot: &mut Snapshot, paths: &[&String], origin: &Origin) {
    for path in paths {
        let inside = path.strip_prefix("/mars/").unwrap_or(path);
        let file = match origin {
            Origin::Tree { dir, .. } if inside != path.as_str() => dir.join(inside),
            _ => PathBuf::from(path),
        };
        let mut bytes = Vec::new();
        let read =
            open_regular(&file).and_then(|file| file.take(SMALL_FILE_MAX).read_to_end(&mut bytes));
        if read.is_ok() {
            let item = Item {
                stamp: snapshot.header.wall,
                body: Body::Content(String::from_utf8_lossy(&bytes).into_owned()),
                extra: serde_json::Map::new(),
            };
            snapshot.items.insert(inside.to_owned(), item);
        }
    }
}

fn is_reading(word: &str) -> bool {
    let macros = |prefix: &str| {
        let rest = word.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    READING.contains(&word)
        || word.starts_with("get-") && word.ends_with("sync-limit-value")
        || macros("view")
        || macros("pretty")
        || macros("prettyprint")
}

/// Takes what is for us out of the arguments; nothing if the command line is another one, or if help is wanted.
fn split(args: &[OsString]) -> Option<Result<Reading>> {
    let socket = std::env::var_os("MARS_SOCKET").filter(|socket| !socket.is_empty());
    let mut reading = Reading {
        origin: Origin::Live,
        socket: socket.map_or_else(|| "/run/mars/marsd.sock".into(), PathBuf::from),
        timeout: READ_TIMEOUT,
        limit: TIMEOUT_SECS,
        argv: Vec::new(),
    };
    let (mut at, mut host, mut tree) = (None, None, None);
    let mut wrong = None;
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        let Some(text) = arg.to_str() else {
            // Only the name of a file may be anything.
            let ours = !matches!(reading.origin, Origin::Live) || tree.is_some();
            return ours.then(|| Err(Error::usage("an argument is no UTF-8")));
        };
        if matches!(text, "--help" | "-h") {
            return None;
        }
        if text == "demo" && reading.argv.last().is_some_and(|word| word == "sandbox") {
            // Its `--tree` is one of sources, and it reads none of the original.
            break;
        }
        if text == "--" && reading.argv.iter().any(|word| word == "sandbox") {
            // What follows is for a node of the sandbox.
            break;
        }
        let (name, mut value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        if !VALUED.contains(&name) {
            reading.argv.push(text.to_owned());
            continue;
        }
        value = value.or_else(|| rest.next().cloned());
        let Some(value) = value else {
            let why = format!("{name} needs a value");
            return Some(Err(Error::of(Code::CommandLine, why)));
        };
        let words = value.to_string_lossy().into_owned();
        match name {
            "--snapshot" => reading.origin = Origin::Snapshot(value.into()),
            "--tree" => tree = Some(PathBuf::from(value)),
            "--at" => at = Some(words),
            "--socket" => reading.socket = value.into(),
            "--host" => host = Some(words),
            // Looked at by Format::wanted.
            "--output" | "-o" => {
                if Format::from_str(&words, true).is_err() {
                    wrong = wrong.or(Some(format!(
                        "'{}' is no value for {name}: one of table, json, ndjson",
                        shown(&words)
                    )));
                }
            }
            "--timeout" => {
                if let Err(why) = crate::cli::timeout(&words) {
                    let value = shown(&words);
                    wrong = wrong.or(Some(format!("'{value}' is no value for --timeout: {why}")));
                }
                let seconds = words.parse().ok().map(Duration::from_secs);
                let words = if words == "-1" {
                    TIMEOUT_SECS_MAX.to_string()
                } else {
                    words
                };
                if let Ok(limit) = words.parse() {
                    reading.limit = limit;
                }
                reading.timeout = seconds.map_or(READ_TIMEOUT, |wanted| wanted.min(READ_TIMEOUT));
                reading.argv.push(format!("--timeout={words}"));
            }
            _ => reading.argv.push(format!("{name}={words}")),
        }
    }
    if let Some(dir) = tree {
        let host = host.take();
        reading.origin = Origin::Tree { dir, at, host };
    }
    if let Some(host) = host {
        reading.argv.push(format!("--host={host}"));
    }
    let word = reading.argv.iter().find(|word| !word.starts_with('-'));
    let word = word.map(String::as_str).unwrap_or_default();
    let offline = !matches!(reading.origin, Origin::Live) && !OURS.contains(&word);
    let ours = word != "help" && (offline || is_reading(word));
    ours.then(|| match wrong {
        Some(why) => Err(Error::of(Code::CommandLine, why).hint("see marsadm --help")),
        None => Ok(reading),
    })
}

/// Reads a snapshot file.
///
/// # Errors
/// The file cannot be read, is too long, or is no snapshot.
pub fn load(path: &Path) -> Result<Snapshot> {
    let what = format!("--snapshot {}", path.display());
    let limit = u64::try_from(SNAPSHOT_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    open_regular(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_string(&mut text))
        .map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => Kind::Usage,
                _ => Kind::of_io(&error),
            };
            Error::new(kind, format!("the file cannot be read: {error}"))
                .hint("name a file that marsadm snapshot save has made")
                .about(&what)
        })?;
    parse(&text).map_err(|error| {
        Error::usage(error.to_string())
            .hint("take the snapshot again, or mend the line")
            .about(&what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<Result<Reading>> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        split(&words)
    }

    #[test]
    fn options_stand_anywhere() {
        for line in [
            "marsadm --snapshot f view r",
            "marsadm view --snapshot=f r",
            "marsadm view r --snapshot f",
        ] {
            let reading = of(line).unwrap().unwrap();
            assert_eq!(reading.origin, Origin::Snapshot("f".into()));
            assert_eq!(reading.argv, ["view", "r"]);
        }
        assert!(of("marsadm --snapshot f --help").is_none());
        assert!(of("marsadm view --snapshot").unwrap().is_err());
        assert!(of("marsadm --snapshot f status").is_none());
        assert!(of("marsadm sandbox exec a -- --snapshot f view").is_none());
        assert!(of("marsadm --snapshot f sandbox exec a -- view").is_some());
        assert!(of("marsadm sandbox demo --tree /src").is_none());
    }

    #[test]
    fn reading_words_are_for_the_running_node() {
        let reading = of("marsadm view-the-status r --window 5 --socket /s")
            .unwrap()
            .unwrap();
        assert_eq!(reading.origin, Origin::Live);
        assert_eq!(reading.argv, ["view-the-status", "r", "--window=5"]);
        assert_eq!(reading.socket, PathBuf::from("/s"));
        for other in [
            "viewer",
            "status",
            "get-link x",
            "set-link a b",
            "primary r",
            "list-links",
        ] {
            assert!(of(&format!("marsadm {other}")).is_none(), "{other}");
        }
        assert!(of("marsadm cat /f").is_none());
        assert!(of("marsadm --snapshot f cat /f").is_some());
        for word in [
            "role",
            "show all",
            "prettyprint-default",
            "get-global-sync-limit-value",
        ] {
            assert!(of(&format!("marsadm {word}")).is_some(), "{word}");
        }
    }

    #[test]
    fn the_host_of_a_tree_is_whose_eyes_it_is_seen_with() {
        let reading = of("marsadm --tree /t --host=b --at newest view all")
            .unwrap()
            .unwrap();
        let origin = Origin::Tree {
            dir: "/t".into(),
            at: Some("newest".to_owned()),
            host: Some("b".to_owned()),
        };
        assert_eq!(
            (reading.origin, reading.argv),
            (origin, vec!["view".to_owned(), "all".to_owned()])
        );
        let live = of("marsadm view all --host b").unwrap().unwrap();
        assert_eq!(live.argv, ["view", "all", "--host=b"]);
    }
}
