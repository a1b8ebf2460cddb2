//! Keys of resources that this node has no part in. What lies here of such a resource is the past, from when this node was a
//! member: it is never shown. A member is asked instead.

use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::limits::FOLLOW_WAIT_MAX;
use mars_meta_api::{CallError, WatchEvent};
use mars_meta_model::{
    Entry, Key, NodeState, Scope, Table, View as _, members, resources, roster, scope_of,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Instant, timeout};

/// The resources of which the keys that lie on `me` are the past: it is neither member nor guest, and a node of the cluster
/// is. Where none is, as after an import from a tree, nobody could tell more.
pub(crate) fn resources_outside(table: &Table, me: &str) -> BTreeSet<String> {
    let known = roster(table);
    let active = |host: &String| {
        let line = known.get(host);
        line.is_some_and(|line| line.state == NodeState::Active)
    };
    let mut found = resources(table);
    found.retain(|res| {
        let hosts = members(table, res);
        !hosts.contains_key(me) && hosts.keys().any(active)
    });
    found
}

/// All that a member tells of a resource now, as a table; or why none does.
pub(crate) async fn tell(ctx: &Ctx, res: &str) -> std::result::Result<Table, String> {
    let mut told = Table::new();
    for entry in follow(ctx, res).await? {
        told.merge(entry);
    }
    Ok(told)
}

/// All that a member tells of a resource now; or why none does.
pub(crate) async fn follow(ctx: &Ctx, res: &str) -> std::result::Result<Vec<Entry>, String> {
    let client = ctx.client().await.map_err(|error| error.to_string())?;
    let left = ctx.deadline.saturating_duration_since(Instant::now());
    let wait = (left / 2).min(FOLLOW_WAIT_MAX);
    let all = async {
        let mut news = client.follow(res).await?;
        let mut entries = Vec::new();
        loop {
            match news.next().await? {
                WatchEvent::Entries(more) => entries.extend(more),
                WatchEvent::Lagged => entries.clear(),
                WatchEvent::Synced => return Ok::<_, CallError>(entries),
            }
        }
    };
    match timeout(wait, all).await {
        Ok(told) => told.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "none of its members told of it within {} s",
            wait.as_secs()
        )),
    }
}

/// What is said of a resource whose members have just told.
pub(crate) fn told_note(host: &str, res: &str) -> String {
    format!("{host} is no member of resource {res}: this is what one of its members tells now")
}

/// The refusal to show what lies here of a resource that no member tells of.
pub(crate) fn untold(host: &str, res: &str, reason: &str, members: &[String]) -> Error {
    let why = format!(
        "{host} is no member of resource {res}, and {reason}; what lies here of it is old, and not shown"
    );
    let hint = match members {
        [] => format!("marsadm status {res}"),
        [first, ..] => format!(
            "run the same on a member ({}), or make {first} reachable from here",
            members.join(" ")
        ),
    };
    Error::of(Code::Unreachable, why).hint(hint)
}

/// Reads keys, those of foreign resources at a member, each resource once.
#[derive(Debug)]
pub(crate) struct Reader<'c> {
    ctx: &'c Ctx,
    /// What was told; `None`: what lies here counts.
    told: BTreeMap<String, Option<Table>>,
}

impl<'c> Reader<'c> {
    pub(crate) const fn new(ctx: &'c Ctx) -> Self {
        Self {
            ctx,
            told: BTreeMap::new(),
        }
    }

    /// The entry of a key, tombstones included.
    ///
    /// # Errors
    /// If the daemon does not answer, or no member tells of a foreign resource.
    pub(crate) async fn get(&mut self, key: &Key) -> Result<Option<Entry>> {
        if let Scope::Resource(res) = scope_of(key)
            && let Some(table) = self.foreign(&res).await?
        {
            return Ok(table.entry(key).cloned());
        }
        self.ctx.get(key).await
    }

    /// What a member tells of a resource; `None` if what lies here counts.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub(crate) async fn foreign(&mut self, res: &str) -> Result<Option<&Table>> {
        if !self.told.contains_key(res) {
            let told = self.ask(res).await?;
            self.told.insert(res.to_owned(), told);
        }
        Ok(self.told.get(res).and_then(Option::as_ref))
    }

    async fn ask(&self, res: &str) -> Result<Option<Table>> {
        let node = self.ctx.node().await?;
        let directory = format!("directory/{res}/");
        let table = self.ctx.table(&[&directory, "roster/"]).await?;
        if !resources_outside(&table, &node.host).contains(res) {
            return Ok(None);
        }
        match tell(self.ctx, res).await {
            Ok(told) => {
                self.ctx.ui.note(&told_note(&node.host, res));
                Ok(Some(told))
            }
            Err(reason) => {
                let hosts: Vec<String> = members(&table, res).into_keys().collect();
                Err(untold(&node.host, res, &reason, &hosts))
            }
        }
    }
}
