//! Joining a cluster: the joiner's side.

use crate::control::already_in_cluster;
use crate::create::own_key;
use crate::daemon::Daemon;
use crate::limits::{JOIN_SETTLE_LOOK, JOIN_SETTLE_TIMEOUT, JOIN_SYNC_TIMEOUT};
use crate::resolve::resolve;
use crate::roster::{CA_HOST, unpack_payload};
use mars_gossip_net::join::{JoinError, Joined, Joiner, Refusal, redeem, survey};
use mars_gossip_net::{CloseCode, Endpoint, EndpointConfig, JoinToken};
use mars_lamport::Timestamp;
use mars_meta::WriteError;
use mars_meta_api::{ApiError, ErrorCode, Secret};
use mars_meta_model::{Entry, Key, REMOVED_PREFIX, View as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Redeems the token, takes over the roster, and waits for the first complete exchange with a peer.
pub(crate) async fn join_cluster(
    daemon: &Arc<Daemon>,
    addr: Option<String>,
    token: Secret,
) -> Result<(), ApiError> {
    let _guard = daemon.membership.lock().await;
    already_in_cluster(daemon)?;
    let token = parse_token(token, addr).await?;
    let joiner = joiner(daemon)?;
    // Before the cluster writes anything: what a wrong clock refuses then would leave a node behind that never was.
    look_first(daemon, &token, &joiner).await?;
    let storage = |error: WriteError| ApiError::new(ErrorCode::Storage, error.to_string());
    // From here on the issuer may have admitted this number.
    daemon.meta.renumber(false).await.map_err(storage)?;
    let joined = match redeem_once(&token, &joiner).await? {
        Ok(joined) => joined,
        Err(error) => {
            let taken = Refusal::NodeTaken;
            if matches!(&error, JoinError::Refused { refusal, .. } if *refusal == taken) {
                daemon.meta.renumber(true).await.map_err(storage)?;
            }
            return Err(explain(&error));
        }
    };
    let entries = unpack_payload(&joined.payload).map_err(|reason| {
        let message = format!("the answer of {} cannot be used: {reason}", joined.issuer);
        ApiError::new(ErrorCode::Internal, message).with_hint("run the same version on both nodes")
    })?;
    check_clocks(daemon, &entries)?;
    adopt(daemon, entries)
        .await
        .map_err(|error| ApiError::new(ErrorCode::Storage, error.to_string()))?;
    crate::refill::bind(&daemon.meta, None)
        .await
        .map_err(|error| ApiError::new(ErrorCode::Storage, error.to_string()))?;
    let saved = joined.identity.save(&daemon.state.identity());
    saved.map_err(|error| ApiError::new(ErrorCode::Storage, error.to_string()))?;
    daemon
        .start(joined.identity, Vec::new())
        .await
        .map_err(|error| {
            let message = format!("this node is a member now, but gossip does not start: {error}");
            ApiError::new(ErrorCode::Internal, message)
                .with_hint("remove the cause and restart the daemon")
        })?;
    wait_first_sync(daemon).await?;
    tracing::info!(host = daemon.config.host, "cluster joined");
    Ok(())
}

/// What the cluster holds that the token is of; it takes no use of the token, and nothing is written anywhere.
pub(crate) async fn look_first(
    daemon: &Daemon,
    token: &JoinToken,
    joiner: &Joiner,
) -> Result<Vec<Entry>, ApiError> {
    let endpoint = temporary_endpoint(token)?;
    let found = survey(&endpoint, token, joiner).await;
    endpoint.close(CloseCode::Done, "");
    let (issuer, payload) = found.map_err(|error| explain(&error))?;
    let entries = unpack_payload(&payload).map_err(|reason| {
        let message = format!("the answer of {issuer} cannot be used: {reason}");
        ApiError::new(ErrorCode::Internal, message).with_hint("run the same version on both nodes")
    })?;
    check_clocks(daemon, &entries)?;
    Ok(entries)
}

/// The token, with the address that the administrator gave instead of its own.
pub(crate) async fn parse_token(
    token: Secret,
    addr: Option<String>,
) -> Result<JoinToken, ApiError> {
    let mut token: JoinToken = token
        .0
        .parse()
        .map_err(|error: mars_gossip_net::TokenError| {
            ApiError::new(ErrorCode::BadRequest, error.to_string()).with_hint(
                "copy the whole line that marsadm join-token printed, or draw a new token on a node of the cluster",
            )
        })?;
    if let Some(addr) = addr {
        let port = token.issuers.first().map_or(0, SocketAddr::port);
        token.issuers = resolve(&addr, port).await?;
    }
    Ok(token)
}

/// What this node tells an issuer of itself.
pub(crate) fn joiner(daemon: &Daemon) -> Result<Joiner, ApiError> {
    Ok(Joiner {
        node: Uuid::from_u128(daemon.meta.node().0),
        name: daemon.config.host.clone(),
        key: own_key(daemon)?,
        meta: daemon.config.advertise,
        data: Some(daemon.config.data_advertise),
    })
}

/// Waits for the first complete exchange with a peer of the new cluster; then, for a while, until all neighbours are heard,
/// so that what is asked next is not answered too early.
pub(crate) async fn wait_first_sync(daemon: &Daemon) -> Result<(), ApiError> {
    if timeout(JOIN_SYNC_TIMEOUT, daemon.status.wait_synced())
        .await
        .is_err()
    {
        let message = format!(
            "this node is a member now, but no other node was fully heard within {} seconds",
            JOIN_SYNC_TIMEOUT.as_secs()
        );
        return Err(ApiError::new(ErrorCode::Unreachable, message)
            .with_hint("the exchange goes on; check that UDP is let through in both directions"));
    }
    let end = Instant::now() + JOIN_SETTLE_TIMEOUT;
    while let Some(host) = daemon.status.unsettled() {
        if Instant::now() >= end {
            tracing::warn!(
                host,
                "not heard of yet: what is shown here may not be complete"
            );
            break;
        }
        sleep(JOIN_SETTLE_LOOK).await;
    }
    Ok(())
}

/// An endpoint for one exchange with an issuer.
pub(crate) fn temporary_endpoint(token: &JoinToken) -> Result<Endpoint, ApiError> {
    let v6 = token.issuers.first().is_some_and(SocketAddr::is_ipv6);
    let any = if v6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let settings = EndpointConfig::joining(SocketAddr::new(any, 0));
    Endpoint::bind(settings).map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))
}

pub(crate) async fn ask(token: &JoinToken, joiner: &Joiner) -> Result<Joined, ApiError> {
    let joined = redeem_once(token, joiner).await?;
    joined.map_err(|error| explain(&error))
}

async fn redeem_once(
    token: &JoinToken,
    joiner: &Joiner,
) -> Result<Result<Joined, JoinError>, ApiError> {
    let endpoint = temporary_endpoint(token)?;
    let joined = redeem(&endpoint, token, joiner).await;
    endpoint.close(CloseCode::Done, "");
    Ok(joined)
}

pub(crate) fn explain(error: &JoinError) -> ApiError {
    let code = match error {
        JoinError::Token(_) => ErrorCode::BadRequest,
        JoinError::Unreachable(_) | JoinError::Timeout { .. } | JoinError::Lost { .. } => {
            ErrorCode::Unreachable
        }
        JoinError::Refused { .. }
        | JoinError::WrongAuthority { .. }
        | JoinError::NoIssuer { .. } => ErrorCode::Refused,
        JoinError::Request(_) | JoinError::BadReply { .. } => ErrorCode::Internal,
    };
    let hint = match error {
        JoinError::Refused {
            refusal: Refusal::NameTaken,
            ..
        } => {
            "a second node with the same name cannot join: rename this host, or remove the other one"
        }
        JoinError::Refused {
            refusal:
                Refusal::Token | Refusal::Expired { .. } | Refusal::Revoked { .. } | Refusal::UsedUp,
            ..
        }
        | JoinError::Token(_) => "make a new token with join-token on a member of the cluster",
        JoinError::Refused {
            refusal: Refusal::NodeTaken,
            ..
        } => {
            "this machine was in that cluster under another name: restart marsd here, which gives it a new number, and join \
             again with the same token"
        }
        JoinError::Refused {
            refusal: Refusal::Unavailable(_),
            ..
        } => "when that is over there, try again with the same token",
        JoinError::Unreachable(_) => {
            "start the metadata daemon there and let UDP through; if that node is gone, its tokens are, too: marsadm \
             join-token > FILE on the node that holds the authority now (marsadm get-link defaults/ca-host on any node)"
        }
        JoinError::NoIssuer { .. } => {
            "its tokens are void: marsadm join-token > FILE on the node that holds the authority now (marsadm get-link \
             defaults/ca-host on any node)"
        }
        JoinError::Timeout { .. } | JoinError::Lost { .. } => {
            "try again with the same token; if that fails again, take one of the node that holds the authority now (marsadm \
             get-link defaults/ca-host on any node)"
        }
        _ => return ApiError::new(code, error.to_string()),
    };
    ApiError::new(code, error.to_string()).with_hint(hint)
}

/// The newest stamp of the latest epoch in force: what is of earlier ones is taken whatever its stamp is. An epoch that was
/// announced at a wrong time is in force as well, if no later one is there.
fn newest(entries: &[Entry]) -> Option<Timestamp> {
    let present = entries.iter().map(|entry| entry.epoch).max()?;
    let latest = entries.iter().filter(|entry| entry.epoch == present);
    latest.map(|entry| entry.stamp).max()
}

/// A roster from the far future would be refused entry by entry: better say so before anything is stored.
pub(crate) fn check_clocks(daemon: &Daemon, entries: &[Entry]) -> Result<(), ApiError> {
    let wall = daemon.meta.clock().0;
    let limit = Timestamp::from_nanos(wall.saturating_add(daemon.config.max_ahead_ns));
    match newest(entries).filter(|newest| *newest > limit) {
        None => Ok(()),
        Some(newest) => Err(ApiError::new(
            ErrorCode::Refused,
            format!(
                "the cluster's clock is far ahead of this node's: its newest stamp is {newest}, the system clock \
                 here says {}",
                Timestamp::from_nanos(wall)
            ),
        )
        .with_hint(
            "set the system clocks right and try again with the same token; if they are right, the store of the cluster \
             was written with wrong ones: marsadm clock epoch on a node of it",
        )),
    }
}

/// Puts the roster of the new cluster in place of what an earlier life or an import left behind, which must not win
/// over it by a later stamp.
pub(crate) async fn adopt(daemon: &Daemon, entries: Vec<Entry>) -> Result<(), WriteError> {
    let old: Vec<(Key, Timestamp)> = daemon.meta.with_table(|table| {
        let single = ["uuid", CA_HOST].into_iter();
        let single = single.filter_map(|key| table.entry(&Key::parse(key).ok()?));
        let roster = table.scan("roster/").chain(table.scan(REMOVED_PREFIX));
        let all = single.chain(roster);
        all.map(|entry| (entry.key.clone(), entry.stamp)).collect()
    });
    daemon.meta.forget(old).await?;
    daemon.meta.merge(entries, 0).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn of_earlier_epochs_no_stamp_is_too_far_ahead() {
        let mut announced = entry("clock-epoch/00002", Some("a"), 100, 1);
        announced.epoch = 2;
        let mut skipped = entry("clock-epoch/00001", Some("a"), 900, 1);
        skipped.epoch = 1;
        let poisoned = entry("roster/a", Some("x"), 1000, 1);
        let at = |at| Some(Timestamp::from_nanos(at));
        assert_eq!(newest(&[]), None);
        assert_eq!(newest(std::slice::from_ref(&poisoned)), at(1000));
        assert_eq!(newest(&[poisoned.clone(), skipped.clone()]), at(900));
        assert_eq!(newest(&[skipped, announced, poisoned]), at(100));
    }

    #[test]
    fn who_holds_a_token_of_somebody_who_is_gone_is_told_whom_to_ask() {
        let addr = SocketAddr::from(([192, 0, 2, 1], 7900));
        let gone = explain(&JoinError::NoIssuer {
            addr,
            reason: "this node does not hold the authority of the cluster".to_owned(),
        });
        let silent = explain(&JoinError::Unreachable(Vec::new()));
        let broken = explain(&JoinError::Timeout { addr });
        assert_eq!(
            [gone.code, silent.code, broken.code],
            [
                ErrorCode::Refused,
                ErrorCode::Unreachable,
                ErrorCode::Unreachable
            ]
        );
        assert!(gone.message.contains("192.0.2.1:7900"), "{gone}");
        for error in [gone, silent, broken] {
            let hint = error.hint.unwrap();
            assert!(hint.contains("defaults/ca-host"), "{hint}");
        }
    }
}
