//! The command line: options, the list of commands, and what of the original's habits is kept.

use crate::commands as c;
use crate::legacy_options::LegacyOptions;
use crate::limits::{TIMEOUT_SECS, TIMEOUT_SECS_MAX, WINDOW_SECS};
use crate::output::Format;
use crate::snapshot::Origin;
use clap::{ArgAction, CommandFactory as _, Parser, Subcommand};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

/// Administrator's command line of MARS: replication of block devices over long distances.
///
/// Options may stand anywhere on the line. RES is a resource, several joined by commas, a pattern with * or ?, or `all`, which means all resources of this host. A command may carry the prefix force- instead of the option --force.
#[derive(Debug, Parser)]
#[command(
    name = "marsadm",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    args_override_self = true
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Unix socket of this node's metadata daemon
    #[arg(
        long,
        global = true,
        env = "MARS_SOCKET",
        value_name = "PATH",
        default_value = "/run/mars/marsd.sock"
    )]
    pub socket: PathBuf,
    /// Answer reading commands from this file instead of the daemon, in the original's layout
    ///
    /// All words and options are then those of the original (view-MACRO, --host=, --macro=, ...); nothing is written.
    #[arg(long, global = true, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,
    /// Answer reading commands from the legacy tree at DIR, without any daemon and without writing
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "snapshot")]
    pub tree: Option<PathBuf>,
    /// With --tree: as of this time (seconds since 1970), or of the tree's newest heartbeat (newest)
    #[arg(long, global = true, value_name = "TIME", requires = "tree")]
    pub at: Option<String>,
    /// Form of the output: of results and failures alike
    #[arg(
        long,
        short,
        global = true,
        env = "MARS_OUTPUT",
        value_name = "FORM",
        value_enum,
        default_value_t = Format::Table
    )]
    pub output: Format,
    /// Give up after this many seconds (at least 1); -1: never
    #[arg(long, global = true, value_name = "SECS", default_value_t = TIMEOUT_SECS,
          value_parser = timeout, allow_negative_numbers = true)]
    pub timeout: u64,
    /// A node counts as alive if it was heard of in the last so many seconds
    #[arg(long, global = true, value_name = "SECS", default_value_t = WINDOW_SECS,
          value_parser = clap::value_parser!(u64).range(..=TIMEOUT_SECS_MAX))]
    pub window: u64,
    /// Act for this host of the cluster, for example one that is lost; its keys are overridden
    // An id of its own: a global option shares its value with every argument of the same id, and commands have a HOST.
    #[arg(long = "host", id = "as_host", global = true, value_name = "HOST")]
    pub host: Option<String>,
    /// Work on N resources of a list or of all at once; without N: on all of them
    #[arg(
        long,
        global = true,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0"
    )]
    pub parallel: Option<usize>,
    /// Skip safety checks; each command's help says which
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub force: u8,
    /// Show what would be written, write nothing and wait for nothing
    #[arg(long, short, global = true)]
    pub dry_run: bool,
    /// Show what is written and waited for
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Options of the original without effect.
    #[command(flatten)]
    pub legacy: LegacyOptions,
}

/// The definition of the command line with long helps whose lines the terminal breaks, not the source.
#[must_use]
pub fn definition() -> clap::Command {
    reflowed(with_examples())
}

/// The definition of the command line, each command with examples of its own.
pub(crate) fn with_examples() -> clap::Command {
    Cli::command().mut_subcommands(with_own_example)
}

/// Commands that differ in a word share their help: its examples are made ones of the command, if none is.
fn with_own_example(command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    let Some(long) = command.get_long_about().map(ToString::to_string) else {
        return command;
    };
    let words: Vec<&str> = long.split_whitespace().collect();
    if words.windows(2).any(|two| two == ["marsadm", &name]) {
        return command;
    }
    let lines = long.lines().map(|line| {
        let example = line.strip_prefix("Example: marsadm ");
        match example.and_then(|rest| rest.split_once(' ')) {
            Some((_, arguments)) => format!("Example: marsadm {name} {arguments}"),
            None => line.to_owned(),
        }
    });
    let long: Vec<String> = lines.collect();
    command.long_about(long.join("\n"))
}

fn reflowed(command: clap::Command) -> clap::Command {
    let long = command
        .get_long_about()
        .map(|text| reflow(&text.to_string()));
    let command = match long {
        Some(long) => command.long_about(long),
        None => command,
    };
    command.mut_subcommands(reflowed)
}

/// Joins the lines of each paragraph; those of examples and what is indented stay as they are.
fn reflow(text: &str) -> String {
    let mut out = String::new();
    let mut joins = false;
    for line in text.lines() {
        let own =
            line.is_empty() || line.starts_with([' ', '*', '-']) || line.starts_with("Example:");
        if !out.is_empty() {
            out.push(if joins && !own { ' ' } else { '\n' });
        }
        out.push_str(line);
        joins = !own;
    }
    out
}

/// The value of `--timeout`.
///
/// # Errors
/// What it may be.
pub(crate) fn timeout(text: &str) -> Result<u64, String> {
    if text == "-1" {
        return Ok(TIMEOUT_SECS_MAX);
    }
    text.parse()
        .ok()
        .filter(|secs| (1..=TIMEOUT_SECS_MAX).contains(secs))
        .ok_or_else(|| format!("a number of seconds from 1 to {TIMEOUT_SECS_MAX}, or -1"))
}

impl Global {
    /// Where reading commands look.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match (&self.snapshot, &self.tree) {
            (Some(file), _) => Origin::Snapshot(file.clone()),
            (None, Some(dir)) => Origin::Tree {
                dir: dir.clone(),
                at: self.at.clone(),
                host: self.host.clone(),
            },
            (None, None) => Origin::Live,
        }
    }
}

/// All commands.
#[derive(Debug, Subcommand)]
#[command(next_display_order = None)]
// A doc comment on a variant would replace the long help that stands with the command's arguments.
#[expect(missing_docs, reason = "the about text of each command documents it")]
pub enum Command {
    #[command(about = "Make this node the first of a new cluster")]
    CreateCluster(c::create_cluster::Args),
    #[command(about = "Print a token by which other nodes may join this cluster")]
    JoinToken(c::join_token::Args),
    #[command(about = "Join the cluster of another node")]
    JoinCluster(c::join_cluster::Args),
    #[command(about = "Give up this node's membership in the cluster")]
    LeaveCluster(c::leave_cluster::Args),
    #[command(about = "Move this node, with what it holds, to another cluster")]
    MergeCluster(c::merge_cluster::Args),
    #[command(about = "Check whether this cluster could be merged with another")]
    MergeClusterCheck(c::merge_cluster::Args),
    #[command(about = "Print name, nodes and resources of this cluster")]
    MergeClusterList(c::merge_cluster::ListArgs),
    #[command(about = "Print name, nodes and resources of another cluster")]
    MergeClusterCheckList(c::merge_cluster::Args),
    #[command(
        about = "The authority of the cluster: back it up, take it over",
        after_help = "Example: marsadm ca export /root/mars-ca.key"
    )]
    #[command(subcommand)]
    Ca(c::ca::Command),
    #[command(about = "Wait until all nodes were heard of")]
    WaitCluster(c::wait_cluster::Args),
    #[command(about = "Create a resource on a disk of this host, which becomes its primary")]
    CreateResource(c::create_resource::Args),
    #[command(about = "Add a replica of a resource on a disk of this host")]
    JoinResource(c::join_resource::Args),
    #[command(about = "Give up this host's replica of a resource")]
    LeaveResource(c::leave_resource::Args),
    #[command(about = "Take the disk into use and switch fetch, replay and sync on")]
    Up(c::up::Args),
    #[command(about = "Switch fetch, replay and sync off and release the disk")]
    Down(c::down::Args),
    #[command(about = "Take the disk into use")]
    Attach(c::switches::WaitingArgs),
    #[command(about = "Release the disk")]
    Detach(c::down::Args),
    #[command(about = "Fetch logs from the primary")]
    #[command(
        visible_alias = "connect",
        alias = "connect-local",
        alias = "resume-fetch-local"
    )]
    ResumeFetch(c::switches::Args),
    #[command(about = "Stop fetching logs")]
    #[command(
        visible_alias = "disconnect",
        alias = "disconnect-local",
        alias = "pause-fetch-local"
    )]
    PauseFetch(c::switches::Args),
    #[command(about = "Apply fetched logs to the disk")]
    #[command(alias = "resume-replay-local")]
    ResumeReplay(c::switches::Args),
    #[command(about = "Stop applying logs: the disk keeps its present state")]
    #[command(alias = "pause-replay-local")]
    PauseReplay(c::switches::Args),
    #[command(about = "Copy the primary's disk where it differs")]
    #[command(alias = "resume-sync-local")]
    ResumeSync(c::switches::Args),
    #[command(about = "Stop copying")]
    #[command(alias = "pause-sync-local")]
    PauseSync(c::switches::Args),
    #[command(about = "resume-fetch on all members")]
    #[command(alias = "connect-global")]
    ResumeFetchGlobal(c::switches::Args),
    #[command(about = "pause-fetch on all members")]
    #[command(alias = "disconnect-global")]
    PauseFetchGlobal(c::switches::Args),
    #[command(about = "resume-replay on all members")]
    ResumeReplayGlobal(c::switches::Args),
    #[command(about = "pause-replay on all members")]
    PauseReplayGlobal(c::switches::Args),
    #[command(about = "resume-sync on all members")]
    ResumeSyncGlobal(c::switches::Args),
    #[command(about = "pause-sync on all members")]
    PauseSyncGlobal(c::switches::Args),
    #[command(about = "Make this host the primary")]
    Primary(c::primary::Args),
    #[command(about = "Leave the resource without a primary")]
    Secondary(c::secondary::Args),
    #[command(about = "Throw this host's replica away and sync it anew")]
    Invalidate(c::invalidate::Args),
    #[command(about = "Wait until a condition holds for this host's replica")]
    WaitResource(c::wait_resource::Args),
    #[command(about = "Show the state in the original's layouts: view, view-MACRO")]
    View(c::view::Args),
    #[command(about = "Show what needs attention: seconds at risk, why, since when, what to do")]
    Status(c::status::Args),
    #[command(about = "Walk the causes of a resource's state, with the keys that tell them")]
    Explain(c::explain::Args),
    #[command(about = "One line for monitoring: Nagios exit codes and performance data")]
    Check(c::check::Args),
    #[command(about = "The status, live, on the whole screen")]
    Top(c::top::Args),
    #[command(
        about = "Keep what this node knows in a file, for --snapshot",
        after_help = "Example: marsadm snapshot save /tmp/now.jsonl"
    )]
    #[command(subcommand)]
    Snapshot(c::snapshot::Command),
    #[command(
        about = "Backup, restore and check of the metadata store",
        after_help = "Example: marsadm meta export /var/backups/mars-meta.exp"
    )]
    #[command(subcommand)]
    Meta(c::meta::Command),
    #[command(about = "Print the value of keys")]
    GetLink(c::get_link::Args),
    #[command(about = "Write keys")]
    SetLink(c::set_link::Args),
    #[command(about = "Delete keys")]
    DeleteFile(c::delete_file::Args),
    #[command(about = "Print keys, values and stamps")]
    ListLinks(c::list_links::Args),
    #[command(about = "Print the clocks, compare them with the neighbours', repair")]
    Clock(c::clock::Args),
    #[command(about = "Take over the keys of a legacy MARS tree")]
    ImportTree(c::import_tree::Args),
    #[command(about = "Replay the rest of the original's logs and put the disk into service")]
    TakeOver(c::take_over::Args),
    #[command(about = "Keep a legacy MARS tree and the keys in step")]
    MirrorTree(c::mirror_tree::Args),
    #[command(about = "Write the keys as a legacy MARS tree")]
    ExportTree(c::export_tree::Args),
    #[command(
        about = "Logfiles of the original: list, check, convert them",
        after_help = "Example: marsadm log verify /mars/resource-mydata/log-000000001-hosta"
    )]
    #[command(subcommand)]
    Log(c::log_file::Command),
    #[command(about = "Print each node with its address")]
    LowlevelLsHostIps(c::lowlevel_ls_host_ips::Args),
    #[command(about = "Take a dead host out of the cluster")]
    LowlevelDeleteHost(c::lowlevel_delete_host::Args),
    #[command(about = "Tell the cluster the new address of a host")]
    LowlevelSetHostIp(c::lowlevel_set_host_ip::Args),
    #[command(about = "A cluster of several nodes on this machine, for trying and testing")]
    Sandbox(crate::sandbox::Args),
    #[command(about = "Print what changes in the cluster, line by line")]
    Events(c::events::Args),
    #[command(about = "Print the completion script of a shell")]
    Completion(c::completion::Args),
    #[command(about = "Print what may stand at the cursor", hide = true)]
    CompleteWords(c::complete_words::Args),
    #[command(about = "Write the manual pages", hide = true)]
    Man(c::man::Args),
    #[command(flatten)]
    More(c::more::More),
    #[command(about = "Print the version", after_help = "Example: marsadm version")]
    Version,
    #[command(
        about = "Print this help, or that of a command",
        after_help = "Example: marsadm help primary"
    )]
    Help {
        /// The command
        #[arg(value_name = "COMMAND")]
        words: Vec<String>,
    },
}

impl Command {
    /// Whether `--timeout` bounds the whole command: not those that run until they are stopped, and work on logfiles of
    /// any size only if it was asked for.
    #[must_use]
    pub const fn is_bounded(&self, timeout: u64) -> bool {
        match self {
            Self::Sandbox(_) => false,
            Self::Log(_) => timeout != TIMEOUT_SECS,
            Self::Top(args) => args.batch,
            Self::MirrorTree(args) => args.once,
            Self::Events(args) => !args.follow,
            Self::More(c::more::More::SystemdTrigger(args)) => !args.follow,
            _ => true,
        }
    }
}

/// The options of all commands that take the next word as their value.
fn valued_options() -> BTreeSet<String> {
    let command = Cli::command();
    let mut names = BTreeSet::new();
    for arg in command.get_arguments() {
        if arg.get_action().takes_values() && !arg.is_require_equals_set() {
            names.extend(arg.get_short().map(|short| format!("-{short}")));
            let long = arg.get_long_and_visible_aliases().unwrap_or_default();
            names.extend(long.into_iter().map(|long| format!("--{long}")));
        }
    }
    names
}

/// The place of the command word.
fn command_at(args: &[OsString]) -> Option<usize> {
    let valued = valued_options();
    let mut takes_value = false;
    for (at, arg) in args.iter().enumerate().skip(1) {
        let text = arg.to_str().unwrap_or_default();
        if std::mem::take(&mut takes_value) {
            continue;
        }
        if !text.starts_with('-') {
            return Some(at);
        }
        takes_value = valued.contains(text);
    }
    None
}

/// The command word of a command line, also of a wrong one; without the prefix `force-`.
#[must_use]
pub fn verb_of(args: &[OsString]) -> Option<String> {
    let word = args.get(command_at(args)?)?.to_str()?;
    Some(word.strip_prefix("force-").unwrap_or(word).to_owned())
}

/// Options of the original that only some commands have here, and which; on all others they have no effect, as there.
const OF_SOME: &[(&str, &[&str])] = &[
    ("--threshold", &[]),
    ("--macro", &[]),
    ("--thresh-logfiles", &["cron", "log-rotate"]),
    ("--thresh-logsize", &["cron", "log-rotate"]),
    ("--ignore-sync", &["primary"]),
    ("--autoclean", &["cron"]),
];

/// Short words of the original for commands.
const SHORT: [(&str, &str); 2] = [("h", "help"), ("v", "version")];

/// Rewrites what the original allows and clap does not: the prefix `force-` on the command word, `h` and `v`,
/// `--verbose=N`, `--parallel=`, `--ip-HOST=ADDR` (which has no effect), blanks around `=`, and options that only some
/// commands have, wherever they stand.
#[must_use]
pub fn legacy_args(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = command_at(&args);
    let verb = verb_of(&args).unwrap_or_default();
    let mut out: Vec<OsString> = Vec::new();
    let mut moved: Vec<OsString> = Vec::new();
    let mut only_words = false;
    for (at, arg) in args.into_iter().enumerate() {
        let text = arg.to_str().unwrap_or_default();
        only_words |= text == "--";
        if Some(at) == command {
            match text.strip_prefix("force-") {
                Some(command) => out.extend([command.into(), "--force".into()]),
                None => match SHORT.iter().find(|(short, _)| *short == text) {
                    Some((_, word)) => out.push((*word).into()),
                    None => out.push(arg),
                },
            }
            out.append(&mut moved);
            continue;
        }
        if only_words || at == 0 {
            out.push(arg);
            continue;
        }
        let name = text
            .split_once('=')
            .map_or(text, |(name, _)| name.trim_end());
        // With a value behind `=`, as the original wants it, or without any.
        let alone = ["--ignore-sync", "--autoclean"].contains(&name);
        let whole = text.contains('=') || alone;
        if let Some((_, verbs)) = OF_SOME.iter().find(|(some, _)| whole && *some == name) {
            let plain = match text.split_once('=') {
                Some((_, value)) => format!("{name}={}", value.trim_start()).into(),
                None => arg,
            };
            if !verbs.contains(&verb.as_str()) {
                continue;
            }
            if command.is_some_and(|command| at < command) {
                moved.push(plain);
            } else {
                out.push(plain);
            }
            continue;
        }
        match text.split_once('=') {
            Some(("--parallel", "")) => out.push("--parallel".into()),
            Some(("--verbose", level)) => {
                let level = level.trim().parse::<i64>().unwrap_or(1).clamp(0, 9);
                out.extend((0..level).map(|_| OsString::from("-v")));
            }
            Some((name, _)) if name.starts_with("--ip-") => {}
            Some((name, value)) if name.starts_with("--") && name.ends_with(' ') => {
                out.push(format!("{}={}", name.trim_end(), value.trim_start()).into());
            }
            _ => out.push(arg),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Cli {
        let words = line.split_whitespace().map(OsString::from);
        Cli::try_parse_from(legacy_args(words)).unwrap()
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn only_the_terminal_breaks_the_lines_of_helps() {
        assert_eq!(
            reflow("a\nb\n\nc\n  d\nExample: e\nExample: f"),
            "a b\n\nc\n  d\nExample: e\nExample: f"
        );
        let mut root = definition();
        let cron = root.find_subcommand_mut("cron").unwrap();
        let long = cron.get_long_about().unwrap().to_string();
        assert!(
            long.contains("delete logs that nobody needs. May run at any time, as often as wanted"),
            "{long}"
        );
    }

    #[test]
    fn options_stand_anywhere() {
        for line in [
            "marsadm --timeout=5 --force primary r",
            "marsadm primary --timeout 5 r -f",
            "marsadm primary r --force --timeout=5",
            "marsadm --timeout 5 force-primary r",
        ] {
            let cli = parse(line);
            assert_eq!((cli.global.timeout, cli.global.force), (5, 1), "{line}");
            assert!(matches!(cli.command, Command::Primary(_)));
        }
    }

    #[test]
    fn old_names_of_switches_work() {
        assert!(matches!(
            parse("marsadm connect r").command,
            Command::ResumeFetch(_)
        ));
        assert!(matches!(
            parse("marsadm disconnect-local r").command,
            Command::PauseFetch(_)
        ));
    }

    #[test]
    fn only_the_command_word_loses_its_prefix() {
        let args = legacy_args(["marsadm", "set-link", "force-x", "k"].map(OsString::from));
        assert_eq!(args[2], "force-x");
    }

    #[test]
    fn the_command_word_is_found_behind_any_option() {
        let verb = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            verb_of(&args)
        };
        assert_eq!(
            verb("marsadm -o json --host b force-up r").as_deref(),
            Some("up")
        );
        assert_eq!(verb("marsadm --parallel down r").as_deref(), Some("down"));
        assert_eq!(verb("marsadm --what down").as_deref(), Some("down"));
        assert_eq!(verb("marsadm -o json"), None);
    }

    #[test]
    fn every_command_takes_every_option_of_the_original() {
        for word in [
            "up r",
            "wait-cluster",
            "create-resource r /d",
            "list-links",
            "log-delete r",
            "set-link a b",
            "cron",
        ] {
            for option in [
                "--threshold=1M",
                "--thresh-logfiles=5",
                "--thresh-logsize=5",
                "--ignore-sync",
                "--macro=x",
                "--autoclean",
                "--autoclean=7",
                "--parallel=",
            ] {
                let before = parse(&format!("marsadm {option} {word}"));
                let behind = parse(&format!("marsadm {word} {option}"));
                assert_eq!(
                    format!("{before:?}"),
                    format!("{behind:?}"),
                    "{word} {option}"
                );
                let unlimited = (option == "--parallel=").then_some(0);
                assert_eq!(before.global.parallel, unlimited, "{word} {option}");
            }
        }
        let parsed = parse("marsadm --thresh-logfiles=3 log-rotate r --thresh-logsize=7");
        let Command::More(c::more::More::LogRotate(args)) = parsed.command else {
            panic!("{parsed:?}");
        };
        assert_eq!(
            (
                args.thresholds.thresh_logfiles,
                args.thresholds.thresh_logsize
            ),
            (3, 7)
        );
        for (line, days) in [
            ("cron", None),
            ("cron --autoclean", Some(30)),
            ("--autoclean=7 cron", Some(7)),
        ] {
            let parsed = parse(&format!("marsadm {line}"));
            let Command::More(c::more::More::Cron(args)) = parsed.command else {
                panic!("{parsed:?}");
            };
            assert_eq!(args.autoclean, days, "{line}");
        }
        assert!(matches!(parse("marsadm v").command, Command::Version));
        assert!(matches!(
            parse("marsadm h primary").command,
            Command::Help { .. }
        ));
    }

    #[test]
    fn options_of_the_original_are_accepted() {
        let cli = parse(
            "marsadm --logger= --max-deletions=-1 --delete-method=2 --stuck-seconds=60 --keep-backups=2 --ip=192.0.2.1 \
             --ip-hostb=192.0.2.2 --ssh_port=22 --no-ssh --ssh-opts=-x --singlestep --error-injection-phase=0 \
             --ignore-deleted-peers=2 --systemd-enable=0 --backup-dir=/b --verbose=2 --parallel --timeout=-1 \
             --ignore-sync primary r",
        );
        assert_eq!((cli.global.verbose, cli.global.parallel), (2, Some(0)));
        assert_eq!(cli.global.timeout, TIMEOUT_SECS_MAX);
        assert!(matches!(cli.command, Command::Primary(args) if args.ignore_sync));
        assert_eq!(
            parse("marsadm --parallel=3 up all").global.parallel,
            Some(3)
        );
        assert_eq!(parse("marsadm --verbose=-1 up all").global.verbose, 0);
    }
}
