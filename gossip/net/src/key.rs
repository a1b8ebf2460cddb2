//! The node's key, and the hash by which the roster knows it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _};
use ring::digest;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::cert;
use crate::files::{self, SaveError};

/// SHA-256 of a public key (`SubjectPublicKeyInfo` in DER): the identity of its holder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn of_spki(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// SHA-256.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// Not the text form of a key hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key hash is 64 hexadecimal digits, got '{0}'")]
pub struct BadKeyHash(String);

impl FromStr for KeyHash {
    type Err = BadKeyHash;

    fn from_str(text: &str) -> Result<Self, BadKeyHash> {
        let bad = || BadKeyHash(text.chars().take(80).collect());
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        if digits.len() != 64 {
            return Err(bad());
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |sum, digit| (sum << 4) | digit);
        }
        Ok(Self(out))
    }
}

/// A key could not be made, read or used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system has no randomness or the crypto library refused.
    #[error("cannot make a key: {0}")]
    Generate(rcgen::Error),
    /// The file is not there or not readable.
    #[error("cannot read the key {}: {source}", path.display())]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key is open to everybody.
    #[error("the key {} is readable by others (mode {mode:o}); run chmod o-rwx on it, and think \
             of making a new key", path.display())]
    OthersMayRead {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no Ed25519 key in PKCS #8.
    #[error("{} is not an Ed25519 private key in PKCS #8: {reason}", path.display())]
    NotAKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The name cannot stand in a certificate.
    #[error(transparent)]
    Name(#[from] cert::CertError),
    /// The certificate request could not be made.
    #[error("cannot make a certificate request: {0}")]
    Request(rcgen::Error),
}

/// An Ed25519 private key. Never printed; its own copy in memory is wiped when dropped.
pub struct NodeKey {
    pkcs8: Zeroizing<Vec<u8>>,
    hash: KeyHash,
}

impl NodeKey {
    /// File name of the node's key in the state folder.
    pub const FILE: &'static str = "node.key";

    /// A fresh key.
    ///
    /// # Errors
    /// Without randomness.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ED25519)
            .map(|pair| Self::from_pair(&pair))
            .map_err(KeyError::Generate)
    }

    /// The key that follows from 32 bytes (RFC 8032, 5.1.5), for simulations that are to repeat: a real key is
    /// [`NodeKey::generate`]d.
    ///
    /// # Errors
    /// If the crypto library refuses.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, KeyError> {
        // PKCS #8 (RFC 8410, section 7) up to the 32 bytes.
        let mut der = vec![
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        der.extend_from_slice(&seed);
        let der = PrivatePkcs8KeyDer::from(der);
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
            .map(|pair| Self::from_pair(&pair))
            .map_err(KeyError::Generate)
    }

    fn from_pair(pair: &KeyPair) -> Self {
        Self {
            pkcs8: Zeroizing::new(pair.serialized_der().to_vec()),
            hash: KeyHash::of_spki(&pair.subject_public_key_info()),
        }
    }

    /// Hash of the public half.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.hash
    }

    /// Writes `node.key` (mode 0600) into the folder, on stable storage when this returns.
    ///
    /// # Errors
    /// The old file is untouched then.
    pub fn save(&self, dir: &Path) -> Result<(), SaveError> {
        self.save_as(dir, Self::FILE)
    }

    pub(crate) fn save_as(&self, dir: &Path, name: &str) -> Result<(), SaveError> {
        let pem = self.pair().map(|pair| Zeroizing::new(pair.serialize_pem()));
        let pem = pem.map_err(|e| SaveError {
            path: dir.join(name),
            source: std::io::Error::other(e),
        })?;
        files::replace(dir, name, pem.as_bytes(), files::PRIVATE)
    }

    /// The private key as PKCS #8 in PEM.
    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let pair = self.pair().map_err(KeyError::Generate)?;
        Ok(Zeroizing::new(pair.serialize_pem()))
    }

    /// The key in a PEM text; `from` names where it came from.
    pub(crate) fn from_pem(text: &str, from: &str) -> Result<Self, KeyError> {
        let path = PathBuf::from(from);
        match KeyPair::from_pem(text) {
            Ok(pair) if pair.is_compatible(&PKCS_ED25519) => Ok(Self::from_pair(&pair)),
            Ok(_) => Err(KeyError::NotAKey {
                path,
                reason: "another kind of key".to_owned(),
            }),
            Err(error) => Err(KeyError::NotAKey {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// Reads `node.key` from the folder.
    ///
    /// # Errors
    /// Missing, open to others, or no Ed25519 key.
    pub fn load(dir: &Path) -> Result<Self, KeyError> {
        Self::load_as(dir, Self::FILE)
    }

    pub(crate) fn load_as(dir: &Path, name: &str) -> Result<Self, KeyError> {
        let path = dir.join(name);
        let (pem, mode) = match files::read(&path) {
            Ok(read) => read,
            Err(source) => return Err(KeyError::Read { path, source }),
        };
        if mode & 0o007 != 0 {
            return Err(KeyError::OthersMayRead { path, mode });
        }
        let pair = std::str::from_utf8(&pem)
            .map_err(|e| e.to_string())
            .and_then(|text| KeyPair::from_pem(text).map_err(|e| e.to_string()));
        match pair {
            Ok(pair) if pair.is_compatible(&PKCS_ED25519) => Ok(Self::from_pair(&pair)),
            Ok(_) => Err(KeyError::NotAKey {
                path,
                reason: "another kind of key".to_owned(),
            }),
            Err(reason) => Err(KeyError::NotAKey { path, reason }),
        }
    }

    /// A certificate request (PKCS #10, DER) for this key. The authority takes the public key
    /// from it and sets everything else itself.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn csr(&self, node: Uuid, name: &str) -> Result<Vec<u8>, KeyError> {
        cert::check_name(name)?;
        let params = cert::request_params(node, name).map_err(KeyError::Request)?;
        let pair = self.pair().map_err(KeyError::Request)?;
        let csr = params.serialize_request(&pair).map_err(KeyError::Request)?;
        Ok(csr.der().to_vec())
    }

    /// A secret of its own for one `purpose`, the same in every life of the node.
    pub(crate) fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.pkcs8);
        let mut out = Zeroizing::new([0; 32]);
        out.copy_from_slice(ring::hmac::sign(&key, purpose).as_ref());
        out
    }

    pub(crate) fn pair(&self) -> Result<KeyPair, rcgen::Error> {
        let der = PrivatePkcs8KeyDer::from(self.pkcs8.as_slice());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
    }

    /// For rustls, which keeps a copy of its own.
    pub(crate) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }
}

impl Clone for NodeKey {
    fn clone(&self) -> Self {
        Self {
            pkcs8: self.pkcs8.clone(),
            hash: self.hash,
        }
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey")
            .field("public", &self.hash)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_text_round_trip() {
        let hash = KeyHash::of_spki(b"abc");
        let text = hash.to_string();
        assert_eq!(
            text,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(text.parse::<KeyHash>().unwrap(), hash);
        assert!(text[1..].parse::<KeyHash>().is_err());
        assert!(text.replace('b', "g").parse::<KeyHash>().is_err());
        assert!("+1".repeat(32).parse::<KeyHash>().is_err());
    }

    #[test]
    fn debug_shows_no_private_byte() {
        let key = NodeKey::generate().unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("NodeKey {{ public: {:?}, .. }}", key.key_hash())
        );
    }
}
