//! Which exit code a failure gets (`docs/marsadm-exit-codes.md`): scripts of the original find what they know, all others
//! one table.

use crate::error::{Error, Kind};
use crate::error_code::Code;
use crate::output::Format;

/// The commands of the original whose exit codes its scripts know. `get-link` is none of them: the original cannot run it.
const ORIGINAL: &[&str] = &[
    "activate-guest",
    "attach",
    "cat",
    "connect",
    "connect-global",
    "connect-local",
    "create-cluster",
    "create-resource",
    "create-uuid",
    "cron",
    "deactivate-guest",
    "delete-file",
    "delete-resource",
    "detach",
    "disconnect",
    "disconnect-global",
    "disconnect-local",
    "down",
    "emergency-limit",
    "err-purge-all",
    "fake-sync",
    "get-connect-pref-list",
    "get-emergency-limit",
    "get-global-sync-limit-value",
    "get-sync-limit-value",
    "get-systemd-unit",
    "get-systemd-want",
    "help",
    "invalidate",
    "join-cluster",
    "join-resource",
    "leave-cluster",
    "leave-resource",
    "link-purge-all",
    "log-delete",
    "log-delete-all",
    "log-delete-all-replayed",
    "log-delete-one",
    "log-purge-all",
    "log-rotate",
    "lowlevel-delete-host",
    "lowlevel-ls-host-ips",
    "lowlevel-set-host-ip",
    "mars-state",
    "merge-cluster",
    "merge-cluster-check",
    "merge-cluster-list",
    "pause-fetch",
    "pause-fetch-global",
    "pause-fetch-local",
    "pause-replay",
    "pause-replay-global",
    "pause-replay-local",
    "pause-sync",
    "pause-sync-global",
    "pause-sync-local",
    "primary",
    "resize",
    "resume-fetch",
    "resume-fetch-global",
    "resume-fetch-local",
    "resume-replay",
    "resume-replay-global",
    "resume-replay-local",
    "resume-sync",
    "resume-sync-global",
    "resume-sync-local",
    "role",
    "secondary",
    "set-connect-pref-list",
    "set-emergency-limit",
    "set-global-disabled-log-digests",
    "set-global-disabled-net-digests",
    "set-global-enabled-log-compressions",
    "set-global-enabled-net-compressions",
    "set-global-sync-limit-value",
    "set-link",
    "set-replay",
    "set-sync-limit-value",
    "set-systemd-unit",
    "set-systemd-want",
    "show",
    "show-errors",
    "show-info",
    "show-state",
    "split-cluster",
    "state",
    "systemd-trigger",
    "systemd-trigger-extern",
    "up",
    "update-cluster",
    "version",
    "view",
    "wait-cluster",
    "wait-connect",
    "wait-resource",
    "wait-umount",
];

/// The original's exit code of a command that failed for its resource: the failure and its compensation.
const FAILED: u8 = 2;
/// The original's exit code of a wrong command line.
const WRONG_LINE: u8 = 25;

/// Whether the original has the command.
#[must_use]
pub fn is_original(verb: &str) -> bool {
    ORIGINAL.binary_search(&verb).is_ok() || verb.starts_with("view-") || verb.starts_with("pretty")
}

/// The exit code of a failure of `verb`.
///
/// A timeout has its own code also with the original's verbs: where the original reports success after one, that is a
/// fault of it.
#[must_use]
pub fn exit_code(verb: &str, format: Format, error: &Error) -> u8 {
    if format.is_structured() || !is_original(verb) {
        return error.kind.exit_code();
    }
    match error.code() {
        Code::UnknownCommand => return FAILED,
        // A wrong value of an option, not of the command.
        Code::HostNotFound if error.what.starts_with("--host") => return WRONG_LINE,
        _ => {}
    }
    match error.kind {
        Kind::Usage => WRONG_LINE,
        Kind::NotFound | Kind::Refused | Kind::Conflict | Kind::Partial => FAILED,
        Kind::Negative
        | Kind::Timeout
        | Kind::Unreachable
        | Kind::Denied
        | Kind::Internal
        | Kind::Monitoring(_) => error.kind.exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(ORIGINAL.is_sorted());
    }

    #[test]
    fn scripts_of_the_original_find_what_they_know() {
        let code = |verb, format, error: Error| exit_code(verb, format, &error);
        let refused = || Error::refused("no");
        assert_eq!(code("primary", Format::Table, refused()), 2);
        assert_eq!(code("primary", Format::Json, refused()), 4);
        assert_eq!(code("explain", Format::Table, refused()), 4);
        for code_of in [Code::CommandLine, Code::BadName, Code::Usage, Code::BadKey] {
            let error = Error::of(code_of, "no");
            assert_eq!(code("primary", Format::Table, error), 25, "{code_of:?}");
        }
        let gone = Error::of(Code::UnknownCommand, "no");
        assert_eq!(code("primary", Format::Table, gone), 2);
        let host = || Error::of(Code::HostNotFound, "no");
        assert_eq!(code("primary", Format::Table, host()), 2);
        let option = || host().about("--host=x");
        assert_eq!(code("primary", Format::Table, option()), 25);
        assert_eq!(code("primary", Format::Json, option()), 3);
        assert_eq!(code("explain", Format::Table, option()), 3);
        let wrong = || Error::of(Code::CommandLine, "no");
        assert_eq!(code("primary", Format::Table, wrong()), 25);
        assert_eq!(code("primary", Format::Ndjson, wrong()), 2);
        assert_eq!(code("explain", Format::Table, wrong()), 2);
        let missing = || Error::not_found("no");
        assert_eq!(code("up", Format::Table, missing()), 2);
        assert_eq!(code("get-link", Format::Table, missing()), 3);
        let late = || Error::new(Kind::Timeout, "no");
        assert_eq!(code("primary", Format::Table, late()), 6);
    }
}
