//! What our certificates say: reading, and the parameters for making them.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, UnparsedPublicKey};
use uuid::Uuid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::FromDer as _;

use crate::key::KeyHash;
use crate::limits::MAX_NAME;

/// Who a peer is, read from the certificate it proved to own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The node's number, unique for ever.
    pub node: Uuid,
    /// The node's name at the time of joining.
    pub name: String,
    /// Its public key: what the roster knows it by.
    pub key: KeyHash,
    /// The cluster whose authority signed.
    pub cluster: Uuid,
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (node {})", self.name, self.node)
    }
}

/// A certificate, or the name for one, is not what we issue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// Not X.509 in DER.
    #[error("not a certificate: {0}")]
    Malformed(String),
    /// The public key is of another kind.
    #[error("the certificate's key is not Ed25519")]
    NotEd25519,
    /// No alternative name of the form that says node and cluster.
    #[error("the certificate names no node of a cluster")]
    NoNode,
    /// No alternative name of the form that says the cluster, or no authority.
    #[error("the certificate is not that of a cluster's authority")]
    NotCa,
    /// A name that cannot be a node's.
    #[error("'{0}' cannot be a node's name: 1 to 63 letters, digits, '_' or '-', the first no '-'")]
    Name(String),
    /// Signed by somebody else.
    #[error("the certificate is not signed by this authority")]
    Signature,
}

/// What the certificate of an authority says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaFacts {
    pub(crate) cluster: Uuid,
    pub(crate) name: String,
    pub(crate) key: KeyHash,
}

/// Refuses what cannot be a node's name.
pub(crate) fn check_name(name: &str) -> Result<(), CertError> {
    let ok = !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(CertError::Name(name.chars().take(80).collect()))
    }
}

fn node_dns(node: Uuid, cluster: Uuid) -> String {
    format!("n-{node}.c-{cluster}")
}

fn cluster_dns(cluster: Uuid) -> String {
    format!("c-{cluster}")
}

/// A number in the one spelling we write; the parser of the library takes more.
fn strict_uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text)
        .ok()
        .filter(|id| id.to_string() == text)
}

fn parse_node_dns(text: &str) -> Option<(Uuid, Uuid)> {
    let (node, cluster) = text.strip_prefix("n-")?.split_once(".c-")?;
    Some((strict_uuid(node)?, strict_uuid(cluster)?))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertError> {
    let (rest, cert) =
        X509Certificate::from_der(der).map_err(|e| CertError::Malformed(e.to_string()))?;
    if !rest.is_empty() {
        return Err(CertError::Malformed("bytes behind its end".to_owned()));
    }
    if cert.public_key().algorithm.algorithm != OID_SIG_ED25519 {
        return Err(CertError::NotEd25519);
    }
    Ok(cert)
}

fn dns_names<'a>(cert: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let names = cert.subject_alternative_name().ok().flatten();
    names
        .into_iter()
        .flat_map(|ext| ext.value.general_names.iter())
        .filter_map(|n| match n {
            GeneralName::DNSName(text) => Some(*text),
            _ => None,
        })
}

fn common_name(cert: &X509Certificate<'_>) -> Option<String> {
    let name = cert.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// Reads a node's certificate. Who signed it is not looked at.
pub(crate) fn read_node(der: &[u8]) -> Result<PeerIdentity, CertError> {
    let cert = parse(der)?;
    if cert.is_ca() {
        return Err(CertError::NoNode);
    }
    let (node, cluster) = dns_names(&cert)
        .find_map(parse_node_dns)
        .ok_or(CertError::NoNode)?;
    let name = common_name(&cert).ok_or(CertError::NoNode)?;
    check_name(&name)?;
    Ok(PeerIdentity {
        node,
        name,
        key: KeyHash::of_spki(cert.public_key().raw),
        cluster,
    })
}

/// Reads an authority's certificate.
pub(crate) fn read_ca(der: &[u8]) -> Result<CaFacts, CertError> {
    let cert = parse(der)?;
    let cluster = dns_names(&cert)
        .find_map(|name| strict_uuid(name.strip_prefix("c-")?))
        .filter(|_| cert.is_ca())
        .ok_or(CertError::NotCa)?;
    let name = common_name(&cert).unwrap_or_default();
    Ok(CaFacts {
        cluster,
        name,
        key: KeyHash::of_spki(cert.public_key().raw),
    })
}

/// Whether the node's certificate carries the authority's signature and names its cluster.
pub(crate) fn check_issued_by(node: &[u8], ca: &[u8]) -> Result<PeerIdentity, CertError> {
    let identity = read_node(node)?;
    let facts = read_ca(ca)?;
    let (node, ca) = (parse(node)?, parse(ca)?);
    UnparsedPublicKey::new(&ED25519, &ca.public_key().subject_public_key.data)
        .verify(node.tbs_certificate.as_ref(), &node.signature_value.data)
        .map_err(|_| CertError::Signature)?;
    if identity.cluster == facts.cluster {
        Ok(identity)
    } else {
        Err(CertError::Signature)
    }
}

/// 16 random bytes that always encode to 16: the length of a certificate must not vary.
fn serial() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn subject(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

/// Valid as long as X.509 can say: who is a member is decided by the roster, not by a calendar.
fn long_lived(names: Vec<String>, name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = subject(name);
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.serial_number = Some(serial()?);
    Ok(params)
}

pub(crate) fn ca_params(cluster: Uuid, name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = long_lived(vec![cluster_dns(cluster)], name)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

pub(crate) fn node_params(
    node: Uuid,
    cluster: Uuid,
    name: &str,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = long_lived(vec![node_dns(node, cluster)], name)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

pub(crate) fn request_params(node: Uuid, name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![format!("n-{node}")])?;
    params.distinguished_name = subject(name);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "host-1_x", "_", "7", &"x".repeat(63)] {
            assert_eq!(check_name(good), Ok(()));
        }
        for bad in ["", "x.y", "-x", "a b", "a/b", "ä", "a\0", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn node_name_has_one_spelling() {
        let (n, c) = (Uuid::from_u128(0xa1), Uuid::from_u128(0xb2));
        assert_eq!(parse_node_dns(&node_dns(n, c)), Some((n, c)));
        assert_eq!(parse_node_dns(&node_dns(n, c).to_uppercase()), None);
        assert_eq!(parse_node_dns(&format!("n-{}.c-{c}", n.simple())), None);
        assert_eq!(parse_node_dns(&format!("{}.x", node_dns(n, c))), None);
    }
}
