//! Clients that do not play by the rules: no byte of application data reaches them.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use mars_gossip_net::{AllowMembers, Alpn, CloseCode, Endpoint, EndpointConfig, Identity};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::common::{cluster, connect, endpoint, loopback, member, soon};

#[derive(Debug)]
struct BelievesAll;

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

pub(crate) type Shown = Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>;

/// What a member would show, read from its state folder as a thief would.
fn stolen_files(identity: &Identity) -> Shown {
    use rustls::pki_types::pem::PemObject as _;
    let dir = tempfile::tempdir().unwrap();
    identity.save(dir.path()).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.path().join("node.key")).unwrap();
    let chain = [identity.cert_der(), identity.ca_der()];
    Some((
        chain.map(|der| CertificateDer::from(der.to_vec())).to_vec(),
        key,
    ))
}

/// Settings of a client that believes everybody.
pub(crate) fn trusting(alpn: Option<&[u8]>, shown: Shown) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAll));
    let mut tls = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
    tls
}

/// Dials with raw QUIC; what happens then is the test.
pub(crate) async fn dial(
    to: SocketAddr,
    alpn: Option<&[u8]>,
    shown: Shown,
) -> (
    quinn::Endpoint,
    Result<quinn::Connection, quinn::ConnectionError>,
) {
    let crypto = QuicClientConfig::try_from(trusting(alpn, shown)).unwrap();
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connected = soon(endpoint.connect_with(config, to, "x").unwrap()).await;
    (endpoint, connected)
}

/// A server that greets everybody it is given in all ways there are; counts them.
fn greeter() -> (Endpoint, tokio::task::JoinHandle<Vec<String>>) {
    let server = endpoint(member(&cluster(), "server", 1));
    let serving = server.clone();
    let greeted = tokio::spawn(async move {
        let mut names = Vec::new();
        while let Some(connection) = serving.accept().await {
            names.push(
                connection
                    .peer()
                    .map_or_else(|| "stranger".to_owned(), |p| p.name.clone()),
            );
            connection
                .send_datagram(Bytes::from_static(b"secret"))
                .unwrap();
            if let Ok(mut tx) = connection.open_uni().await {
                tx.write_all(b"secret").await.unwrap();
            }
        }
        names
    });
    (server, greeted)
}

/// Whatever it does, the connection ends, and it has seen no stream and no datagram.
async fn gets_nothing(
    connected: Result<quinn::Connection, quinn::ConnectionError>,
) -> Option<quinn::ConnectionError> {
    let Ok(connection) = connected else {
        return None;
    };
    // Writes at once, before the server can have said no.
    if let Ok(mut tx) = connection.open_uni().await {
        let _refused = tx.write_all(b"hello").await;
    }
    let _refused = connection.send_datagram(Bytes::from_static(b"hello"));
    let (uni, bi, datagram) = soon(async {
        tokio::join!(
            connection.accept_uni(),
            connection.accept_bi(),
            connection.read_datagram()
        )
    })
    .await;
    assert!(uni.is_err() && bi.is_err() && datagram.is_err());
    let seen = connection.stats().frame_rx;
    assert_eq!((seen.stream, seen.datagram), (0, 0));
    connection.close_reason()
}

async fn nobody_greeted(server: Endpoint, greeted: tokio::task::JoinHandle<Vec<String>>) {
    assert!(server.connections().is_empty());
    server.close(CloseCode::Shutdown, "");
    assert_eq!(soon(greeted).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn no_certificate() {
    let (server, greeted) = greeter();
    let gossip = Alpn::Gossip.as_bytes();
    let (_endpoint, connected) = dial(server.local_addr().unwrap(), Some(gossip), None).await;
    let error = gets_nothing(connected)
        .await
        .expect("the server lets it through TLS");
    assert_eq!(CloseCode::of_peer(&error), Some(CloseCode::NoCertificate));
    nobody_greeted(server, greeted).await;
}

#[tokio::test]
async fn no_certificate_where_nobody_can_join() {
    let policy = Arc::new(AllowMembers);
    let mut config = EndpointConfig::metadata(member(&cluster(), "server", 1), loopback(), policy);
    config.alpns = vec![Alpn::Gossip];
    let server = Endpoint::bind(config).unwrap();
    for alpn in [Alpn::Gossip, Alpn::Join] {
        let to = server.local_addr().unwrap();
        let (_endpoint, connected) = dial(to, Some(alpn.as_bytes()), None).await;
        if let Some(error) = gets_nothing(connected).await {
            assert!(
                matches!(error, quinn::ConnectionError::ConnectionClosed(_)),
                "{error:?}"
            );
        }
    }
    assert!(server.connections().is_empty());
}

#[tokio::test]
async fn certificate_of_another_authority() {
    let (server, greeted) = greeter();
    let foreign = stolen_files(&member(&cluster(), "foreign", 2));
    let gossip = Alpn::Gossip.as_bytes();
    let (_endpoint, connected) = dial(server.local_addr().unwrap(), Some(gossip), foreign).await;
    if let Some(error) = gets_nothing(connected).await {
        assert!(
            matches!(error, quinn::ConnectionError::ConnectionClosed(_)),
            "{error:?}"
        );
    }
    nobody_greeted(server, greeted).await;
}

#[tokio::test]
async fn certificate_without_its_key() {
    let ca = cluster();
    let server = endpoint(member(&ca, "server", 1));
    let chain = stolen_files(&member(&ca, "victim", 2)).unwrap().0;
    let key = stolen_files(&member(&ca, "thief", 3)).unwrap().1;
    // rustls would notice that they do not fit together; a thief patches that out.
    let key = rustls::crypto::ring::sign::any_eddsa_type(match &key {
        PrivateKeyDer::Pkcs8(der) => der,
        other => panic!("{other:?}"),
    });
    let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, key.unwrap()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAll))
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    tls.alpn_protocols = vec![Alpn::Gossip.as_bytes().to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let rogue = quinn::Endpoint::client(loopback()).unwrap();
    let connecting = rogue
        .connect_with(config, server.local_addr().unwrap(), "x")
        .unwrap();
    gets_nothing(soon(connecting).await).await;
    assert!(server.connections().is_empty());
}

#[tokio::test]
async fn no_protocol_or_an_unknown_one() {
    let (server, greeted) = greeter();
    for alpn in [None, Some(&b"h3"[..])] {
        let (_endpoint, connected) = dial(server.local_addr().unwrap(), alpn, None).await;
        gets_nothing(connected).await;
    }
    nobody_greeted(server, greeted).await;
}

#[tokio::test]
async fn the_authority_itself_is_no_member() {
    let ca = cluster();
    let server = endpoint(member(&ca, "server", 1));
    let dir = tempfile::tempdir().unwrap();
    ca.save(dir.path()).unwrap();
    use rustls::pki_types::pem::PemObject as _;
    let key = PrivateKeyDer::from_pem_file(dir.path().join("ca.key")).unwrap();
    let shown = Some((vec![CertificateDer::from(ca.cert_der().to_vec())], key));
    let gossip = Alpn::Gossip.as_bytes();
    let (_endpoint, connected) = dial(server.local_addr().unwrap(), Some(gossip), shown).await;
    gets_nothing(connected).await;
    assert!(server.connections().is_empty());
}

/// The counterpart: the tool of these tests can get through.
#[tokio::test]
async fn stolen_files_do_get_in_until_the_roster_says_no() {
    let ca = cluster();
    let server = endpoint(member(&ca, "server", 1));
    let shown = stolen_files(&member(&ca, "a", 2));
    let gossip = Alpn::Gossip.as_bytes();
    let (_endpoint, connected) = dial(server.local_addr().unwrap(), Some(gossip), shown).await;
    let accepted = soon(server.accept()).await.unwrap();
    assert_eq!(accepted.peer().unwrap().name, "a");
    accepted
        .send_datagram(Bytes::from_static(b"welcome"))
        .unwrap();
    assert_eq!(
        soon(connected.unwrap().read_datagram()).await.unwrap(),
        "welcome"
    );
}

#[tokio::test]
async fn strangers_are_counted_and_do_not_shut_out_members() {
    let ca = cluster();
    let server = endpoint(member(&ca, "server", 1));
    let to = server.local_addr().unwrap();
    let join = Some(Alpn::Join.as_bytes());
    let mut held = Vec::new();
    for _ in 0..mars_gossip_net::limits::MAX_STRANGERS {
        let (endpoint, connected) = dial(to, join, None).await;
        let accepted = soon(server.accept()).await.unwrap();
        assert_eq!(accepted.peer(), None);
        held.push((endpoint, connected.unwrap(), accepted));
    }
    let (_endpoint, connected) = dial(to, join, None).await;
    let error = soon(connected.unwrap().closed()).await;
    assert_eq!(CloseCode::of_peer(&error), Some(CloseCode::Busy));
    let friend = endpoint(member(&ca, "friend", 2));
    assert_eq!(
        connect(&friend, &server).await.1.peer().unwrap().name,
        "friend"
    );
    held.pop();
    let (_endpoint, connected) = dial(to, join, None).await;
    assert_eq!(soon(server.accept()).await.unwrap().alpn(), Alpn::Join);
    assert!(connected.is_ok());
}

#[tokio::test]
async fn a_stranger_may_send_little() {
    let server = endpoint(member(&cluster(), "server", 1));
    let join = Some(Alpn::Join.as_bytes());
    let (_endpoint, connected) = dial(server.local_addr().unwrap(), join, None).await;
    let accepted = soon(server.accept()).await.unwrap();
    let connection = connected.unwrap();
    let (mut tx, _rx) = soon(connection.open_bi()).await.unwrap();
    let window = usize::try_from(mars_gossip_net::limits::STRANGER_WINDOW).unwrap();
    let all = vec![0; 2 * window];
    let mut written = 0;
    for _ in 0..2 {
        // As far as the window goes; nobody reads at the server.
        while written <= window {
            tokio::select! {
                biased;
                more = tx.write(&all[written..]) => written += more.unwrap(),
                () = std::future::ready(()) => break,
            }
        }
        assert_eq!(written, window);
        // A round trip later it is still so.
        connection
            .send_datagram(Bytes::from_static(b"there"))
            .unwrap();
        soon(accepted.read_datagram()).await.unwrap();
        accepted
            .send_datagram(Bytes::from_static(b"and back"))
            .unwrap();
        soon(connection.read_datagram()).await.unwrap();
    }
}
