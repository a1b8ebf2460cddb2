//! Admitting nodes: the issuer's side of joining.

use crate::JoinHandler;
use crate::authority::is_holder;
use crate::daemon::Daemon;
use crate::roster::{pack_payload, pack_survey};
use crate::token_ledger;
use mars_gossip_net::join::{Grant, JoinRequest, Refusal, serve_join};
use mars_gossip_net::{CloseCode, Connection};
use mars_meta_model::{
    NodeId, NodeRecord, NodeState, Value, check_host_name, end_of_memberships, is_removed,
    removed_mark, roster, roster_key,
};
use std::pin::Pin;
use std::sync::Arc;

/// Signs for those who know a token.
#[derive(Clone)]
pub(crate) struct Issuer {
    /// One at a time: two joiners under one name do not both find it free.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    pub(crate) daemon: Arc<Daemon>,
}

impl JoinHandler for Issuer {
    fn serve(&self, connection: Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let issuer = self.clone();
        Box::pin(async move {
            let daemon = &issuer.daemon;
            let host = daemon.config.host.as_str();
            let holder = daemon.meta.with_table(|table| is_holder(table, host));
            let Some(ca) = daemon.authority.get().filter(|_| holder) else {
                connection.close(
                    CloseCode::NotAllowed,
                    "this node does not hold the authority of the cluster",
                );
                return;
            };
            token_ledger::compare(daemon);
            let now = daemon.meta.clock().0 / 1_000_000_000;
            let lookup = |id| daemon.tokens.lookup(id);
            let served = serve_join(connection, &ca, now, lookup, |r| issuer.decide(r)).await;
            match served {
                Ok(request) if request.survey => {
                    tracing::info!(host = request.name, "a node asked what it would join");
                }
                Ok(request) => tracing::info!(
                    host = request.name, node = %request.node, key = %request.key, "a node has joined"
                ),
                Err(error) => tracing::warn!(%error, "a node did not join"),
            }
        })
    }
}

impl Issuer {
    /// Writes the joiner's line into the roster, or says why not. The token is used up first: if the daemon ends in
    /// between, the same joiner is admitted again without cost.
    async fn decide(&self, request: JoinRequest) -> Result<Grant, Refusal> {
        let host = &request.name;
        let _turn = self.turn.lock().await;
        let (meta, tokens) = (&self.daemon.meta, &self.daemon.tokens);
        tokens.check_heard(request.token)?;
        if request.survey {
            let payload = meta.with_table(|table| pack_survey(table));
            return Ok(Grant { payload });
        }
        check_host_name(host).map_err(|error| Refusal::BadRequest(error.to_string()))?;
        let id = NodeId(request.node.as_u128());
        let key = *request.key.as_bytes();
        let known = meta.with_table(roster);
        if let Some(held) = known.get(host)
            && held.state == NodeState::Active
            && (held.id, held.key_hash) != (id, key)
        {
            return Err(Refusal::NameTaken);
        }
        let ended = |held: &NodeRecord| held.key_hash == key && held.state == NodeState::Left;
        if meta.with_table(|table| is_removed(table, &key)) || known.get(host).is_some_and(ended) {
            return Err(Refusal::BadRequest(
                "the key of this node was removed from the cluster, which is final: remove the folder 'identity' in its \
                 state folder, and join with a new key"
                    .to_owned(),
            ));
        }
        let others = known.iter().filter(|(name, _)| *name != host);
        if others.into_iter().any(|(_, held)| held.id == id) {
            return Err(Refusal::NodeTaken);
        }
        let counted = tokens.admit(request.token, request.node.as_u128(), request.key)?;
        let mut meta_addr = request.meta;
        if meta_addr.ip().is_unspecified() {
            meta_addr.set_ip(request.observed.ip());
        }
        let mut data_addr = request.data.filter(|addr| addr.port() != 0);
        if let Some(addr) = data_addr.as_mut().filter(|addr| addr.ip().is_unspecified()) {
            addr.set_ip(request.observed.ip());
        }
        let record = NodeRecord {
            id,
            key_hash: key,
            meta: vec![meta_addr],
            data: data_addr.into_iter().collect(),
            state: NodeState::Active,
        };
        // In one commit with the line: a copy of this node from before it is known for one.
        let number =
            counted.and_then(|number| token_ledger::change(&self.daemon.config.host, number));
        let mut changes: Vec<_> = number.into_iter().collect();
        let mut inherits = false;
        if known.get(host) != Some(&record) {
            let line = roster_key(host).zip(Value::text(&record.to_string()).ok());
            let (key, value) =
                line.ok_or_else(|| Refusal::BadRequest("no roster line can be made".to_owned()))?;
            changes.push((key, Some(value)));
            if let Some(held) = known
                .get(host)
                .filter(|held| held.key_hash != record.key_hash)
            {
                // Together with the new line, and before it: whoever has that knows that the former bearer is out.
                changes.splice(0..0, removed_mark(host, held));
            }
            // A name that was used before, by another machine or by this one before it left or was removed: the new membership
            // is none of a resource.
            inherits = known
                .get(host)
                .is_some_and(|held| (held.id, held.key_hash) != (id, record.key_hash));
            if inherits {
                let ended = meta.with_table(|table| end_of_memberships(table, host));
                changes.extend(ended.into_iter().map(|key| (key, None)));
            }
        }
        if !changes.is_empty() {
            let written = meta.apply(changes, inherits).await;
            written.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        }
        let payload = meta.with_table(|table| pack_payload(table));
        Ok(Grant { payload })
    }
}
