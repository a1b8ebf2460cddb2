//! Deliberate faults of a node's code: each is there to show that an invariant finds it.

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing.
    #[default]
    None,
    /// What arrived first stays.
    ArrivalOrder,
    /// A tombstone is forgotten as soon as it is stored.
    ForgetsTombstones,
    /// Writes are answered before they are durable.
    AnswersTooEarly,
    /// The bound of the clock is not found again after a restart.
    ForgetsCeiling,
    /// Stamps from the far future are taken.
    TakesAnyStamp,
    /// Others' keys are written as if they were own ones.
    WritesForeignKeys,
    /// The same on all nodes, and none of them refuses it.
    TakesForeignKeys,
    /// Each change of a key is queued as if it were one of another key.
    NoCoalescing,
    /// That a node was removed is stored, and not looked at.
    ForgetsRemovals,
    /// The queue of changes for gossip has no end.
    UnboundedFeed,
    /// Received entries are said to be applied, and dropped.
    NeverApplies,
    /// Some local changes are not reported to gossip.
    LosesReports,
    /// What belongs to resources of others is given away, and taken.
    KeepsEverything,
    /// A task of the process panics after some merges.
    Panics,
}

impl Mutation {
    /// Whether the node writes in others' names without saying so.
    pub(crate) const fn writes_foreign_keys(self) -> bool {
        matches!(self, Self::WritesForeignKeys | Self::TakesForeignKeys)
    }
}
