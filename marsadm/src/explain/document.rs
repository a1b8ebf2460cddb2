//! What an explanation says, as a document.

use crate::status::{FeatureLevel, Seconds};
use serde::Serialize;

/// The causes of the state of replicas; its JSON form is `docs/schemas/Explanation.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The resource.
    pub resource: String,
    /// Whose replica: the one asked for, else that of this node, else the first one.
    pub host: String,
    /// The node whose knowledge this is.
    pub seen_from: String,
    /// The causes in order; what stands behind the first wrong one may follow from it.
    pub steps: Vec<Step>,
    /// The other replicas; none if one was asked for.
    pub others: Vec<Other>,
    /// What all nodes of the cluster understand, if some hold the others back.
    pub feature_level: Option<FeatureLevel>,
}

impl Explanation {
    /// The first thing that is wrong, and on which host.
    #[must_use]
    pub fn wrong(&self) -> Option<(&str, &Step)> {
        let own = self.steps.iter().map(|step| (self.host.as_str(), step));
        let others = self.others.iter();
        let others =
            others.flat_map(|other| other.steps.iter().map(|step| (other.host.as_str(), step)));
        own.chain(others).find(|(_, step)| !step.ok)
    }
}

/// Another replica of the resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Where it is.
    pub host: String,
    /// What the host is, as in the status.
    pub role: &'static str,
    /// One word for its state, as in the status.
    pub state: &'static str,
    /// Age of all that is told about it; 0 on its own host.
    pub age: Seconds,
    /// Whether nothing is wrong with it.
    pub ok: bool,
    /// As those of the explanation.
    pub steps: Vec<Step>,
}

/// One question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The question.
    pub question: &'static str,
    /// Whether the answer is a good one.
    pub ok: bool,
    /// The answer.
    pub finding: String,
    /// The keys that tell it.
    pub evidence: Vec<Evidence>,
    /// What to do, where it is not a good one.
    pub next: Option<String>,
}

/// A key and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The key.
    pub key: String,
    /// Its value; nothing if there is none.
    pub value: Option<String>,
    /// Seconds since it was written.
    pub age: Option<u64>,
}
