//! Certificates and tokens: what is made is taken, and everything else is not.

use std::time::Duration;

use super::{
    Authority, CERTIFICATE_LIFE, ClusterId, ClusterKey, JoinToken, NodeCertificate, NodeKey,
    NodeName, Root, Serial, SigningRequest, TokenSecret, TrustError, Usage,
};

const NOW: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A certificate of node `node` under `authority`.
pub(super) fn issued(authority: &Authority, node: u64) -> Vec<u8> {
    let request = NodeKey::generate().unwrap().request().unwrap();
    let request = SigningRequest::parse(&request).unwrap();
    let serial = Serial::generate().unwrap();
    authority
        .issue(&request, node, &serial, NOW, CERTIFICATE_LIFE)
        .unwrap()
}

pub(super) fn token() -> JoinToken {
    JoinToken {
        secret: TokenSecret::from_bytes(&[7; 32]).unwrap(),
        root: super::Fingerprint::of(b"a certificate"),
        region: Some("eu-west-1".parse().unwrap()),
        addresses: vec!["10.0.0.1:6000".to_owned(), "node-2.example:6000".to_owned()],
    }
}

#[test]
fn a_certificate_names_its_node_to_its_cluster() {
    let authority = Authority::create(NOW).unwrap();
    let der = issued(&authority, 7);
    for usage in [Usage::Client, Usage::Server] {
        let found = authority.root().verify(&der, usage, NOW).unwrap();
        assert_eq!(found.name.node, 7);
        assert_eq!(found.name.cluster, authority.root().cluster());
        assert_eq!(found, NodeCertificate::parse(&der).unwrap());
    }
}

#[test]
fn a_certificate_is_valid_from_a_day_before_to_ninety_days_after() {
    let authority = Authority::create(NOW).unwrap();
    let der = issued(&authority, 1);
    let at = |now| authority.root().verify(&der, Usage::Client, now);
    at(NOW - DAY_MS + 1_000).unwrap();
    at(NOW + 90 * DAY_MS - 1_000).unwrap();
    assert_eq!(at(NOW - DAY_MS - 1_000), Err(TrustError::NotYetValid));
    assert_eq!(at(NOW + 90 * DAY_MS + 1_000), Err(TrustError::Expired));
    let renew = NodeCertificate::parse(&der).unwrap().renew_at_ms();
    assert_eq!(renew, NOW + 60 * DAY_MS);
}

#[test]
fn a_certificate_of_another_cluster_is_refused() {
    let authority = Authority::create(NOW).unwrap();
    let other = Authority::create(NOW).unwrap();
    let refused = authority
        .root()
        .verify(&issued(&other, 1), Usage::Client, NOW);
    assert_eq!(refused, Err(TrustError::OtherCluster));
    // The authority's own is no node's.
    let own = authority.root().der();
    assert!(authority.root().verify(own, Usage::Client, NOW).is_err());
}

/// An authority of that name, with a key of its own: the signature decides.
#[test]
fn a_certificate_that_was_changed_is_refused() {
    let authority = Authority::create(NOW).unwrap();
    let good = issued(&authority, 1);
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        let found = authority.root().verify(&bad, Usage::Client, NOW);
        assert!(found.is_err(), "byte {at} was changed: {found:?}");
    }
}

#[test]
fn an_authority_comes_back_from_its_sealed_key() {
    let key = ClusterKey::generate().unwrap();
    let authority = Authority::create(NOW).unwrap();
    let sealed = authority.sealed_key(&key).unwrap();
    let der = authority.root().der();
    let again = Authority::open(der, &sealed, &key).unwrap();
    let issued = issued(&again, 3);
    let found = authority.root().verify(&issued, Usage::Server, NOW);
    assert_eq!(found.unwrap().name.node, 3);

    let other = ClusterKey::generate().unwrap();
    assert!(matches!(
        Authority::open(der, &sealed, &other),
        Err(TrustError::Sealed)
    ));
    let stranger = Authority::create(NOW).unwrap();
    assert!(matches!(
        Authority::open(stranger.root().der(), &sealed, &key),
        Err(TrustError::Root(_))
    ));
    let mut damaged = sealed;
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        Authority::open(der, &damaged, &key),
        Err(TrustError::Sealed)
    ));
}

#[test]
fn what_is_sealed_for_one_purpose_opens_for_no_other() {
    let key = ClusterKey::generate().unwrap();
    let sealed = key.seal("one", b"secret").unwrap();
    assert_eq!(key.open("one", &sealed).unwrap(), b"secret");
    assert_eq!(key.open("two", &sealed), Err(TrustError::Sealed));
    for cut in 0..sealed.len() {
        assert_eq!(key.open("one", &sealed[..cut]), Err(TrustError::Sealed));
    }
}

#[test]
fn a_request_has_to_be_signed_by_its_key() {
    let good = NodeKey::generate().unwrap().request().unwrap();
    let key = SigningRequest::parse(&good).unwrap().key_hash();
    let mut refused = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        match SigningRequest::parse(&bad) {
            // Of what is around the signed part, not every bit counts.
            Ok(request) => assert_eq!(request.key_hash(), key, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > good.len() - 10, "{refused} of {}", good.len());
}

#[test]
fn a_key_comes_back_from_its_file() {
    let key = NodeKey::generate().unwrap();
    let again = NodeKey::from_pem(&key.expose_pem()).unwrap();
    let hash = |key: &NodeKey| {
        let request = SigningRequest::parse(&key.request().unwrap()).unwrap();
        request.key_hash()
    };
    assert_eq!(hash(&key), hash(&again));
    assert_ne!(hash(&key), hash(&NodeKey::generate().unwrap()));
    assert!(NodeKey::from_pem("nothing").is_err());
    let cluster = ClusterKey::generate().unwrap();
    let again = ClusterKey::from_hex(&cluster.expose_hex()).unwrap();
    assert_eq!(cluster.expose(), again.expose());
    assert!(ClusterKey::from_hex(&cluster.expose_hex()[1..]).is_err());
}

#[test]
fn nothing_secret_is_printed() {
    let (key, node) = (
        ClusterKey::generate().unwrap(),
        NodeKey::generate().unwrap(),
    );
    assert_eq!(format!("{key:?} {node:?}"), "ClusterKey(..) NodeKey(..)");
    let shown = format!("{:?}", token());
    assert!(
        !shown.contains("7, 7") && !shown.contains("0707"),
        "{shown}"
    );
    let authority = Authority::create(NOW).unwrap();
    assert!(format!("{authority:?}").len() < 300);
}

#[test]
fn a_token_comes_back_as_it_was() {
    for region in [None, Some("eu-west-1".parse().unwrap())] {
        let token = JoinToken { region, ..token() };
        let text = token.expose().unwrap();
        let again: JoinToken = format!(" {text}\n").parse().unwrap();
        assert_eq!(again.secret.hash(), token.secret.hash());
        assert_eq!(again.root, token.root);
        assert_eq!(again.region, token.region);
        assert_eq!(again.addresses, token.addresses);
    }
}

#[test]
fn a_token_that_was_torn_is_told_from_one_that_is_none() {
    let text = token().expose().unwrap();
    for bad in [&text[..text.len() - 5], &text.replace('A', "B")] {
        let error = bad.parse::<JoinToken>().unwrap_err().to_string();
        assert!(error.contains("missing or was changed"), "{error}");
    }
    let error = "hunter2".parse::<JoinToken>().unwrap_err().to_string();
    assert!(error.contains("entrepot_join_") && !error.contains("hunter2"));
    let none = JoinToken {
        addresses: Vec::new(),
        ..token()
    };
    assert!(none.expose().is_err());
}

#[test]
fn names_are_written_in_one_way() {
    let cluster = ClusterId::generate().unwrap();
    let name = NodeName { node: 12, cluster };
    assert_eq!(name.to_string().parse::<NodeName>().unwrap(), name);
    for bad in [
        format!("node-012.{cluster}.entrepot.internal"),
        format!("node-0.{cluster}.entrepot.internal"),
        format!("node-+1.{cluster}.entrepot.internal"),
        format!("NODE-1.{cluster}.entrepot.internal"),
        format!("node-1.{cluster}.entrepot.internal."),
        format!("node-1.{cluster}.example.internal"),
        "node-1.entrepot.internal".to_owned(),
    ] {
        assert!(bad.parse::<NodeName>().is_err(), "{bad}");
    }
    let serial = Serial::generate().unwrap();
    assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
    assert!(Serial::from_bytes(&[0x80; 16]).is_err());
    assert!(Serial::from_bytes(&[0x40; 15]).is_err());
}

#[test]
fn a_root_is_an_authority_that_names_its_cluster() {
    let authority = Authority::create(NOW).unwrap();
    let root = authority.root();
    let again = Root::parse(root.der()).unwrap();
    assert_eq!(again.cluster(), root.cluster());
    assert_eq!(again.fingerprint(), root.fingerprint());
    assert!(matches!(
        Root::parse(&issued(&authority, 1)),
        Err(TrustError::Root(_))
    ));
    assert!(Root::parse(&[root.der(), &[0][..]].concat()).is_err());
}

#[test]
fn a_short_life_is_renewed_at_two_thirds_of_it_too() {
    let authority = Authority::create(NOW).unwrap();
    let request = NodeKey::generate().unwrap().request().unwrap();
    let request = SigningRequest::parse(&request).unwrap();
    let serial = Serial::generate().unwrap();
    let life = Duration::from_secs(30);
    let der = authority.issue(&request, 1, &serial, NOW, life).unwrap();
    let found = NodeCertificate::parse(&der).unwrap();
    assert_eq!(found.renew_at_ms(), NOW + 20_000);
}
