//! The joiner's side.

use std::fmt;
use std::net::SocketAddr;

use quinn::ConnectionError;
use tokio::time::timeout;
use uuid::Uuid;

use crate::cert;
use crate::close::CloseCode;
use crate::connection::Connection;
use crate::dial::ConnectError;
use crate::endpoint::Endpoint;
use crate::identity::Identity;
use crate::join::wire::{
    self, Blob, GRANTED, GrantedBody, Proven, REFUSED, REQUEST, Refusal, RequestBody, SURVEY,
};
use crate::key::{KeyHash, NodeKey};
use crate::limits::{JOIN_TIMEOUT, MAX_CLOSE_REASON, MAX_JOIN_REPLY};
use crate::token::{JoinToken, TokenError};

/// What the joiner tells about itself. Keep node and key for a second try: an issuer that
/// admitted us and could not say so recognises them.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// Our number, freshly drawn by us.
    pub node: Uuid,
    /// The name we want.
    pub name: String,
    /// Our key; only its public half is sent.
    pub key: NodeKey,
    /// Where our metadata daemon will listen.
    pub meta: SocketAddr,
    /// Where our data plane will listen, if that is known.
    pub data: Option<SocketAddr>,
}

/// What a member needs to begin.
pub struct Joined {
    /// Key, certificate and authority; not saved yet.
    pub identity: Identity,
    /// What the issuer gave along: the roster.
    pub payload: Vec<u8>,
    /// Who admitted us.
    pub issuer: SocketAddr,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined")
            .field("identity", &self.identity)
            .field("payload", &self.payload.len())
            .field("issuer", &self.issuer)
            .finish()
    }
}

/// We are no member. Nothing was written here; what the issuer knows is said by each variant.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token itself; nobody was asked.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Our name or key; nobody was asked.
    #[error("cannot ask for a certificate: {0}")]
    Request(#[from] crate::key::KeyError),
    /// None of the addresses answered; the issuer knows nothing.
    #[error("no issuer of the token can be reached: {}", list(.0))]
    Unreachable(Vec<ConnectError>),
    /// The one who answered is not of the token's cluster; the issuer knows nothing.
    #[error("{addr} is not of the cluster that made this token: {reason}")]
    WrongAuthority {
        /// Who answered.
        addr: SocketAddr,
        /// What was wrong.
        reason: String,
    },
    /// The issuer said no.
    #[error("{addr} refused: {refusal}")]
    Refused {
        /// Who.
        addr: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// Who answered admits nobody, e.g. because another node holds the authority by now. Trying again does not help.
    #[error("{addr} does not admit nodes any more: {reason}")]
    NoIssuer {
        /// Who.
        addr: SocketAddr,
        /// Its words.
        reason: String,
    },
    /// The answer did not come in time. We may be admitted: try again with the same key and node.
    #[error("{addr} did not finish the join within {JOIN_TIMEOUT:?}; try again with the same key")]
    Timeout {
        /// Who.
        addr: SocketAddr,
    },
    /// The connection broke. We may be admitted: try again with the same key and node.
    #[error("the connection to {addr} broke while joining: {reason}; try again with the same key")]
    Lost {
        /// Who.
        addr: SocketAddr,
        /// How.
        reason: String,
    },
    /// The answer is not usable though the issuer admitted us, or thinks so.
    #[error("the answer of {addr} cannot be used: {reason}")]
    BadReply {
        /// Who.
        addr: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
}

fn list(errors: &[ConnectError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Redeems a token at the first of its issuers that answers. Each address gets
/// [`JOIN_TIMEOUT`](crate::limits::JOIN_TIMEOUT).
///
/// # Errors
/// See [`JoinError`].
pub async fn redeem(
    endpoint: &Endpoint,
    token: &JoinToken,
    joiner: &Joiner,
) -> Result<Joined, JoinError> {
    let (issuer, body) = exchange(endpoint, token, joiner, REQUEST).await?;
    accept(token, joiner, issuer, body)
}

/// Asks the first issuer that answers what a join would lead to; nobody is admitted, and the token is not used up.
/// Returns who answered and what it gave along.
///
/// # Errors
/// See [`JoinError`].
pub async fn survey(
    endpoint: &Endpoint,
    token: &JoinToken,
    joiner: &Joiner,
) -> Result<(SocketAddr, Vec<u8>), JoinError> {
    let (issuer, body) = exchange(endpoint, token, joiner, SURVEY).await?;
    Ok((issuer, body.payload.0))
}

async fn exchange(
    endpoint: &Endpoint,
    token: &JoinToken,
    joiner: &Joiner,
    kind: u8,
) -> Result<(SocketAddr, GrantedBody), JoinError> {
    token.check_expiry(endpoint.unix_time())?;
    let csr = joiner.key.csr(joiner.node, &joiner.name)?;
    let mut failed = Vec::new();
    for &addr in &token.issuers {
        match timeout(
            JOIN_TIMEOUT,
            endpoint.connect_pinned(addr, token.ca, token.cluster),
        )
        .await
        {
            Ok(Ok(connection)) => {
                let asked =
                    timeout(JOIN_TIMEOUT, ask(&connection, token, joiner, &csr, kind)).await;
                let result = asked.unwrap_or(Err(JoinError::Timeout { addr }));
                let result = result.map_err(|error| turned_away(&connection, error));
                // "Done" tells the issuer that its answer arrived.
                let (code, reason) = match &result {
                    Ok(_) | Err(JoinError::Refused { .. }) => (CloseCode::Done, String::new()),
                    Err(error) => (CloseCode::Protocol, error.to_string()),
                };
                connection.close(code, &reason);
                return result.map(|body| (addr, body));
            }
            Ok(Err(error)) => failed.push(error),
            Err(_) => failed.push(ConnectError::Timeout {
                addr,
                after: JOIN_TIMEOUT,
            }),
        }
    }
    if let [
        ConnectError::Refused {
            addr,
            code: CloseCode::NotAllowed,
            reason,
        },
    ] = &failed[..]
    {
        return Err(no_issuer(*addr, reason));
    }
    match failed
        .iter()
        .position(|e| matches!(e, ConnectError::Foreign { .. }))
    {
        Some(at) => match failed.swap_remove(at) {
            ConnectError::Foreign { addr, reason } => {
                Err(JoinError::WrongAuthority { addr, reason })
            }
            other => Err(JoinError::Unreachable(vec![other])),
        },
        None => Err(JoinError::Unreachable(failed)),
    }
}

fn no_issuer(addr: SocketAddr, words: &str) -> JoinError {
    let plain = words.chars().filter(|c| !c.is_control());
    JoinError::NoIssuer {
        addr,
        reason: plain.take(MAX_CLOSE_REASON).collect(),
    }
}

/// What the issuer closed with says more than that the connection is gone.
fn turned_away(connection: &Connection, error: JoinError) -> JoinError {
    let addr = connection.remote_addr();
    match (error, connection.close_reason()) {
        (JoinError::Lost { .. }, Some(ConnectionError::ApplicationClosed(close)))
            if close.error_code.into_inner() == u64::from(CloseCode::NotAllowed.code()) =>
        {
            no_issuer(addr, &String::from_utf8_lossy(&close.reason))
        }
        (error, _) => error,
    }
}

async fn ask(
    connection: &Connection,
    token: &JoinToken,
    joiner: &Joiner,
    csr: &[u8],
    kind: u8,
) -> Result<GrantedBody, JoinError> {
    let addr = connection.remote_addr();
    let lost = |e: String| JoinError::Lost { addr, reason: e };
    let proven =
        Proven::new(connection, token.cluster, token.id, csr).map_err(|e| lost(e.to_string()))?;
    let request = RequestBody {
        cluster: token.cluster,
        token: Blob(token.id.0.to_vec()),
        proof: Blob(proven.sign(&token.secret)),
        node: joiner.node,
        name: joiner.name.clone(),
        meta: joiner.meta.to_string(),
        data: joiner.data.map(|a| a.to_string()),
        csr: Blob(csr.to_vec()),
    };
    let body = wire::encode(&request).map_err(lost)?;
    let (mut tx, mut rx) = connection
        .open_bi(MAX_JOIN_REPLY)
        .await
        .map_err(|e| lost(e.to_string()))?;
    tx.send(kind, 0, body)
        .await
        .map_err(|e| lost(e.to_string()))?;
    tx.finish().map_err(|e| lost(e.to_string()))?;
    loop {
        let frame = rx.read_frame().await.map_err(|e| lost(e.to_string()))?;
        let frame = frame.ok_or_else(|| lost("closed without an answer".to_owned()))?;
        match frame.kind {
            GRANTED => {
                return wire::decode(&frame.body)
                    .map_err(|reason| JoinError::BadReply { addr, reason });
            }
            REFUSED => {
                let body = wire::decode(&frame.body)
                    .map_err(|reason| JoinError::BadReply { addr, reason })?;
                return Err(JoinError::Refused {
                    addr,
                    refusal: Refusal::from_body(body),
                });
            }
            // Of a newer issuer; what counts comes behind it.
            _ => {}
        }
    }
}

/// Believes nothing that can be checked.
fn accept(
    token: &JoinToken,
    joiner: &Joiner,
    addr: SocketAddr,
    body: GrantedBody,
) -> Result<Joined, JoinError> {
    let bad = |reason: String| JoinError::BadReply { addr, reason };
    let ca: KeyHash = cert::read_ca(&body.ca.0)
        .map_err(|e| bad(e.to_string()))?
        .key;
    if ca != token.ca {
        return Err(bad(format!(
            "its authority has key {ca}, the token says {}",
            token.ca
        )));
    }
    let identity = Identity::new(joiner.key.clone(), &body.cert.0, &body.ca.0)
        .map_err(|e| bad(e.to_string()))?;
    let got = identity.as_peer();
    if (got.cluster, got.node, &got.name) != (token.cluster, joiner.node, &joiner.name) {
        return Err(bad(format!(
            "the certificate is for {got} of cluster {}",
            got.cluster
        )));
    }
    Ok(Joined {
        identity,
        payload: body.payload.0,
        issuer: addr,
    })
}
