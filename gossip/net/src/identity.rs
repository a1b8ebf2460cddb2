//! A member's identity: key, certificate, and the authority it trusts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use uuid::Uuid;

use crate::ca::{self, ClusterCa};
use crate::cert::{self, CertError, PeerIdentity};
use crate::files::{self, SaveError};
use crate::key::{KeyError, KeyHash, NodeKey};

/// Everything a node needs to prove who it is. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    key: Arc<NodeKey>,
    cert: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    me: PeerIdentity,
}

/// An identity could not be put together. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate file.
    #[error("cannot read the certificate {}: {reason}; a node gets it by joining", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate is not a node's, or of another authority.
    #[error("this node's certificate cannot be used: {0}")]
    Cert(#[from] CertError),
    /// The certificate is for another key.
    #[error(
        "the certificate is for key {in_cert}, but node.key is {own}; restore both from one \
             backup, or join again"
    )]
    Mismatch {
        /// What the certificate says.
        in_cert: KeyHash,
        /// What the key file holds.
        own: KeyHash,
    },
}

impl Identity {
    /// File name of the node's certificate.
    pub const CERT_FILE: &'static str = "node.crt";

    /// A fresh key, the first step of joining. Keep it ([`NodeKey::save`]) before asking for a
    /// certificate, so that a join whose answer was lost can be repeated with the same key.
    ///
    /// # Errors
    /// Without randomness.
    pub fn generate_key() -> Result<NodeKey, KeyError> {
        NodeKey::generate()
    }

    /// Puts key and certificates together.
    ///
    /// # Errors
    /// Unless the certificate is for this key, signed by this authority, and says who we are.
    pub fn new(key: NodeKey, cert_der: &[u8], ca_der: &[u8]) -> Result<Self, IdentityError> {
        let me = cert::check_issued_by(cert_der, ca_der)?;
        if me.key != key.key_hash() {
            return Err(IdentityError::Mismatch {
                in_cert: me.key,
                own: key.key_hash(),
            });
        }
        Ok(Self {
            key: Arc::new(key),
            cert: CertificateDer::from(cert_der.to_vec()),
            ca: CertificateDer::from(ca_der.to_vec()),
            me,
        })
    }

    /// Writes `node.key` (0600), `ca.crt` and, last, `node.crt`: when that one is there, all are.
    /// On stable storage when this returns.
    ///
    /// # Errors
    /// Names the file that failed; those before it are written.
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        self.key.save(dir)?;
        let ca = ca::to_pem(&self.ca);
        files::replace(dir, ClusterCa::CERT_FILE, ca.as_bytes(), files::PUBLIC)?;
        let cert = ca::to_pem(&self.cert);
        files::replace(dir, Self::CERT_FILE, cert.as_bytes(), files::PUBLIC)
    }

    /// Reads the three files and checks that they fit together.
    ///
    /// # Errors
    /// Missing, damaged, key open to others, or not belonging together.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let key = NodeKey::load(dir)?;
        let read = |name: &str| {
            let path = dir.join(name);
            ca::read_pem(&path).map_err(|reason| IdentityError::Read { path, reason })
        };
        Self::new(key, &read(Self::CERT_FILE)?, &read(ClusterCa::CERT_FILE)?)
    }

    /// Hash of our public key.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.me.key
    }

    /// Our number.
    #[must_use]
    pub const fn node_uuid(&self) -> Uuid {
        self.me.node
    }

    /// Our cluster.
    #[must_use]
    pub const fn cluster(&self) -> Uuid {
        self.me.cluster
    }

    /// Our name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.me.name
    }

    /// As a peer sees us.
    #[must_use]
    pub const fn as_peer(&self) -> &PeerIdentity {
        &self.me
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_der(&self) -> &[u8] {
        &self.ca
    }

    /// Our certificate.
    #[must_use]
    pub fn cert_der(&self) -> &[u8] {
        &self.cert
    }

    /// Our key.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.key
    }

    /// What we present: our certificate and the authority's, which a joiner needs to see.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.cert.clone(), self.ca.clone()]
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.me).finish()
    }
}
