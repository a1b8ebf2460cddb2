//! The files of the state folder.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mars_gossip_net::{CaError, ClusterCa, Identity, IdentityError, KeyError, NodeKey, SignError};
use uuid::Uuid;

use crate::common::{cluster, member};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn identity_comes_back_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let ca = cluster();
    let identity = member(&ca, "host-a", 7);
    // Twice: the second time it replaces.
    identity.save(dir.path()).unwrap();
    identity.save(dir.path()).unwrap();
    assert_eq!(files(dir.path()), ["ca.crt", "node.crt", "node.key"]);
    assert_eq!(mode(&dir.path().join("node.key")), 0o600);
    assert_eq!(mode(&dir.path().join("node.crt")), 0o644);
    let loaded = Identity::load(dir.path()).unwrap();
    assert_eq!(loaded.as_peer(), identity.as_peer());
    assert_eq!(
        (loaded.name(), loaded.node_uuid()),
        ("host-a", Uuid::from_u128(7))
    );
    assert_eq!(
        (loaded.cluster(), loaded.key_hash()),
        (ca.cluster(), identity.key_hash())
    );
    assert_eq!(loaded.ca_der(), ca.cert_der());
}

#[test]
fn a_left_over_temporary_file_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let tmp = dir.path().join(".node.key.tmp");
    std::fs::write(&tmp, "half a k").unwrap();
    std::fs::set_permissions(&tmp, PermissionsExt::from_mode(0o666)).unwrap();
    let key = NodeKey::generate().unwrap();
    key.save(dir.path()).unwrap();
    assert_eq!(files(dir.path()), ["node.key"]);
    assert_eq!(mode(&dir.path().join("node.key")), 0o600);
    assert_eq!(
        NodeKey::load(dir.path()).unwrap().key_hash(),
        key.key_hash()
    );
}

#[test]
fn authority_comes_back_and_signs() {
    let dir = tempfile::tempdir().unwrap();
    let ca = cluster();
    ca.save(dir.path()).unwrap();
    assert_eq!(mode(&dir.path().join("ca.key")), 0o600);
    let loaded = ClusterCa::load(dir.path()).unwrap();
    assert_eq!(
        (loaded.key_hash(), loaded.cluster()),
        (ca.key_hash(), ca.cluster())
    );
    assert_eq!((loaded.name(), loaded.cert_der()), ("test", ca.cert_der()));
    // What it signs is good for those who trust the original.
    let key = NodeKey::generate().unwrap();
    let node = Uuid::from_u128(9);
    let cert = loaded
        .sign_csr(&key.csr(node, "x").unwrap(), node, "x")
        .unwrap();
    assert_eq!(
        Identity::new(key, &cert, ca.cert_der()).unwrap().name(),
        "x"
    );
}

#[test]
fn a_key_open_to_others_is_refused_but_a_group_may_read() {
    let dir = tempfile::tempdir().unwrap();
    NodeKey::generate().unwrap().save(dir.path()).unwrap();
    let path = dir.path().join("node.key");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    NodeKey::load(dir.path()).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
    let error = NodeKey::load(dir.path()).unwrap_err();
    assert!(matches!(error, KeyError::OthersMayRead { mode: 0o604, .. }));
    assert!(error.to_string().contains("node.key") && error.to_string().contains("chmod"));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ca = cluster();
    member(&ca, "a", 1).save(dir.path()).unwrap();
    let other = NodeKey::generate().unwrap();
    other.save(dir.path()).unwrap();
    let error = Identity::load(dir.path()).unwrap_err();
    assert!(matches!(error, IdentityError::Mismatch { own, .. } if own == other.key_hash()));

    // Same cluster number, other authority.
    let a = member(&ca, "a", 1);
    let error = Identity::new(a.key().clone(), a.cert_der(), cluster().cert_der()).unwrap_err();
    assert!(matches!(error, IdentityError::Cert(_)), "{error}");

    let dir = tempfile::tempdir().unwrap();
    ca.save(dir.path()).unwrap();
    let error = Identity::load(dir.path()).unwrap_err();
    assert!(matches!(error, IdentityError::Key(KeyError::Read { .. })));
    let two = tempfile::tempdir().unwrap();
    cluster().save(two.path()).unwrap();
    std::fs::copy(two.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    assert!(matches!(
        ClusterCa::load(dir.path()),
        Err(CaError::Mismatch { .. })
    ));
}

#[test]
fn damaged_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    member(&cluster(), "a", 1).save(dir.path()).unwrap();
    std::fs::write(dir.path().join("node.crt"), "rubbish").unwrap();
    let error = Identity::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("node.crt"), "{error}");
    std::fs::write(dir.path().join("node.key"), "rubbish").unwrap();
    let error = Identity::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("node.key"), "{error}");
}

#[test]
fn only_ed25519_requests_with_a_good_signature_are_signed() {
    let ca = cluster();
    let node = Uuid::from_u128(1);
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&p256)
        .unwrap();
    assert!(matches!(
        ca.sign_csr(csr.der(), node, "a"),
        Err(SignError::NotEd25519)
    ));
    let mut csr = NodeKey::generate().unwrap().csr(node, "a").unwrap();
    assert!(matches!(
        ca.sign_csr(&csr, node, "a b"),
        Err(SignError::Name(_))
    ));
    *csr.last_mut().unwrap() ^= 1;
    assert!(matches!(
        ca.sign_csr(&csr, node, "a"),
        Err(SignError::Request(_))
    ));
    assert!(matches!(
        ca.sign_csr(b"", node, "a"),
        Err(SignError::Request(_))
    ));
}

#[test]
fn the_length_of_a_certificate_does_not_vary() {
    let ca = cluster();
    let first = member(&ca, "host", 1).cert_der().len();
    for number in 2..40 {
        assert_eq!(member(&ca, "host", number).cert_der().len(), first);
    }
}
