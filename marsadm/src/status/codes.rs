//! The stable codes of problems: `docs/status-codes.md`.

use super::Severity;
use serde::Serialize;

/// Kind of a problem. The text form never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The histories of replicas have parted.
    SplitBrain,
    /// Several hosts report to be primary.
    TwoPrimaries,
    /// A disk failed.
    DiskError,
    /// A disk is not there.
    DiskMissing,
    /// The device answers with errors.
    DeviceError,
    /// Requests to the device are not answered.
    DeviceHangs,
    /// The designated primary is not active.
    PrimaryNotActive,
    /// The system clock of a host is so far off that stamps are refused.
    ClockInsane,
    /// Two processes say that they are this host.
    HostTwice,
    /// The data plane of a host does not run.
    DataPlaneDown,
    /// The log is full: writes go past it.
    LogFull,
    /// Replay ended with an error.
    ReplayStopped,
    /// The own log of a host is damaged.
    LogDamaged,
    /// The log that a replica needs next is nowhere any more.
    Orphan,
    /// A host gives no sign of life.
    NoContact,
    /// More seconds of data are at risk than allowed.
    RpoViolated,
    /// A replica has no usable copy, and none is being made.
    Inconsistent,
    /// There is no second replica.
    NoReplica,
    /// Nobody is designated as primary.
    NoPrimary,
    /// A disk is not in use.
    Detached,
    /// Fetching is switched off.
    FetchPaused,
    /// Replay is switched off.
    ReplayPaused,
    /// Copying is switched off before it was complete.
    SyncPaused,
    /// Fetching is on but does not work.
    FetchTrouble,
    /// The file system of the logs is nearly full.
    LogSpaceLow,
    /// The system clock of a host is far off.
    ClockWarn,
    /// A host did not tell its state.
    NotReported,
    /// Keys have values that cannot be read.
    BadKey,
    /// A host reports an error that no other code tells.
    ErrorReported,
    /// A replica lacks log, and since when is not known.
    Behind,
    /// A replica is being copied.
    Syncing,
    /// A copy is complete and usable once replay has caught up.
    CatchingUp,
}

use Code as C;
use Severity::{Critical, Info, Warning};

/// All codes with their severity.
pub const CODES: [(Code, Severity); 32] = [
    (C::SplitBrain, Critical),
    (C::TwoPrimaries, Critical),
    (C::DiskError, Critical),
    (C::DiskMissing, Critical),
    (C::DeviceError, Critical),
    (C::DeviceHangs, Critical),
    (C::PrimaryNotActive, Critical),
    (C::ClockInsane, Critical),
    (C::HostTwice, Critical),
    (C::DataPlaneDown, Critical),
    (C::LogFull, Warning),
    (C::ReplayStopped, Warning),
    (C::LogDamaged, Warning),
    (C::Orphan, Warning),
    (C::NoContact, Warning),
    (C::RpoViolated, Warning),
    (C::Inconsistent, Warning),
    (C::NoReplica, Warning),
    (C::NoPrimary, Warning),
    (C::Detached, Warning),
    (C::FetchPaused, Warning),
    (C::ReplayPaused, Warning),
    (C::SyncPaused, Warning),
    (C::FetchTrouble, Warning),
    (C::LogSpaceLow, Warning),
    (C::ClockWarn, Warning),
    (C::NotReported, Warning),
    (C::BadKey, Warning),
    (C::ErrorReported, Warning),
    (C::Behind, Info),
    (C::Syncing, Info),
    (C::CatchingUp, Info),
];

impl Code {
    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        let found = CODES.iter().find(|(code, _)| *code == self);
        found.map_or(Warning, |(_, severity)| *severity)
    }

    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            C::SplitBrain => "SPLIT_BRAIN",
            C::TwoPrimaries => "TWO_PRIMARIES",
            C::DiskError => "DISK_ERROR",
            C::DiskMissing => "DISK_MISSING",
            C::DeviceError => "DEVICE_ERROR",
            C::DeviceHangs => "DEVICE_HANGS",
            C::PrimaryNotActive => "PRIMARY_NOT_ACTIVE",
            C::ClockInsane => "CLOCK_INSANE",
            C::HostTwice => "HOST_TWICE",
            C::DataPlaneDown => "DATA_PLANE_DOWN",
            C::LogFull => "LOG_FULL",
            C::ReplayStopped => "REPLAY_STOPPED",
            C::LogDamaged => "LOG_DAMAGED",
            C::Orphan => "ORPHAN",
            C::NoContact => "NO_CONTACT",
            C::RpoViolated => "RPO_VIOLATED",
            C::Inconsistent => "INCONSISTENT",
            C::NoReplica => "NO_REPLICA",
            C::NoPrimary => "NO_PRIMARY",
            C::Detached => "DETACHED",
            C::FetchPaused => "FETCH_PAUSED",
            C::ReplayPaused => "REPLAY_PAUSED",
            C::SyncPaused => "SYNC_PAUSED",
            C::FetchTrouble => "FETCH_TROUBLE",
            C::LogSpaceLow => "LOG_SPACE_LOW",
            C::ClockWarn => "CLOCK_WARN",
            C::NotReported => "NOT_REPORTED",
            C::BadKey => "BAD_KEY",
            C::ErrorReported => "ERROR_REPORTED",
            C::Behind => "BEHIND",
            C::Syncing => "SYNCING",
            C::CatchingUp => "CATCHING_UP",
        }
    }
}
