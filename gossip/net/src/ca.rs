//! The cluster's certificate authority.

use std::fmt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use uuid::Uuid;

use crate::cert::{self, CaFacts, CertError};
use crate::files::{self, SaveError};
use crate::key::{KeyError, KeyHash, NodeKey};

/// Ed25519 authority of one cluster: whoever holds it can admit nodes.
pub struct ClusterCa {
    key: NodeKey,
    cert: CertificateDer<'static>,
    facts: CaFacts,
}

/// The authority could not be made or read. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Its key.
    #[error("authority of the cluster: {0}")]
    Key(#[from] KeyError),
    /// Its certificate could not be made.
    #[error("cannot make the authority's certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Its certificate could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Its certificate says something else than an authority's.
    #[error("authority of the cluster: {0}")]
    Cert(#[from] CertError),
    /// The key is another authority's.
    #[error("this key ({found}) is not that of this cluster's authority ({wanted})")]
    OtherCluster {
        /// Hash of the key given.
        found: KeyHash,
        /// Hash of the key in the certificate.
        wanted: KeyHash,
    },
    /// Key and certificate are not a pair.
    #[error("ca.key and ca.crt in {} do not belong together; restore both from one backup", dir.display())]
    Mismatch {
        /// The state folder.
        dir: PathBuf,
    },
}

/// A certificate request was not signed; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Not PKCS #10, or its own signature is wrong.
    #[error("the certificate request is damaged: {0}")]
    Request(rcgen::Error),
    /// Another kind of key.
    #[error("the certificate request is for a key that is not Ed25519")]
    NotEd25519,
    /// The name cannot stand in a certificate.
    #[error(transparent)]
    Name(CertError),
    /// The crypto library refused.
    #[error("cannot sign: {0}")]
    Sign(rcgen::Error),
}

impl ClusterCa {
    /// File name of the authority's key.
    pub const KEY_FILE: &'static str = "ca.key";
    /// File name of the authority's certificate (each node has that one).
    pub const CERT_FILE: &'static str = "ca.crt";

    /// A fresh authority for a new cluster. `name` is for the reader of the certificate only.
    ///
    /// # Errors
    /// Without randomness.
    pub fn create(cluster: Uuid, name: &str) -> Result<Self, CaError> {
        let key = NodeKey::generate()?;
        let cert = cert::ca_params(cluster, name)?
            .self_signed(&key.pair()?)?
            .der()
            .clone();
        let facts = cert::read_ca(&cert)?;
        Ok(Self { key, cert, facts })
    }

    /// Writes `ca.key` (mode 0600) and `ca.crt`, on stable storage when this returns.
    ///
    /// # Errors
    /// Names the file that failed; a former authority in the folder may be half replaced then.
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        self.key.save_as(dir, Self::KEY_FILE)?;
        let pem = to_pem(&self.cert);
        files::replace(dir, Self::CERT_FILE, pem.as_bytes(), files::PUBLIC)
    }

    /// Reads both files.
    ///
    /// # Errors
    /// Missing, damaged, open to others, or not a pair.
    pub fn load(dir: &Path) -> Result<Self, CaError> {
        let key = NodeKey::load_as(dir, Self::KEY_FILE)?;
        let path = dir.join(Self::CERT_FILE);
        let cert = read_pem(&path).map_err(|reason| CaError::Read { path, reason })?;
        let facts = cert::read_ca(&cert)?;
        if facts.key != key.key_hash() {
            return Err(CaError::Mismatch {
                dir: dir.to_owned(),
            });
        }
        Ok(Self { key, cert, facts })
    }

    /// The authority whose key is in `pem` and whose certificate is `cert`, for taking it over on another node.
    ///
    /// # Errors
    /// No key, or not the one of the certificate.
    pub fn from_pem(pem: &str, cert: &[u8]) -> Result<Self, CaError> {
        let key = NodeKey::from_pem(pem, "the authority's key")?;
        let cert = CertificateDer::from(cert.to_vec());
        let facts = cert::read_ca(&cert)?;
        if facts.key != key.key_hash() {
            return Err(CaError::OtherCluster {
                found: key.key_hash(),
                wanted: facts.key,
            });
        }
        Ok(Self { key, cert, facts })
    }

    /// Its private key as PKCS #8 in PEM, for a backup. Whoever has it can admit nodes.
    ///
    /// # Errors
    /// If the crypto library refuses.
    pub fn key_pem(&self) -> Result<zeroize::Zeroizing<String>, CaError> {
        Ok(self.key.to_pem()?)
    }

    /// Signs the public key of a request for this node. All else in the request is ignored.
    ///
    /// # Errors
    /// The request is damaged or for another kind of key, or the name is impossible.
    pub fn sign_csr(&self, csr: &[u8], node: Uuid, name: &str) -> Result<Vec<u8>, SignError> {
        cert::check_name(name).map_err(SignError::Name)?;
        let der = CertificateSigningRequestDer::from(csr);
        let request =
            CertificateSigningRequestParams::from_der(&der).map_err(SignError::Request)?;
        if *rcgen::PublicKeyData::algorithm(&request.public_key) != rcgen::PKCS_ED25519 {
            return Err(SignError::NotEd25519);
        }
        let params = cert::node_params(node, self.facts.cluster, name).map_err(SignError::Sign)?;
        let issuer = self.issuer().map_err(SignError::Sign)?;
        let cert = params
            .signed_by(&request.public_key, &issuer)
            .map_err(SignError::Sign)?;
        Ok(cert.der().to_vec())
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&self.cert, self.key.pair()?)
    }

    /// The authority's certificate.
    #[must_use]
    pub fn cert_der(&self) -> &[u8] {
        &self.cert
    }

    /// Hash of its public key: what a join token pins.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.facts.key
    }

    /// The cluster it is the authority of.
    #[must_use]
    pub const fn cluster(&self) -> Uuid {
        self.facts.cluster
    }

    /// The name given at creation.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.facts.name
    }
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterCa")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// One certificate as PEM text.
pub(crate) fn to_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// The first certificate of a PEM file.
pub(crate) fn read_pem(path: &Path) -> Result<CertificateDer<'static>, String> {
    let (pem, _) = files::read(path).map_err(|e| e.to_string())?;
    CertificateDer::from_pem_slice(&pem).map_err(|e| e.to_string())
}
