//! The stable names of failures, which scripts may compare (`docs/marsadm-exit-codes.md`).

use crate::error::Kind;

macro_rules! codes {
    ($($variant:ident $text:literal $kind:ident $(($number:literal))? $meaning:literal;)*) => {
        /// What exactly failed. A name never changes its meaning; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name, as it stands in documents.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The kind of failure, which has an exit code.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind $(($number))?),* }
            }

            /// One line for the documentation.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }
        }
    };
}

// The first code of each kind is the one of failures that have no name of their own.
codes! {
    Negative "NEGATIVE" Negative "the question was answered with no";
    Interrupted "INTERRUPTED" Negative "the user ended the command";
    CheckWarning "CHECK_WARNING" Monitoring(1) "check found what monitoring calls a warning";
    CheckCritical "CHECK_CRITICAL" Monitoring(2) "check found what monitoring calls critical";
    CheckUnknown "CHECK_UNKNOWN" Monitoring(3) "check could not find out, or its command line is wrong";
    Usage "USAGE" Usage "an argument is wrong";
    CommandLine "COMMAND_LINE" Usage "options or arguments are missing or not known";
    BadName "BAD_NAME" Usage "a text is no name of a resource or node";
    UnknownCommand "UNKNOWN_COMMAND" Usage "there is no such command";
    UnknownCondition "UNKNOWN_CONDITION" Usage "wait-resource does not know the condition";
    BadKey "BAD_KEY" Usage "a text is no key, or the key does not take this value";
    BadRequest "BAD_REQUEST" Usage "the daemon found the request wrong";
    NotFound "NOT_FOUND" NotFound "something that was named does not exist";
    ResourceNotFound "RESOURCE_NOT_FOUND" NotFound "there is no such resource";
    HostNotFound "HOST_NOT_FOUND" NotFound "there is no such node in the cluster";
    KeyNotFound "KEY_NOT_FOUND" NotFound "there is no such key, or it was deleted";
    Refused "REFUSED" Refused "a rule forbids it in the present state";
    NoCluster "NO_CLUSTER" Refused "this node belongs to no cluster";
    AlreadyInCluster "ALREADY_IN_CLUSTER" Refused "this node belongs to a cluster already";
    NotMember "NOT_MEMBER" Refused "the host has no replica of the resource";
    ResourceExists "RESOURCE_EXISTS" Refused "the resource exists already";
    DeviceInUse "DEVICE_IN_USE" Refused "the device is open";
    IsPrimary "IS_PRIMARY" Refused "the host is the primary of the resource";
    PrimarySilent "PRIMARY_SILENT" Refused "the primary of the resource does not answer";
    DataPlaneDown "DATA_PLANE_DOWN" Refused "the data plane of the host does not run, or gives no sign of life";
    KeyProtected "KEY_PROTECTED" Refused "the key belongs to MARS itself; --force overrides";
    Limit "LIMIT" Refused "a limit of the store is reached";
    Conflict "CONFLICT" Conflict "somebody else changed the same thing meanwhile";
    Timeout "TIMEOUT" Timeout "it did not come about within --timeout";
    Unreachable "UNREACHABLE" Unreachable "nobody answers";
    DaemonUnreachable "DAEMON_UNREACHABLE" Unreachable "the metadata daemon of this node does not answer";
    ConnectionLost "CONNECTION_LOST" Unreachable "the daemon ended the connection; whether a change was made is not known";
    Partial "PARTIAL" Partial "some of several resources failed, others did not";
    Denied "DENIED" Denied "the caller lacks a permission";
    Internal "INTERNAL" Internal "a fault of the programs or of the machine";
    VersionSkew "VERSION_SKEW" Internal "marsadm and the daemon do not understand each other";
    Storage "STORAGE" Internal "the daemon cannot store anything";
}

impl From<Kind> for Code {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Negative => Self::Negative,
            Kind::Monitoring(1) => Self::CheckWarning,
            Kind::Monitoring(2) => Self::CheckCritical,
            Kind::Monitoring(_) => Self::CheckUnknown,
            Kind::Usage => Self::Usage,
            Kind::NotFound => Self::NotFound,
            Kind::Refused => Self::Refused,
            Kind::Conflict => Self::Conflict,
            Kind::Timeout => Self::Timeout,
            Kind::Unreachable => Self::Unreachable,
            Kind::Partial => Self::Partial,
            Kind::Denied => Self::Denied,
            Kind::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_documented() {
        let doc = include_str!("../../docs/marsadm-exit-codes.md");
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let name = code.as_str();
            assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
            let row = format!(
                "| `{name}` | {} | {} |",
                code.kind().exit_code(),
                code.meaning()
            );
            assert!(doc.lines().any(|line| line == row), "not documented: {row}");
            assert_eq!(Code::from(code.kind()).kind(), code.kind());
        }
    }
}
