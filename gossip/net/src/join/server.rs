//! The issuer's side.

use std::net::SocketAddr;

use tokio::time::timeout;
use uuid::Uuid;

use crate::ca::{ClusterCa, SignError};
use crate::cert;
use crate::close::CloseCode;
use crate::connection::Connection;
use crate::frame::FrameSender;
use crate::join::wire::{
    self, Blob, GRANTED, GrantedBody, Proven, REFUSED, REQUEST, Refusal, RequestBody, SURVEY,
};
use crate::key::KeyHash;
use crate::limits::{JOIN_TIMEOUT, MAX_JOIN_PAYLOAD, MAX_JOIN_REQUEST};
use crate::token::{TokenId, TokenSecret};

/// What the issuer's store knows about a token.
#[derive(Clone, Debug)]
pub struct TokenState {
    /// Its secret.
    pub secret: TokenSecret,
    /// Seconds since 1970.
    pub expires: u64,
    /// Since when it is no longer good, if somebody took it back; seconds since 1970.
    pub revoked: Option<u64>,
}

/// A joiner that knows the secret of a token in force, and owns the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The token it came with.
    pub token: TokenId,
    /// The number it chose.
    pub node: Uuid,
    /// The name it wants.
    pub name: String,
    /// Its key: what the roster is to know it by.
    pub key: KeyHash,
    /// Where it says its metadata daemon will listen; the address may be unspecified.
    pub meta: SocketAddr,
    /// Where it says its data plane will listen.
    pub data: Option<SocketAddr>,
    /// Where its packets come from.
    pub observed: SocketAddr,
    /// It only wants to know what it would join: it is not to be admitted, and the token not to be used up.
    pub survey: bool,
}

/// The joiner is admitted: it is in the roster, durably.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// For the joiner, opaque here.
    pub payload: Vec<u8>,
}

/// The exchange did not end with a certificate delivered.
#[derive(Debug, thiserror::Error)]
pub enum ServeJoinError {
    /// We said no. `request` is there if the joiner proved itself.
    #[error("join refused: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Who.
        request: Option<Box<JoinRequest>>,
    },
    /// No request came, or not in time; nothing was changed.
    #[error("no join request from {from}: {reason}")]
    NoRequest {
        /// Who.
        from: SocketAddr,
        /// What came instead.
        reason: String,
    },
    /// `decide` granted (or had no time to end) but the answer may not have arrived. The joiner
    /// will come again with the same token, node and key: it should be granted again.
    #[error("{} was admitted or nearly so, but the answer may be lost: {reason}", request.name)]
    ReplyLost {
        /// Who.
        request: Box<JoinRequest>,
        /// How.
        reason: String,
    },
}

/// Serves one connection of [`Alpn::Join`](crate::Alpn::Join) and closes it.
///
/// `lookup` finds a token by its id (`None`: unknown); it is called once, before anything is
/// believed. `decide` is called at most once, for a joiner that has proven to know the secret of
/// a token that has not expired; it must use the token up and write the roster entry together
/// and durably, or refuse. When it sees the same token with the same node and key again, it
/// should grant again: the first answer got lost.
///
/// Ends within [`JOIN_TIMEOUT`](crate::limits::JOIN_TIMEOUT), `decide` included; `now` is the
/// issuer's wall clock in seconds since 1970.
///
/// # Errors
/// See [`ServeJoinError`].
pub async fn serve_join<L, D, F>(
    connection: Connection,
    ca: &ClusterCa,
    now: u64,
    lookup: L,
    decide: D,
) -> Result<JoinRequest, ServeJoinError>
where
    L: FnOnce(TokenId) -> Option<TokenState>,
    D: FnOnce(JoinRequest) -> F,
    F: Future<Output = Result<Grant, Refusal>>,
{
    let mut proven = None;
    let work = serve(&connection, ca, now, lookup, decide, &mut proven);
    let done = timeout(JOIN_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(too_late(&connection, proven)));
    connection.close(CloseCode::Done, "");
    done
}

fn too_late(connection: &Connection, proven: Option<JoinRequest>) -> ServeJoinError {
    let reason = format!("not done within {JOIN_TIMEOUT:?}");
    match proven.map(Box::new) {
        Some(request) => ServeJoinError::ReplyLost { request, reason },
        None => ServeJoinError::NoRequest {
            from: connection.remote_addr(),
            reason,
        },
    }
}

async fn serve<L, D, F>(
    connection: &Connection,
    ca: &ClusterCa,
    now: u64,
    lookup: L,
    decide: D,
    proven: &mut Option<JoinRequest>,
) -> Result<JoinRequest, ServeJoinError>
where
    L: FnOnce(TokenId) -> Option<TokenState>,
    D: FnOnce(JoinRequest) -> F,
    F: Future<Output = Result<Grant, Refusal>>,
{
    let from = connection.remote_addr();
    let none = |reason: String| ServeJoinError::NoRequest { from, reason };
    let (mut tx, mut rx) = connection
        .accept_bi(MAX_JOIN_REQUEST)
        .await
        .map_err(|e| none(e.to_string()))?;
    let frame = match rx.read_frame().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(none("the stream ended".to_owned())),
        Err(e) => return Err(none(e.to_string())),
    };
    let checked = if matches!(frame.kind, REQUEST | SURVEY) {
        check(connection, ca, now, lookup, &frame.body)
    } else {
        Err(Refusal::BadRequest(format!(
            "frame type {}, not a join request",
            frame.kind
        )))
    };
    let (mut request, mut cert) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refuse(&mut tx, refusal, None).await,
    };
    request.survey = frame.kind == SURVEY;
    if request.survey {
        cert.clear();
    }
    *proven = Some(request.clone());
    let grant = match decide(request.clone()).await {
        Ok(grant) => grant,
        Err(refusal) => return refuse(&mut tx, refusal, Some(request)).await,
    };
    let lost = |reason: String| ServeJoinError::ReplyLost {
        request: Box::new(request.clone()),
        reason,
    };
    if grant.payload.len() > MAX_JOIN_PAYLOAD {
        return Err(lost(format!(
            "a payload of {} bytes is too long",
            grant.payload.len()
        )));
    }
    let (ca, payload) = (Blob(ca.cert_der().to_vec()), Blob(grant.payload));
    let body = wire::encode(&GrantedBody {
        ca,
        cert: Blob(cert),
        payload,
    })
    .map_err(lost)?;
    deliver(&mut tx, GRANTED, body).await.map_err(lost)?;
    Ok(request)
}

/// The order matters: who does not know the secret learns nothing but that.
fn check<L>(
    connection: &Connection,
    ca: &ClusterCa,
    now: u64,
    lookup: L,
    body: &[u8],
) -> Result<(JoinRequest, Vec<u8>), Refusal>
where
    L: FnOnce(TokenId) -> Option<TokenState>,
{
    let body: RequestBody = wire::decode(body).map_err(Refusal::BadRequest)?;
    if body.cluster != ca.cluster() {
        return Err(Refusal::WrongCluster);
    }
    let id = <[u8; 8]>::try_from(body.token.0.as_slice())
        .map(TokenId)
        .map_err(|_| Refusal::BadRequest("the token id has not 8 bytes".to_owned()))?;
    let proven = Proven::new(connection, body.cluster, id, &body.csr.0)
        .map_err(|e| Refusal::Unavailable(e.to_string()))?;
    let state = lookup(id);
    // An unknown token costs the same time as a wrong proof.
    let dummy = TokenSecret::from_bytes([0; 32]);
    let secret = state.as_ref().map_or(&dummy, |s| &s.secret);
    let known = proven.verify(secret, &body.proof.0);
    let state = state.filter(|_| known).ok_or(Refusal::Token)?;
    if let Some(at) = state.revoked {
        return Err(Refusal::Revoked { at });
    }
    if now >= state.expires {
        return Err(Refusal::Expired { at: state.expires });
    }
    let address = |text: &str, what: &str| {
        let bad = |_| Refusal::BadRequest(format!("the {what} address is not IP:PORT"));
        text.parse::<SocketAddr>().map_err(bad)
    };
    let meta = address(&body.meta, "metadata")?;
    let data = body
        .data
        .as_deref()
        .map(|text| address(text, "data"))
        .transpose()?;
    let cert = ca
        .sign_csr(&body.csr.0, body.node, &body.name)
        .map_err(|e| match e {
            SignError::Sign(_) => Refusal::Unavailable(e.to_string()),
            _ => Refusal::BadRequest(e.to_string()),
        })?;
    let signed = cert::read_node(&cert).map_err(|e| Refusal::Unavailable(e.to_string()))?;
    let request = JoinRequest {
        token: id,
        node: body.node,
        name: body.name,
        key: signed.key,
        meta,
        data,
        observed: connection.remote_addr(),
        survey: false,
    };
    Ok((request, cert))
}

async fn refuse(
    tx: &mut FrameSender,
    refusal: Refusal,
    request: Option<JoinRequest>,
) -> Result<JoinRequest, ServeJoinError> {
    if let Ok(body) = wire::encode(&refusal.to_body()) {
        // The refusal stands whether the joiner hears it or not.
        let _heard = deliver(tx, REFUSED, body).await;
    }
    Err(ServeJoinError::Refused {
        refusal,
        request: request.map(Box::new),
    })
}

/// Waits for the acknowledgement: closing the connection would throw away what is on its way.
async fn deliver(tx: &mut FrameSender, kind: u8, body: bytes::Bytes) -> Result<(), String> {
    tx.send(kind, 0, body).await.map_err(|e| e.to_string())?;
    tx.finish().map_err(|e| e.to_string())?;
    match tx.stopped().await {
        Ok(None) => Ok(()),
        Ok(Some(code)) => Err(format!("the joiner stopped reading (code {code})")),
        // The joiner closes once it has the answer; its acknowledgement may be in that packet.
        Err(crate::frame::SendFrameError::Lost(quinn::ConnectionError::ApplicationClosed(c)))
            if c.error_code.into_inner() == 0 =>
        {
            Ok(())
        }
        Err(e) => Err(e.to_string()),
    }
}
