//! Hostile bytes: tokens as they may be pasted, certificates and requests as
//! anybody who reaches the peer port may send them, and sealed secrets.

use entrepot_fuzz::{Verdict, target, uncounted};

use super::tests::{issued, token};
use super::{
    Authority, ClusterKey, JoinToken, NodeCertificate, NodeKey, Root, SigningRequest, Usage,
};

const NOW: i64 = 1_800_000_000_000;
/// An error names a rule; nothing of the input is in it.
const ERROR_BYTES_MAX: usize = 250;

fn short(error: &super::TrustError) {
    assert!(format!("{error} {error:?}").len() <= ERROR_BYTES_MAX);
}

#[test]
fn join_token() {
    let good = token().expose().unwrap();
    target!("join-token")
        .seed("good-token", good)
        .seed("bad-prefix", "entrepot_join_")
        .words(["entrepot_join_", "AAAA", "=", "_", "-"])
        .check_text(|text| {
            let parsed: Result<JoinToken, _> = text.parse();
            match &parsed {
                Ok(token) => assert_eq!(token.expose().unwrap(), text.trim()),
                Err(error) => short(error),
            }
            Verdict::of(&parsed)
        });
}

/// What is taken has the authority's signature, so it says what it signed.
#[test]
fn node_certificate() {
    let authority = Authority::create(NOW).unwrap();
    let good = issued(&authority, 7);
    let said = NodeCertificate::parse(&good).unwrap();
    let root = authority.root();
    target!("node-certificate")
        .seed("good-certificate", good)
        .seed("bad-authority", root.der().to_vec())
        .seed("bad-empty", [])
        .words([
            &b"\x30\x82"[..],
            b"\x06\x03\x55\x1d\x11",
            b"\x02\x10",
            b"\x82",
        ])
        .longest(2 * super::CERTIFICATE_BYTES_MAX)
        .memory(64 * 1024, 16)
        .check(|der| {
            let parsed = root.verify(der, Usage::Client, NOW);
            match &parsed {
                Ok(found) => assert_eq!(*found, said),
                Err(error) => short(error),
            }
            let _ = Root::parse(der);
            Verdict::of(&parsed)
        });
}

#[test]
fn signing_request() {
    let good = NodeKey::generate().unwrap().request().unwrap();
    target!("signing-request")
        .seed("good-request", good)
        .seed("bad-empty", [])
        .words([
            &b"\x30\x82"[..],
            b"\xa0\x00",
            b"\x06\x09",
            b"\x03\x42\x00\x04",
        ])
        .longest(2 * super::REQUEST_BYTES_MAX)
        .memory(64 * 1024, 32)
        .check(|der| {
            let parsed = SigningRequest::parse(der);
            match &parsed {
                Ok(request) => assert_eq!(request.key_hash().len(), 32),
                Err(error) => short(error),
            }
            Verdict::of(&parsed)
        });
}

#[test]
fn sealed() {
    let key = ClusterKey::from_bytes(&[3; 32]).unwrap();
    let good = key.seal("test", b"a secret").unwrap();
    target!("sealed")
        .seed("good-sealed", good.clone())
        .seed("bad-empty", [])
        .check(|bytes| {
            let opened = uncounted(|| key.open("test", bytes));
            if opened.is_ok() {
                assert_eq!(bytes, good);
            }
            Verdict::of(&opened)
        });
}
