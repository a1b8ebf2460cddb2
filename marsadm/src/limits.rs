//! Limits and default values of the command line and of the sandbox.

use std::time::Duration;

/// Default of `--timeout`, as in the original.
pub const TIMEOUT_SECS: u64 = 600;
/// Shortest time that a command has: the daemon has to answer.
pub const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Longest `--timeout`: about 31 years, so that deadlines can be computed.
pub const TIMEOUT_SECS_MAX: u64 = 1_000_000_000;
/// Longest wait for a member of a resource that this node is no member of; also at most half of `--timeout`.
pub const FOLLOW_WAIT_MAX: Duration = Duration::from_secs(10);
/// Default of `--window`, as in the original.
pub const WINDOW_SECS: u64 = 60;
/// Smallest size of a resource in bytes.
pub const RESOURCE_SIZE_MIN: u64 = 64 << 10;
/// A resource's size is a multiple of this.
pub const RESOURCE_SIZE_UNIT: u64 = 4096;
/// By how much the log numbers of a resource begin above those of an earlier one of the same name.
pub const LOG_NUMBER_JUMP: u64 = 100_000;
/// Most bytes of a file of `meta export` that are read.
pub const EXPORT_LEN_MAX: u64 = 1 << 30;
/// How often `meta export` lists the keys, at most, until two listings are equal.
pub const EXPORT_TRIES_MAX: usize = 20;
/// How often a long command says how far it is, on a terminal.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a command waits before it says so where no terminal shows it; and how long before it says so again, if
/// it waits for something else then.
pub const WAIT_SILENT: Duration = Duration::from_secs(1);
/// See [`WAIT_SILENT`].
pub const WAIT_TOLD_EVERY: Duration = Duration::from_secs(30);
/// How long changes are collected before a mirror compares them.
pub const MIRROR_DELAY: Duration = Duration::from_millis(100);
/// How often a mirror compares everything.
pub const MIRROR_RESCAN: Duration = Duration::from_secs(600);
/// How long a mirror waits before it tries again to write links that could not be written.
pub const MIRROR_RETRY: Duration = Duration::from_secs(5);
/// Changed paths and keys from which on a mirror compares everything.
pub const MIRROR_DIRTY_MAX: usize = 10_000;
/// Most passes of `mirror-tree --once`: writers may go on all the time.
pub const MIRROR_PASSES_MAX: usize = 8;
/// Most steps that `mirror-tree --dry-run` names without `--verbose`.
pub const MIRROR_SHOWN_MAX: u64 = 100;
/// Bytes that a take-over replays between two places at which it could go on after an interruption.
pub const TAKE_OVER_CHECKPOINT: u64 = 64 << 20;
/// How often answers are asked for again where there is nothing to watch.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How often signs of life are looked for, and how long before the end of its time `wait-cluster` looks for the last time.
pub const SIGNS_POLL: Duration = Duration::from_millis(50);
/// How long `create-resource` looks whether another node creates the same resource: longer than a change takes to all nodes.
pub const CREATE_SETTLE: Duration = Duration::from_millis(1_500);
/// How old the report that a device is in use may be: observations travel at most once a second.
pub const CLOSING_GRACE: Duration = Duration::from_secs(3);
/// How long `log-rotate` waits for the data plane to tell how long a log is that nothing is known to be in.
pub const LOG_END_WAIT: Duration = Duration::from_secs(2);
/// How long a data plane may take to say that it runs, which a metadata daemon that was restarted does not know.
pub const PLANE_GRACE: Duration = Duration::from_secs(3);
/// By how much the clean-up of a command may exceed its deadline, before the command is ended.
pub const CLEANUP_GRACE: Duration = Duration::from_secs(3);
/// How long a shell's completion waits for names that only the daemon knows.
pub const COMPLETION_TIMEOUT: Duration = Duration::from_millis(800);
/// Most facts that a cursor of `events` tells of, 8 characters each; a list of arguments takes 128 KiB.
pub const CURSOR_FACTS_MAX: usize = 2048;
/// Most resources elsewhere that `top` watches at a member; a node watches 16 for all who ask.
pub const TOP_WATCHES_MAX: usize = 8;
/// How long `top` waits for the first word of a resource that it begins to watch, on a terminal; later it comes by itself.
pub const TOP_WATCH_WAIT: Duration = Duration::from_millis(500);
/// How long `events` waits before it asks again for a member of a resource that this node has no part in.
pub const EVENTS_FOLLOW_RETRY: Duration = Duration::from_secs(5);
/// How often `events` asks for nodes and clocks, and looks at what time alone has changed.
pub const EVENTS_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between two looks of `events`, and how many times as long as a look took it is at least: so it takes a
/// fifth of one CPU at most.
pub const EVENTS_PAUSE: Duration = Duration::from_millis(100);
/// See [`EVENTS_PAUSE`].
pub const EVENTS_PAUSE_FACTOR: u32 = 5;
/// How often a refreshed line on a terminal may change.
pub const STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// Width of a terminal that does not tell it.
pub const STATUS_COLUMNS: usize = 80;
/// Most resources that `--parallel` without a number works on at once.
pub const PARALLEL_MAX: usize = 64;
/// Largest configuration or token file in bytes.
pub const SMALL_FILE_MAX: u64 = 1 << 20;
/// Most nodes of a sandbox.
pub const SANDBOX_NODES_MAX: usize = 26;
/// How long a primary may be silent, and without a connection, for a replica to be thrown away for a sync from it; `status`
/// says after as long that there is no contact. Also how long it may take to answer before its role is taken as planned.
pub const PRIMARY_SILENT_MAX: Duration = Duration::from_secs(10);

/// Longest path of a Unix socket that the sandbox uses, in bytes (the system's limit is 107).
pub const SOCKET_PATH_MAX: usize = 100;
/// Largest datagram that the relay passes on.
pub const DATAGRAM_MAX: usize = 65_536;
/// Lines of a log file that are shown when a step of the sandbox fails.
pub const LOG_TAIL_LINES: usize = 15;
/// Largest request or answer on the sandbox's control socket in bytes.
pub const CONTROL_LINE_MAX: usize = 64 << 10;
/// Largest snapshot file in bytes.
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;
/// Longest path in a snapshot in bytes.
pub const SNAPSHOT_PATH_MAX: usize = 4096;
/// Longest value in a snapshot in bytes, as in the store.
pub const SNAPSHOT_VALUE_MAX: usize = 4095;
/// Deepest nesting of brace groups in a macro, as in the original.
pub const MACRO_BRACES_MAX: usize = 20;
/// Deepest nesting of macros that call each other.
pub const MACRO_DEPTH_MAX: usize = 400;
/// Most questions to the state in one evaluation of a macro.
pub const MACRO_ASKS_MAX: u64 = 20_000;
/// Most calls and loop turns of one evaluation of a macro.
pub const MACRO_STEPS_MAX: u64 = 1_000_000;
/// Largest text that a macro may produce or hold in a variable, in bytes.
pub const MACRO_TEXT_MAX: usize = 4 << 20;
/// Largest bytes that all variables' assignments and results of one evaluation may add up to.
pub const MACRO_COPIED_MAX: usize = 256 << 20;
/// Files of a folder of macros that are looked through for a name that is like a wrong one.
pub const MACRO_FILES_LISTED: usize = 1_000;
/// Largest template file in bytes.
pub const MACRO_FILE_MAX: u64 = 1 << 20;
/// Largest compiled regular expression of a macro, in bytes.
pub const MACRO_REGEX_MAX: usize = 256 << 10;
/// Most different regular expressions that one evaluation may compile.
pub const MACRO_REGEXES_MAX: usize = 1000;
/// Largest width or precision in a format and of a progress bar.
pub const MACRO_WIDTH_MAX: usize = 10_000;
/// A data plane that gave no sign of life for so many seconds does not run; it gives one every 10 s.
pub const BEAT_STALE_SECS: u64 = 35;
/// Largest status file of a legacy tree whose text is read, in bytes.
pub const TREE_CONTENT_MAX: u64 = 64 << 10;
/// How long the local daemon may take to greet, and to answer `view`.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for the greeting that `check` waits for: what asks for monitoring gives up after 10 s.
pub const CHECK_GREETING: Duration = Duration::from_secs(8);
/// Most characters of what `check` says in its first line before the performance data, which monitoring cuts.
pub const CHECK_TEXT_MAX: usize = 400;
/// Most resources whose performance data `check` tells one by one; of more the worst and sums.
pub const CHECK_PERF_MAX: usize = 20;
/// Most resources that `check` tells of in lines of their own.
pub const CHECK_LINES_MAX: usize = 50;
/// Seconds of data that may be at risk unless a resource or the command line says otherwise.
pub const RISK_TARGET_SECS: u64 = 10;
/// How old what another host told may be and still be taken for the present, where our daemons run: hosts hear of each
/// other every 10 s or more often.
pub const STALE_NATIVE_SECS: u64 = 15;
/// The same in a tree of the original, whose hosts hear of each other every few seconds, or every 30 s when idle.
pub const STALE_TREE_SECS: u64 = 60;
/// A primary that announced something within so many seconds may not have been answered yet.
pub const ANNOUNCED_NOW_SECS: u64 = 3;
/// Within so many seconds a host that lives says something, even if it has nothing to say: every 9 to 11 s.
pub const ANSWERED_WITHIN_SECS: u64 = 12;
/// What was told so many seconds ago or longer is shown with its age, where nothing is wrong.
pub const HEARD_NOW_SECS: u64 = 5;
/// By how much the sign of life of a node that is heard of by way of others may be older than what came over the way: its
/// neighbours miss it after 30 s, and tell all within a few seconds.
pub const HEARD_BY_OTHERS_SECS: u64 = 40;
/// How far ahead of the clock a sign of life may be dated; 60 s, as for all stamps.
pub const FUTURE_SECS: u64 = 60;
/// Most keys that cannot be read, and most reported errors, that one problem names.
pub const MALFORMED_SHOWN_MAX: usize = 3;
/// Below so many hundredths and so many bytes of free room for logs, it is low.
pub const LOG_SPACE_LOW_PERCENT: u64 = 10;
/// See [`LOG_SPACE_LOW_PERCENT`]: 10 GiB.
pub const LOG_SPACE_LOW_BYTES: u64 = 10 << 30;
/// Later than this, nobody foretells when a log file system is full: 30 days.
pub const LOG_FULL_FAR_SECS: u64 = 30 * 86_400;
/// A log file system that is full within so many seconds at the present pace is nearly full.
pub const LOG_FULL_SOON_SECS: u64 = 6 * 3600;
/// How long a change of the primary may take before it counts as hanging.
pub const HANDOVER_SECS: u64 = 30;
/// How long `top` waits for a key before it looks at the time.
pub const TOP_POLL: Duration = Duration::from_millis(250);
/// Most frames of `top --batch`.
pub const TOP_FRAMES_MAX: i64 = 1_000_000;
/// Default of `--thresh-logfiles`, as in the original.
pub const LOG_ROTATE_LOGS: usize = 10;
/// Default of `--thresh-logsize` in bytes, as in the original.
pub const LOG_ROTATE_BYTES: u64 = 5_000_000_000;
/// Largest template of a systemd unit in bytes.
pub const UNIT_TEMPLATE_MAX: usize = 64 << 10;
/// Most templates of systemd units.
pub const UNIT_TEMPLATES_MAX: usize = 500;
/// Largest generated systemd unit in bytes.
pub const UNIT_TEXT_MAX: usize = 256 << 10;
/// Most systemd units that are generated on a host.
pub const UNITS_MAX: usize = 2000;
/// Longest name of a systemd unit in bytes, as systemd has it.
pub const UNIT_NAME_MAX: usize = 255;
/// Deepest nesting of brace groups in a template of a systemd unit.
pub const UNIT_BRACES_MAX: usize = 20;
/// How long one call of `systemctl` may take to start or stop a unit.
pub const SYSTEMCTL_UNIT_TIMEOUT: Duration = Duration::from_secs(300);
/// How long any other call of `systemctl` may take.
pub const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(60);
/// How often starting or stopping a unit is tried without disturbing other jobs of systemd, as in the original.
pub const SYSTEMCTL_TRIES: u32 = 5;
/// Between two of these tries.
pub const SYSTEMCTL_PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of what `systemctl` prints that are kept.
pub const SYSTEMCTL_OUTPUT_MAX: u64 = 16 << 10;
/// How long `systemd-trigger --follow` collects changes before it acts.
pub const SYSTEMD_DELAY: Duration = Duration::from_millis(200);
/// First and longest wait of `systemd-trigger --follow` before it tries again what failed.
pub const SYSTEMD_RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Most keys that an import of another cluster's file names, of those that it would overwrite.
pub const IMPORT_NAMED_MAX: usize = 12;
