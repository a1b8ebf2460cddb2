//! The join exchange.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mars_gossip_net::join::{
    Grant, JoinError, JoinRequest, Joiner, Refusal, ServeJoinError, TokenState, redeem, serve_join,
};
use mars_gossip_net::{
    Alpn, CloseCode, ClusterCa, ConnectError, Endpoint, EndpointConfig, Identity, JoinToken,
    TokenError, TokenSecret,
};
use uuid::Uuid;

use crate::common::{cluster, endpoint, loopback, member, soon};

const LATER: u64 = 4_000_000_000;

/// An issuer with one token.
struct Issuer {
    ca: ClusterCa,
    endpoint: Endpoint,
    token: JoinToken,
    now: u64,
    revoked: Option<u64>,
}

impl Issuer {
    fn new() -> Self {
        let ca = cluster();
        let endpoint = endpoint(member(&ca, "issuer", 1));
        let addr = endpoint.local_addr().unwrap();
        let token = JoinToken::generate(ca.cluster(), ca.key_hash(), vec![addr], LATER).unwrap();
        Self {
            ca,
            endpoint,
            token,
            now: 1,
            revoked: None,
        }
    }

    /// Serves one join of somebody who comes with `token`.
    async fn serve(
        &self,
        token: &JoinToken,
        joiner: &Joiner,
        answer: Result<Grant, Refusal>,
    ) -> (
        Result<mars_gossip_net::join::Joined, JoinError>,
        Result<JoinRequest, ServeJoinError>,
    ) {
        let new = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
        let serving = async {
            let connection = self.endpoint.accept().await.unwrap();
            assert_eq!((connection.alpn(), connection.peer()), (Alpn::Join, None));
            let lookup = |id| {
                let (secret, expires) = (self.token.secret.clone(), self.token.expires);
                let revoked = self.revoked;
                (id == self.token.id).then_some(TokenState {
                    secret,
                    expires,
                    revoked,
                })
            };
            serve_join(connection, &self.ca, self.now, lookup, |_| async { answer }).await
        };
        soon(async { tokio::join!(redeem(&new, token, joiner), serving) }).await
    }
}

fn joiner(name: &str) -> Joiner {
    Joiner {
        node: Uuid::from_u128(0x77),
        name: name.to_owned(),
        key: Identity::generate_key().unwrap(),
        meta: "0.0.0.0:7900".parse().unwrap(),
        data: Some("[2001:db8::1]:7901".parse().unwrap()),
    }
}

fn granted() -> Result<Grant, Refusal> {
    Ok(Grant {
        payload: vec![0x5a; 300_000],
    })
}

fn refusal(result: Result<mars_gossip_net::join::Joined, JoinError>) -> Refusal {
    match result {
        Err(JoinError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_machine_with_a_token_becomes_a_member() {
    let issuer = Issuer::new();
    let me = joiner("host-n");
    let token: JoinToken = issuer.token.to_text().parse().unwrap();
    let (joined, served) = issuer.serve(&token, &me, granted()).await;
    let joined = joined.unwrap();
    assert_eq!(joined.payload, vec![0x5a; 300_000]);
    assert_eq!(joined.issuer, issuer.endpoint.local_addr().unwrap());
    assert_eq!(joined.identity.name(), "host-n");
    assert_eq!(
        (joined.identity.node_uuid(), joined.identity.cluster()),
        (me.node, issuer.ca.cluster())
    );
    let request = served.unwrap();
    assert_eq!(
        (request.token, request.node, request.name.as_str()),
        (token.id, me.node, "host-n")
    );
    assert_eq!(
        (request.key, request.meta, request.data),
        (me.key.key_hash(), me.meta, me.data)
    );
    assert!(request.observed.ip().is_loopback());

    // The certificate is good.
    let new = endpoint(joined.identity);
    let (dialled, accepted) = crate::common::connect(&new, &issuer.endpoint).await;
    assert_eq!(accepted.peer().unwrap().key, me.key.key_hash());
    assert_eq!(dialled.peer().unwrap().name, "issuer");
}

#[tokio::test]
async fn who_has_a_revoked_token_is_told_since_when() {
    let mut issuer = Issuer::new();
    issuer.revoked = Some(77);
    let (joined, _) = issuer.serve(&issuer.token, &joiner("x"), granted()).await;
    let refused = refusal(joined);
    assert_eq!(refused, Refusal::Revoked { at: 77 });
    assert!(
        refused
            .to_string()
            .contains("revoked at 1970-01-01 00:01:17 UTC"),
        "{refused}"
    );
    // Who does not know the secret is not told.
    let mut wrong = issuer.token.clone();
    wrong.secret = TokenSecret::from_bytes([0; 32]);
    let (joined, _) = issuer.serve(&wrong, &joiner("x"), granted()).await;
    assert_eq!(refusal(joined), Refusal::Token);
}

#[tokio::test]
async fn unknown_token_and_wrong_secret_look_alike() {
    let issuer = Issuer::new();
    let mut unknown = issuer.token.clone();
    unknown.id.0[0] ^= 1;
    let mut wrong = issuer.token.clone();
    wrong.secret = TokenSecret::from_bytes([0; 32]);
    // Both wrong: the stand-in secret must not open the door.
    let mut both = unknown.clone();
    both.secret = wrong.secret.clone();
    for token in [unknown, wrong, both] {
        let (joined, served) = issuer.serve(&token, &joiner("x"), granted()).await;
        assert_eq!(refusal(joined), Refusal::Token);
        match served {
            Err(ServeJoinError::Refused {
                refusal: Refusal::Token,
                request: None,
            }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_by_both_sides() {
    let mut issuer = Issuer::new();
    issuer.now = LATER;
    let (joined, _) = issuer.serve(&issuer.token, &joiner("x"), granted()).await;
    assert_eq!(refusal(joined), Refusal::Expired { at: LATER });

    // By our own clock nobody is even asked.
    let mut token = issuer.token.clone();
    token.expires = 1_000;
    let new = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
    let result = soon(redeem(&new, &token, &joiner("x"))).await;
    assert!(matches!(
        result,
        Err(JoinError::Token(TokenError::Expired { at: 1_000, .. }))
    ));
}

#[tokio::test]
async fn an_expired_token_with_a_wrong_secret_does_not_tell_that_it_was_one() {
    let mut issuer = Issuer::new();
    issuer.now = LATER;
    let mut token = issuer.token.clone();
    token.secret = TokenSecret::from_bytes([1; 32]);
    let (joined, _) = issuer.serve(&token, &joiner("x"), granted()).await;
    assert_eq!(refusal(joined), Refusal::Token);
}

#[tokio::test]
async fn the_issuers_no_reaches_the_joiner() {
    let issuer = Issuer::new();
    for no in [
        Refusal::UsedUp,
        Refusal::NameTaken,
        Refusal::NodeTaken,
        Refusal::Unavailable("host-z holds the authority".to_owned()),
    ] {
        let (joined, served) = issuer
            .serve(&issuer.token, &joiner("x"), Err(no.clone()))
            .await;
        assert_eq!(refusal(joined), no);
        match served {
            Err(ServeJoinError::Refused {
                refusal,
                request: Some(request),
            }) => {
                assert_eq!((refusal, request.name.as_str()), (no, "x"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_is_noticed_by_the_joiner() {
    let issuer = Issuer::new();
    let new = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
    let result = soon(redeem(&new, &issuer.token, &joiner("a b"))).await;
    assert!(matches!(result, Err(JoinError::Request(_))));
}

#[tokio::test]
async fn who_admits_nobody_any_more_is_told_from_a_broken_connection() {
    let issuer = Issuer::new();
    let new = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
    let turns_away = async {
        let connection = issuer.endpoint.accept().await.unwrap();
        connection.close(CloseCode::NotAllowed, "host-z holds the authority");
        connection.closed().await
    };
    let me = joiner("x");
    let asked = redeem(&new, &issuer.token, &me);
    let (result, _) = soon(async { tokio::join!(asked, turns_away) }).await;
    match result {
        Err(JoinError::NoIssuer { addr, reason }) => {
            assert_eq!(addr, issuer.endpoint.local_addr().unwrap());
            assert_eq!(reason, "host-z holds the authority");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_of_another_authority_stops_the_joiner() {
    let issuer = Issuer::new();
    let mut token = issuer.token.clone();
    token.ca = cluster().key_hash();
    let new = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
    let result = soon(redeem(&new, &token, &joiner("x"))).await;
    assert!(
        matches!(result, Err(JoinError::WrongAuthority { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_token_of_another_cluster_stops_the_joiner() {
    let issuer = Issuer::new();
    let mut token = issuer.token.clone();
    token.cluster = Uuid::from_u128(0xbad);
    let new = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
    let result = soon(redeem(&new, &token, &joiner("x"))).await;
    assert!(
        matches!(result, Err(JoinError::WrongAuthority { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn the_second_address_is_tried_when_the_first_is_dead() {
    let issuer = Issuer::new();
    let mut token = issuer.token.clone();
    // Another cluster's node answers at the first one.
    let stray = endpoint(member(&cluster(), "stray", 9));
    token.issuers.insert(0, stray.local_addr().unwrap());
    let (joined, _) = issuer.serve(&token, &joiner("x"), granted()).await;
    assert_eq!(
        joined.unwrap().issuer,
        issuer.endpoint.local_addr().unwrap()
    );
}

#[tokio::test]
async fn nobody_at_home() {
    let issuer = Issuer::new();
    let mut token = issuer.token.clone();
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    token.issuers = vec![silent.local_addr().unwrap()];
    let mut config = EndpointConfig::joining(loopback());
    config.handshake_timeout = std::time::Duration::from_millis(50);
    let new = Endpoint::bind(config).unwrap();
    match soon(redeem(&new, &token, &joiner("x"))).await {
        Err(JoinError::Unreachable(errors)) => {
            assert!(matches!(errors[..], [ConnectError::Timeout { .. }]));
        }
        other => panic!("{other:?}"),
    }
}

/// A member of the cluster that holds no authority cannot stand in for one that does: here it
/// grants with a certificate of its own making.
#[tokio::test]
async fn a_certificate_of_a_false_authority_is_not_taken() {
    let issuer = Issuer::new();
    let false_ca = cluster();
    let new = Endpoint::bind(EndpointConfig::joining(loopback())).unwrap();
    let serving = async {
        let connection = issuer.endpoint.accept().await.unwrap();
        let lookup = |_| {
            Some(TokenState {
                secret: issuer.token.secret.clone(),
                expires: LATER,
                revoked: None,
            })
        };
        serve_join(connection, &false_ca, 1, lookup, |_| async { granted() }).await
    };
    let me = joiner("x");
    let asking = redeem(&new, &issuer.token, &me);
    let (joined, _) = soon(async { tokio::join!(asking, serving) }).await;
    assert!(
        matches!(joined, Err(JoinError::BadReply { .. })),
        "{joined:?}"
    );
}

/// The answer to the first try got lost, say.
#[tokio::test]
async fn a_second_try_with_the_same_key_looks_the_same_to_the_issuer() {
    let issuer = Issuer::new();
    let me = joiner("x");
    let seen = Arc::new(Mutex::new(Vec::<JoinRequest>::new()));
    for _ in 0..2 {
        let (joined, served) = issuer.serve(&issuer.token, &me, granted()).await;
        assert_eq!(joined.unwrap().identity.key_hash(), me.key.key_hash());
        seen.lock().unwrap().push(served.unwrap());
    }
    let seen = seen.lock().unwrap();
    let same = |r: &JoinRequest| (r.token, r.node, r.key, r.name.clone());
    assert_eq!(same(&seen[0]), same(&seen[1]));
}

#[tokio::test]
async fn a_joiner_that_says_nothing_or_rubbish_is_sent_away() {
    let issuer = Issuer::new();
    let to: SocketAddr = issuer.endpoint.local_addr().unwrap();
    let lookup = |_| -> Option<TokenState> { panic!("no request, no look-up") };
    let decide = |_| async { granted() };

    let (_e, connected) = crate::rogue::dial(to, Some(Alpn::Join.as_bytes()), None).await;
    let connection = soon(issuer.endpoint.accept()).await.unwrap();
    let client = connected.unwrap();
    client.close(0u32.into(), b"");
    let served = soon(serve_join(connection, &issuer.ca, 1, lookup, decide)).await;
    assert!(matches!(served, Err(ServeJoinError::NoRequest { .. })));

    // A body longer than allowed; one that is no map; a frame of another type.
    for (bytes, refused) in [
        (&[1, 0, 0, 0, 1, 0][..], false),
        (&[1, 0, 1, 0, 0, 0, 0xc1][..], true),
        (&[9, 0, 0, 0, 0, 0][..], true),
    ] {
        let (_e, connected) = crate::rogue::dial(to, Some(Alpn::Join.as_bytes()), None).await;
        let connection = soon(issuer.endpoint.accept()).await.unwrap();
        let client = connected.unwrap();
        let (mut tx, mut rx) = client.open_bi().await.unwrap();
        tx.write_all(bytes).await.unwrap();
        let serving = serve_join(connection, &issuer.ca, 1, lookup, decide);
        let (served, answer) = soon(async { tokio::join!(serving, rx.read_to_end(10_000)) }).await;
        match served {
            Err(ServeJoinError::NoRequest { .. }) => assert!(!refused),
            Err(ServeJoinError::Refused {
                refusal: Refusal::BadRequest(_),
                ..
            }) => {
                assert!(refused);
                assert_eq!(answer.unwrap()[0], 3);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The request as the specification says, by other code than the crate's.
#[derive(serde::Serialize)]
struct SpecRequest<'a> {
    node: Uuid,
    name: &'a str,
    csr: Bytes<'a>,
    token: Bytes<'a>,
    cluster: Uuid,
    proof: Bytes<'a>,
    meta: &'a str,
    #[serde(rename = "x-future")]
    unknown: Vec<u8>,
}

struct Bytes<'a>(&'a [u8]);

impl serde::Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Asks in session `sent` with key material of session `proven`; the type of the answer's frame
/// and, for a refusal, its code.
async fn ask_by_hand(
    issuer: &Issuer,
    cluster: Uuid,
    (proven, sent): (&quinn::Connection, &quinn::Connection),
) -> (u8, Option<u8>) {
    let me = joiner("by-hand");
    let csr = me.key.csr(me.node, &me.name).unwrap();
    let id = issuer.token.id.0;
    let mut session = [0; 32];
    proven
        .export_keying_material(&mut session, b"EXPORTER-mars-join-1", &id)
        .unwrap();
    let csr_hash = ring::digest::digest(&ring::digest::SHA256, &csr);
    let over = [
        &b"mars join proof 1"[..],
        &session,
        cluster.as_bytes(),
        &id,
        csr_hash.as_ref(),
    ];
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, issuer.token.secret.expose());
    let body = rmp_serde::to_vec_named(&SpecRequest {
        node: me.node,
        name: &me.name,
        csr: Bytes(&csr),
        token: Bytes(&id),
        cluster,
        proof: Bytes(ring::hmac::sign(&key, &over.concat()).as_ref()),
        meta: "127.0.0.1:1",
        unknown: vec![1, 2, 3],
    })
    .unwrap();
    let (mut tx, mut rx) = sent.open_bi().await.unwrap();
    let len = u32::try_from(body.len()).unwrap().to_le_bytes();
    tx.write_all(&[&[1, 0][..], &len, &body].concat())
        .await
        .unwrap();
    tx.finish().unwrap();
    let answer = rx.read_to_end(1 << 20).await.unwrap();
    // Behind the frame header: a map whose first field is the code.
    (
        answer[0],
        answer[6..]
            .strip_prefix(b"\x82\xa4code")
            .map(|rest| rest[0]),
    )
}

#[tokio::test]
async fn a_proof_is_good_in_its_own_session_and_cluster_only() {
    let issuer = Issuer::new();
    let to = issuer.endpoint.local_addr().unwrap();
    let join = Some(Alpn::Join.as_bytes());
    let (_keep, other) = crate::rogue::dial(to, join, None).await;
    let other = other.unwrap();
    let _other = soon(issuer.endpoint.accept()).await.unwrap();
    let (right, wrong) = (issuer.ca.cluster(), Uuid::from_u128(0xbad));
    for (cluster, replayed, expected) in [
        (right, true, (3, Some(1))),
        (wrong, false, (3, Some(6))),
        (right, false, (2, None)),
    ] {
        let (_keep, own) = crate::rogue::dial(to, join, None).await;
        let own = own.unwrap();
        let accepted = soon(issuer.endpoint.accept()).await.unwrap();
        let lookup = |_| {
            Some(TokenState {
                secret: issuer.token.secret.clone(),
                expires: LATER,
                revoked: None,
            })
        };
        let serve = serve_join(accepted, &issuer.ca, 1, lookup, |_| async { granted() });
        let sessions = (if replayed { &other } else { &own }, &own);
        let ask = ask_by_hand(&issuer, cluster, sessions);
        // The asker says goodbye as soon as it has its answer.
        let ask = async {
            let answer = ask.await;
            own.close(0u32.into(), b"");
            answer
        };
        let (served, answer) = soon(async { tokio::join!(serve, ask) }).await;
        assert_eq!(answer, expected);
        assert_eq!(served.is_ok(), expected.0 == 2);
    }
}
