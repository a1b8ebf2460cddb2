//! What a command reports when it does not succeed, and the exit codes (`docs/marsadm-exit-codes.md`).

use crate::error_code::Code;
use mars_meta_api::{ApiError, CallError, ConnectError, ErrorCode};
use std::fmt;

/// Kinds of failure; each has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The question was answered with no.
    Negative,
    /// The command line is wrong.
    Usage,
    /// A rule forbids it in the present state; nothing was changed unless the text says so.
    Refused,
    /// A key, resource or node does not exist.
    NotFound,
    /// Somebody else changed the same thing meanwhile.
    Conflict,
    /// Something did not come about within `--timeout`.
    Timeout,
    /// The metadata daemon of this node (or, for joining, the other node) does not answer.
    Unreachable,
    /// Some of several resources failed, others did not.
    Partial,
    /// The caller lacks a permission.
    Denied,
    /// A fault of the programs or of the machine.
    Internal,
    /// `check` found a state that monitoring calls warning (1), critical (2) or unknown (3).
    Monitoring(u8),
}

impl Kind {
    /// The kind of a failed operation on a file that the command line names.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound,
            std::io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Internal,
        }
    }

    /// The exit code of the process, as the table for new commands and for programs has it; see
    /// [`crate::contract`] for the original's commands.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Negative => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Conflict => 5,
            Self::Timeout => 6,
            Self::Unreachable => 7,
            Self::Partial => 8,
            Self::Denied => 9,
            Self::Internal => 10,
            Self::Monitoring(code) => code,
        }
    }
}

/// The text without the system's numbers of errors, which Rust adds to their names: ` (os error 2)`.
fn without_numbers(mut text: String) -> String {
    const BEGIN: &str = " (os error ";
    while let Some(at) = text.find(BEGIN) {
        let rest = &text[at + BEGIN.len()..];
        let digits = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'-');
        let length = digits.count();
        if length == 0 || !rest[length..].starts_with(')') {
            break;
        }
        text.replace_range(at..=at + BEGIN.len() + length, "");
    }
    text
}

/// A failure of a command: what was tried, why it failed, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Kind of failure.
    pub kind: Kind,
    /// Its stable name; `None`: that of the kind.
    pub code: Option<Code>,
    /// The command and what it was about; filled in by the dispatcher if empty.
    pub what: String,
    /// The reason: lower case, no full stop.
    pub why: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// Result of a command or of a part of it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of any kind.
    #[must_use]
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            what: String::new(),
            why: without_numbers(why.into()),
            hint: None,
        }
    }

    /// An error with a stable name of its own, and the kind that belongs to it.
    #[must_use]
    pub fn of(code: Code, why: impl Into<String>) -> Self {
        Self::new(code.kind(), why).coded(code)
    }

    /// The same error with a stable name of its own.
    #[must_use]
    pub const fn coded(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// The stable name.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
            .filter(|code| code.kind() == self.kind)
            .unwrap_or_else(|| self.kind.into())
    }

    /// A rule forbids it.
    #[must_use]
    pub fn refused(why: impl Into<String>) -> Self {
        Self::new(Kind::Refused, why)
    }

    /// The command line is wrong.
    #[must_use]
    pub fn usage(why: impl Into<String>) -> Self {
        Self::new(Kind::Usage, why)
    }

    /// Something does not exist.
    #[must_use]
    pub fn not_found(why: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, why)
    }

    /// A fault of the programs or of the machine.
    #[must_use]
    pub fn internal(why: impl Into<String>) -> Self {
        Self::new(Kind::Internal, why)
    }

    /// The same error with the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error; if something did not come about in time, with what the command leaves behind as it is, and what
    /// takes that back.
    #[must_use]
    pub fn leaving(mut self, left: &str, back: &str) -> Self {
        if self.kind == Kind::Timeout {
            let left = format!("{left}; to take that back: {back}");
            self.hint = Some(match self.hint {
                Some(hint) => format!("{hint}; {left}"),
                None => left,
            });
        }
        self
    }

    /// The same error; one that names no next step gets the usual one of its kind. `verb` is the command.
    #[must_use]
    pub fn with_next_step(mut self, verb: &str) -> Self {
        if self.hint.is_none() {
            self.hint = Some(match self.kind {
                Kind::Usage => format!("see marsadm {verb} --help"),
                Kind::NotFound => format!("check the name; see marsadm {verb} --help"),
                Kind::Negative | Kind::Monitoring(_) => "see marsadm status".to_owned(),
                Kind::Refused => format!("see marsadm status and marsadm {verb} --help"),
                Kind::Conflict => "see marsadm status, then repeat the command".to_owned(),
                Kind::Timeout => {
                    "see marsadm status; repeat the command, with a longer --timeout if need be"
                        .to_owned()
                }
                Kind::Unreachable => {
                    "check that marsd runs (systemctl status marsd) and --socket".to_owned()
                }
                Kind::Partial => "the lines above name the resources that failed".to_owned(),
                Kind::Denied => "run it as root, or as the owner of what it names".to_owned(),
                Kind::Internal => {
                    "see the logs of marsd and mars-datapath (journalctl -u marsd -u mars-datapath)"
                        .to_owned()
                }
            });
        }
        self
    }

    /// The same error, saying what was tried unless it says so already.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        if self.what.is_empty() {
            what.clone_into(&mut self.what);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            f.write_str(&self.why)
        } else {
            write!(f, "{}: {}", self.what, self.why)
        }
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        let kind = match error.code {
            ErrorCode::BadRequest => Kind::Usage,
            ErrorCode::NoCluster
            | ErrorCode::AlreadyInCluster
            | ErrorCode::Refused
            | ErrorCode::Limit => Kind::Refused,
            ErrorCode::Denied => Kind::Denied,
            ErrorCode::Unreachable => Kind::Unreachable,
            ErrorCode::Unsupported | ErrorCode::Storage | ErrorCode::Internal => Kind::Internal,
        };
        let code = match error.code {
            ErrorCode::BadRequest => Code::BadRequest,
            ErrorCode::NoCluster => Code::NoCluster,
            ErrorCode::AlreadyInCluster => Code::AlreadyInCluster,
            ErrorCode::Refused => Code::Refused,
            ErrorCode::Limit => Code::Limit,
            ErrorCode::Denied => Code::Denied,
            ErrorCode::Unreachable => Code::Unreachable,
            ErrorCode::Unsupported => Code::VersionSkew,
            ErrorCode::Storage => Code::Storage,
            ErrorCode::Internal => Code::Internal,
        };
        let hint = error.hint.or_else(|| match error.code {
            ErrorCode::NoCluster => {
                Some("make this node part of a cluster: create-cluster or join-cluster".to_owned())
            }
            _ => None,
        });
        Self {
            hint,
            ..Self::new(kind, error.message).coded(code)
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => error.into(),
            CallError::Disconnected => Self::of(
                Code::ConnectionLost,
                "the metadata daemon ended the connection before it answered; whether a change was made is not known",
            )
            .hint("look at the daemon's log, then run the command again (all commands may be repeated)"),
            CallError::Protocol(_) => Self::of(Code::VersionSkew, error.to_string())
                .hint("marsadm and marsd are of different versions: use those of one release"),
        }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Io { error: io, .. }
                if io.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Self::new(Kind::Denied, error.to_string()).hint("run marsadm as root")
            }
            ConnectError::Io { path, .. } => Self::of(Code::DaemonUnreachable, error.to_string())
                .hint(format!(
                    "start marsd, or name its socket with --socket PATH (tried {})",
                    path.display()
                )),
            ConnectError::Protocol(_) => Self::of(Code::DaemonUnreachable, error.to_string())
                .hint("marsadm and marsd are of different versions: use those of one release"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_documented_codes() {
        let doc = include_str!("../../docs/marsadm-exit-codes.md");
        for (kind, word) in [
            (Kind::Negative, "negative answer"),
            (Kind::Usage, "usage"),
            (Kind::Refused, "refused"),
            (Kind::Conflict, "conflict"),
            (Kind::Partial, "partial"),
            (Kind::NotFound, "not found"),
            (Kind::Timeout, "timeout"),
            (Kind::Unreachable, "unreachable"),
            (Kind::Denied, "permission"),
            (Kind::Internal, "internal"),
        ] {
            let line = format!("| {} |", kind.exit_code());
            assert!(
                doc.lines()
                    .any(|l| l.starts_with(&line) && l.contains(word)),
                "{kind:?} is not documented as {line} {word}"
            );
        }
    }

    #[test]
    fn refusals_of_the_daemon_keep_their_hint() {
        let error: Error = ApiError::new(ErrorCode::Refused, "no")
            .with_hint("do this")
            .into();
        assert_eq!(error.kind, Kind::Refused);
        assert_eq!(error.hint.as_deref(), Some("do this"));
        assert_eq!(error.about("set-link a").to_string(), "set-link a: no");
    }

    #[test]
    fn numbers_of_errors_are_for_programs() {
        let missing = std::io::Error::from_raw_os_error(2);
        let error = Error::refused(format!("/x cannot be read: {missing}, nor /y: {missing}"));
        assert!(!error.why.contains("os error"), "{error}");
        assert!(
            error.why.starts_with("/x cannot be read: No such"),
            "{error}"
        );
        assert!(error.why.contains("directory, nor /y"), "{error}");
        let odd = "a file (os error x)";
        assert_eq!(Error::refused(odd).why, odd);
    }
}
