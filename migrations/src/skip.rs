//! Why an object of a tree is not taken.

use serde::Serialize;

/// Why an object of a tree became no entry of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "reason", content = "detail", rename_all = "kebab-case")]
pub enum SkipReason {
    /// `.tmp*`: left over from a rename that was interrupted.
    #[error("temporary name, left over from an interrupted rename")]
    Temporary,
    /// Any other name that begins with a dot.
    #[error("name beginning with a dot: never left its host")]
    Hidden,
    /// `ignore*`: private by the rules of the original.
    #[error("name beginning with 'ignore': private to its host")]
    Private,
    /// A folder or key that belongs to one host: backups, caches, probes.
    #[error("local to the host: never replicated")]
    Local,
    /// A folder at the root that the original did not replicate.
    #[error("folder that the original did not replicate")]
    NotReplicated,
    /// More than four levels.
    #[error("nested deeper than the four levels of a key")]
    TooDeep,
    /// The name is not UTF-8.
    #[error("name is not UTF-8, which keys must be: rename it and import again")]
    NameEncoding,
    /// The name breaks a rule of keys.
    #[error("no key: {0}")]
    BadKey(String),
    /// The value breaks a rule of values.
    #[error("no value: {0}")]
    BadValue(String),
    /// A switch or acknowledgement of the original's old deletion method, or of its old place of liveness links.
    #[error("record of an obsolete method, without meaning here")]
    Obsolete,
    /// A request of the old deletion method whose target is no key.
    #[error("deletion request whose target '{0}' is no key")]
    BadRequest(String),
    /// A marker or request that came too late: its target was written again.
    #[error("deletion of something written again since, or still there as a folder")]
    Void,
    /// An old liveness link at the root; the same is in `actual-HOST/` with a newer stamp, or it was deleted.
    #[error("old place of a liveness link; the newer one is in the folder actual-HOST")]
    OldPlace,
    /// Another object of the tree says something newer about the same key.
    #[error("replaced by {0}")]
    Superseded(String),
    /// A socket, pipe or device node.
    #[error("neither link, file nor folder")]
    SpecialFile,
    /// It could not be read.
    #[error("not readable: {0}")]
    Unreadable(String),
}

impl SkipReason {
    /// Whether what is skipped says something that a carried key would say: neither private to its host, nor a remnant,
    /// nor told better elsewhere in the tree.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        match self {
            Self::NotReplicated
            | Self::TooDeep
            | Self::NameEncoding
            | Self::BadKey(_)
            | Self::BadValue(_)
            | Self::BadRequest(_)
            | Self::SpecialFile
            | Self::Unreadable(_) => true,
            Self::Temporary
            | Self::Hidden
            | Self::Private
            | Self::Local
            | Self::Obsolete
            | Self::Void
            | Self::OldPlace
            | Self::Superseded(_) => false,
        }
    }
}
