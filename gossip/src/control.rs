//! The daemon's part of the local API.

use crate::daemon::Daemon;
use crate::limits::{TOKEN_TTL_MAX_SECS, TOKEN_USES_MAX};
use crate::tokens::TokensError;
use crate::{authority, collection, create, guard, join, leave, merge, token_ledger};
use mars_gossip_net::JoinToken;
use mars_gossip_proto::NodeLife;
use mars_meta::{Answer, Change, Control, Follow};
use mars_meta_api::{
    ApiError, ErrorCode, MergeInfo, NodeInfo, Overriding, PeerInfo, PeerState, RemovedInfo, Secret,
    TokenInfo,
};
use mars_meta_model::{FEATURE_LEVEL, NodeState, cluster_level, current_epoch, members, roster};
use std::sync::Arc;

pub(crate) struct DaemonControl(pub(crate) Arc<Daemon>);

/// The refusal of what needs a cluster.
pub(crate) fn no_cluster() -> ApiError {
    ApiError::new(ErrorCode::NoCluster, "this node belongs to no cluster yet")
        .with_hint("make one with create-cluster, or join one with join-cluster")
}

const fn state(life: NodeLife) -> PeerState {
    match life {
        NodeLife::Up => PeerState::Up,
        NodeLife::Suspect => PeerState::Suspect,
        NodeLife::Down => PeerState::Down,
        NodeLife::Unknown => PeerState::Unknown,
    }
}

impl DaemonControl {
    fn node_info(&self) -> NodeInfo {
        let daemon = &self.0;
        let level = daemon.meta.with_table(cluster_level);
        NodeInfo {
            host: daemon.config.host.clone(),
            node_id: daemon.meta.node().to_string(),
            cluster: daemon.identity().map(|id| id.cluster().to_string()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            meta_addr: daemon.addr().to_string(),
            data_addr: daemon.config.data_advertise.to_string(),
            collection: self.collection(),
            clock: daemon.clock_verdict().name().to_owned(),
            clock_offset_ns: daemon.status.clock().offset_ns(),
            epoch: daemon.meta.with_table(current_epoch),
            twice: daemon.status.own_twice().map(Into::into),
            removed: daemon.exclusion().map(|out| RemovedInfo {
                since_ns: out.since_ns,
                reason: out.reason,
            }),
            feature_level: level.level,
            feature_level_own: FEATURE_LEVEL,
            held_back_by: level.held_back_by,
            watchers: u32::try_from(daemon.status.load().watchers).unwrap_or(u32::MAX),
        }
    }

    fn collection(&self) -> Vec<String> {
        let daemon = &self.0;
        let Some(paces) = daemon.config.collect else {
            return vec!["tombstones are not collected".to_owned()];
        };
        let own = (daemon.config.host.as_str(), daemon.meta.node());
        let wall = daemon.meta.clock().0;
        let look = |table: &mars_meta_model::Table| collection::lines(table, own, &paces, wall);
        daemon.meta.with_table(look)
    }

    fn peer_infos(&self) -> Vec<PeerInfo> {
        let daemon = &self.0;
        let mut infos = vec![PeerInfo {
            host: daemon.config.host.clone(),
            connected: true,
            heard_ns: Some(daemon.meta.clock().0),
            certain_ns: Some(daemon.meta.clock().0),
            state: Some(PeerState::Up),
            ..PeerInfo::default()
        }];
        for (host, status) in daemon.status.peers() {
            if host != daemon.config.host {
                infos.push(PeerInfo {
                    host,
                    connected: status.connected,
                    heard_ns: status.heard_ns,
                    certain_ns: status.certain_ns,
                    rtt_us: status.rtt_us,
                    error: status.error,
                    state: status.life.map(state),
                    since_ns: status.since_ns,
                    neighbour: status.neighbour,
                    offset_ns: status.offset_ns,
                    refused: status.refused,
                    refused_stamp: status
                        .refused_stamp
                        .max(status.refused_reading)
                        .map(|stamp| stamp.as_nanos()),
                    epoch: status.epoch,
                    twice: status.twice,
                    denied: status.denied,
                    denied_last: status.denied_last,
                    forced: status.forced,
                });
            }
        }
        infos.sort_by(|a, b| a.host.cmp(&b.host));
        infos
    }

    fn make_token(&self, ttl_secs: u64, uses: u32) -> Result<Secret, ApiError> {
        let daemon = &self.0;
        let identity = daemon.identity().ok_or_else(no_cluster)?;
        if !(1..=TOKEN_TTL_MAX_SECS).contains(&ttl_secs) {
            let message = format!("a join token lives 1 to {TOKEN_TTL_MAX_SECS} seconds");
            return Err(ApiError::new(ErrorCode::BadRequest, message));
        }
        if !(1..=TOKEN_USES_MAX).contains(&uses) {
            let message = format!("a join token admits 1 to {TOKEN_USES_MAX} nodes");
            return Err(ApiError::new(ErrorCode::BadRequest, message));
        }
        let ca = authority::to_admit(daemon)?;
        let internal =
            |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::Internal, error.to_string());
        let now = daemon.meta.clock().0 / 1_000_000_000;
        let expires = now.saturating_add(ttl_secs);
        let issuers = vec![daemon.reachable_addr()];
        let token = JoinToken::generate(identity.cluster(), ca.key_hash(), issuers, expires)
            .map_err(|error| internal(&error))?;
        let added = daemon.tokens.add(&token, uses, now);
        added.map_err(|error| ApiError::new(ErrorCode::Storage, error.to_string()))?;
        tracing::info!(ttl_secs, uses, "a join token was made");
        Ok(Secret(token.to_text().as_str().to_owned()))
    }

    fn issued_tokens(&self) -> Vec<TokenInfo> {
        let daemon = &self.0;
        let known = daemon.meta.with_table(roster);
        let name = |node: u128| {
            let found = known.iter().find(|(_, record)| record.id.0 == node);
            found.map_or_else(|| format!("{node:032x}"), |(host, _)| host.clone())
        };
        token_ledger::compare(daemon);
        let issued = daemon.tokens.list(daemon.meta.clock().0 / 1_000_000_000);
        let shown = issued.into_iter().map(|token| TokenInfo {
            id: token.id.to_string(),
            expires: token.expires,
            uses_left: token.uses_left,
            admitted: token.admitted.into_iter().map(name).collect(),
            revoked: token.revoked,
            note: token.note.map(str::to_owned),
        });
        shown.collect()
    }
}

impl Daemon {
    /// The own address in the roster: where others reach this daemon.
    fn reachable_addr(&self) -> std::net::SocketAddr {
        let own = self
            .meta
            .with_table(|table| roster(table).remove(&self.config.host));
        let active = own.filter(|record| record.state == NodeState::Active);
        let addr = active.and_then(|record| record.meta.first().copied());
        addr.unwrap_or_else(|| self.addr())
    }
}

impl Control for DaemonControl {
    fn node(&self) -> Answer<'_, NodeInfo> {
        Box::pin(async { Ok(self.node_info()) })
    }

    fn peers(&self) -> Answer<'_, Vec<PeerInfo>> {
        Box::pin(async { Ok(self.peer_infos()) })
    }

    fn create_cluster(&self) -> Answer<'_, ()> {
        Box::pin(create::create_cluster(&self.0))
    }

    fn join_token(&self, ttl_secs: u64, uses: u32) -> Answer<'_, Secret> {
        Box::pin(async move { self.make_token(ttl_secs, uses) })
    }

    fn list_tokens(&self) -> Answer<'_, Vec<TokenInfo>> {
        Box::pin(async { Ok(self.issued_tokens()) })
    }

    fn revoke_token(&self, id: String) -> Answer<'_, ()> {
        Box::pin(async move {
            let daemon = &self.0;
            token_ledger::compare(daemon);
            let now = daemon.meta.clock().0 / 1_000_000_000;
            let revoked = daemon.tokens.revoke(&id, now).map_err(|error| {
                let code = match &error {
                    TokensError::Io(_) | TokensError::TooMany => ErrorCode::Storage,
                    TokensError::Unknown(_) | TokensError::Revoked { .. } => ErrorCode::Refused,
                };
                let hint = match &error {
                    TokensError::Io(_) | TokensError::TooMany => "look at the state folder of the daemon",
                    TokensError::Unknown(_) => {
                        "join-token --list shows the tokens of this node; others are known to the node that issued them"
                    }
                    TokensError::Revoked { .. } => "nothing is left to be done",
                };
                ApiError::new(code, error.to_string()).with_hint(hint)
            })?;
            let told = revoked.and_then(|number| token_ledger::change(&daemon.config.host, number));
            let Some(change) = told else {
                return Ok(());
            };
            let written = daemon.meta.apply(vec![change], false).await;
            written
                .map(drop)
                .map_err(|error| ApiError::new(ErrorCode::Storage, error.to_string()))
        })
    }

    fn join_cluster(&self, addr: Option<String>, token: Secret) -> Answer<'_, ()> {
        Box::pin(join::join_cluster(&self.0, addr, token))
    }

    fn leave_cluster(&self, force: bool) -> Answer<'_, ()> {
        Box::pin(leave::leave_cluster(&self.0, force))
    }

    fn merge_cluster(
        &self,
        addr: Option<String>,
        token: Secret,
        check: bool,
    ) -> Answer<'_, MergeInfo> {
        Box::pin(merge::merge_cluster(&self.0, addr, token, check))
    }

    fn export_authority(&self) -> Answer<'_, Secret> {
        Box::pin(async { authority::export(&self.0) })
    }

    fn import_authority(&self, key: Secret, insist: bool) -> Answer<'_, ()> {
        Box::pin(authority::import(&self.0, key, insist))
    }

    fn check_write(&self, changes: &[Change], how: Overriding) -> Result<(), ApiError> {
        guard::check_write(&self.0, changes, how)
    }

    fn liveness(&self, host: &str) -> Option<u64> {
        if host == self.0.config.host {
            return Some(self.0.meta.clock().0);
        }
        self.0.status.heard(host)
    }

    fn follow(&self, res: &str) -> Result<Option<Box<dyn Follow>>, ApiError> {
        let daemon = &self.0;
        let members = daemon.meta.with_table(|table| members(table, res));
        if members.contains_key(&daemon.config.host) || daemon.identity().is_none() {
            return Ok(None);
        }
        if members.is_empty() {
            let message = format!("there is no resource {res}");
            return Err(ApiError::new(ErrorCode::BadRequest, message));
        }
        let follower = daemon.status.follow(res)?;
        Ok(Some(Box::new(follower)))
    }

    fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self.0.status.peers().into_keys().collect();
        if !hosts.contains(&self.0.config.host) {
            hosts.push(self.0.config.host.clone());
        }
        hosts
    }
}

/// The refusal of a second cluster.
pub(crate) fn already_in_cluster(daemon: &Daemon) -> Result<(), ApiError> {
    match daemon.identity() {
        None => Ok(()),
        Some(identity) => Err(ApiError::new(
            ErrorCode::AlreadyInCluster,
            format!(
                "this node belongs to cluster {} already",
                identity.cluster()
            ),
        )
        .with_hint("marsadm leave-cluster leaves it; marsadm merge-cluster takes what this node has to another one")),
    }
}
