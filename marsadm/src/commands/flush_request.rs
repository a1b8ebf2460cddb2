//! The question to the data plane of a primary where its log ends once all of it is durable (`docs/spec/keys-data-plane.md`,
//! `flush-request` and `flush-done`).

use crate::context::{Ctx, set};
use crate::error::Result;
use crate::keys::{LogPos, Res, parse_replay};
use mars_lamport::Timestamp;
use mars_meta_model::{Key, View as _};

/// A question that was asked.
pub(super) struct FlushRequest {
    token: String,
    stamp: Option<Timestamp>,
}

impl FlushRequest {
    /// Asks.
    pub(super) async fn ask(ctx: &Ctx, res: &str) -> Result<Self> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let question = set(&format!("resource-{res}/userspace/flush-request"), &token)?;
        let stamp = ctx.apply(vec![question]).await?;
        Ok(Self { token, stamp })
    }

    /// The end of the log of `primary`, once it has answered. The key holds the last question only: the answer to one that
    /// came later covers this one, too.
    pub(super) fn answer(&self, view: &Res<'_>, primary: &str) -> Option<LogPos> {
        answered(view, primary, &self.token).or_else(|| answered(view, primary, &self.later(view)?))
    }

    /// The token of the question that the store holds, if it was asked after this one.
    fn later(&self, view: &Res<'_>) -> Option<String> {
        let key = Key::parse(&format!("resource-{}/userspace/flush-request", view.name)).ok()?;
        let entry = view.table.entry(&key)?;
        let text = entry.text()?;
        (Some(entry.stamp) > self.stamp).then(|| text.to_owned())
    }
}

/// The answer is the token, or `TOKEN,log-N-ORIGIN,POS`; the latter cannot be overtaken by the version key.
fn answered(view: &Res<'_>, primary: &str, token: &str) -> Option<LogPos> {
    let done = view.text(&format!("actual-{primary}/flush-done"))?;
    let rest = done.strip_prefix(token)?;
    match rest.strip_prefix(',') {
        Some(position) => parse_replay(position).map(|replay| replay.at),
        None => view.version_end(primary),
    }
}
