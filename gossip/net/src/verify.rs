//! Checks of a server's certificate: by authority and key, never by host name.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use uuid::Uuid;

use crate::cert::{self, PeerIdentity};
use crate::key::KeyHash;

/// Why a server was not believed; kept for the one who dialled, since TLS passes an alert only.
#[derive(Clone, Debug)]
pub(crate) enum Distrust {
    /// Not of our authority, out of its validity, or not a node's certificate.
    Foreign(String),
    /// A member, but not the one expected.
    OtherKey(PeerIdentity),
}

/// Where a verifier leaves its reason.
pub(crate) type Verdict = Arc<OnceLock<Distrust>>;

/// Whom we trust.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Members of our cluster; with a key: that one only.
    Members {
        roots: Arc<RootCertStore>,
        cluster: Uuid,
        expected: Option<KeyHash>,
    },
    /// Members of the cluster whose authority has this key; it must be among the certificates
    /// shown.
    Pinned { ca: KeyHash, cluster: Uuid },
}

/// The verifier of one dial.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) trust: Trust,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) verdict: Verdict,
}

impl Verifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let foreign = |reason: String| Distrust::Foreign(reason);
        let pinned;
        let (roots, cluster, expected) = match &self.trust {
            Trust::Members {
                roots,
                cluster,
                expected,
            } => (roots.as_ref(), *cluster, *expected),
            Trust::Pinned { ca, cluster } => {
                pinned = pinned_root(*ca, others).ok_or_else(|| {
                    foreign(format!("it shows no authority with the key hash {ca}"))
                })?;
                (&pinned, *cluster, None)
            }
        };
        let parsed = ParsedCertificate::try_from(leaf).map_err(|e| foreign(e.to_string()))?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, &[], now, algorithms)
            .map_err(|e| foreign(e.to_string()))?;
        let peer = cert::read_node(leaf).map_err(|e| foreign(e.to_string()))?;
        if peer.cluster != cluster {
            return Err(foreign(format!(
                "it is of cluster {}, not {cluster}",
                peer.cluster
            )));
        }
        match expected {
            Some(key) if key != peer.key => Err(Distrust::OtherKey(peer)),
            _ => Ok(()),
        }
    }
}

fn pinned_root(ca: KeyHash, shown: &[CertificateDer<'_>]) -> Option<RootCertStore> {
    let cert = shown
        .iter()
        .find(|c| cert::read_ca(c).is_ok_and(|facts| facts.key == ca))?;
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone().into_owned()).ok()?;
    Some(roots)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(leaf, others, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|why| {
                // A second certificate in one handshake does not happen; the first reason stands.
                let _first = self.verdict.set(why);
                Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
            })
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
