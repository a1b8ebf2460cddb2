//! TLS 1.3 settings of both roles. No resumption and no early data: a resumed session would skip
//! the check of the peer's certificate, and so outlive its removal from the roster.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::alpn::Alpn;
use crate::identity::Identity;
use crate::verify::{Trust, Verdict, Verifier};

/// Name sent where TLS wants one; nobody looks at it.
pub(crate) const SERVER_NAME: &str = "mars.invalid";

/// TLS refused our own settings: a certificate or key it cannot use.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct TlsError(String);

impl TlsError {
    fn new(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authority as the only root.
pub(crate) fn roots(ca: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(ca.to_vec()))
        .map_err(TlsError::new)?;
    Ok(Arc::new(roots))
}

/// A client without certificate gets through the handshake (it may want to join) and is sorted
/// out right behind it; one with a certificate of another authority does not.
pub(crate) fn server(
    identity: &Identity,
    alpns: &[Alpn],
    time: Arc<dyn TimeProvider>,
) -> Result<QuicServerConfig, TlsError> {
    let provider = provider();
    let roots = roots(identity.ca_der())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .clear_root_hint_subjects();
    let verifier = if alpns.contains(&Alpn::Join) {
        verifier.allow_unauthenticated()
    } else {
        verifier
    };
    let mut config = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::new)?
        .with_client_cert_verifier(verifier.build().map_err(TlsError::new)?)
        .with_single_cert(identity.chain(), identity.key().to_der())
        .map_err(TlsError::new)?;
    config.alpn_protocols = alpns.iter().map(|a| a.as_bytes().to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).map_err(TlsError::new)
}

/// Settings of one dial. The certificate is shown except when joining.
pub(crate) fn client(
    identity: Option<&Identity>,
    alpn: Alpn,
    trust: Trust,
    time: Arc<dyn TimeProvider>,
    verdict: Verdict,
) -> Result<QuicClientConfig, TlsError> {
    let provider = provider();
    let verifier = Verifier {
        trust,
        provider: Arc::clone(&provider),
        verdict,
    };
    let builder = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::new)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity.filter(|_| alpn.needs_certificate()) {
        Some(me) => builder
            .with_client_auth_cert(me.chain(), me.key().to_der())
            .map_err(TlsError::new)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    QuicClientConfig::try_from(config).map_err(TlsError::new)
}
