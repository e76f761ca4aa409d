//! The authority, join tokens, certificates and their revocation.

use bytes::Bytes;

use super::{Machine, region};
use crate::command::{
    CreateJoinToken, FormCluster, Join, MemberSpec, PutAuthority, RecordCertificate, RemoveMember,
    RevokeCertificates,
};
use crate::query::{self, Standing};
use crate::response::{CertificatesRevoked, Done, MemberAdded, Outcome, Refused};

const DAY_MS: i64 = 24 * 3600 * 1000;
const NOW: i64 = 1_000;
const EXPIRES: i64 = 5_000;

fn hash(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[number; 32])
}

fn serial(number: u8) -> [u8; 16] {
    [number; 16]
}

/// Nodes 1 and 2 of us-east-1, and tokens 1 (for any region) and 2 (for eu-west-1).
fn machine() -> Machine {
    let mut machine = Machine::default();
    let member = |node, address| MemberSpec::new(node, &region("us-east-1"), address);
    machine.done(FormCluster {
        members: vec![member(1, "a:1"), member(2, "b:1")],
        at_ms: NOW,
    });
    machine.done(token(1, ""));
    machine.done(token(2, "eu-west-1"));
    machine
}

fn token(number: u8, region: &str) -> CreateJoinToken {
    CreateJoinToken {
        hash: hash(number),
        region: region.to_owned(),
        expires_at_ms: EXPIRES,
        at_ms: NOW,
    }
}

/// A node of `region` with key `key`, at an address of its own.
fn join(token: u8, key: u8, region_name: &str) -> Join {
    let address = format!("10.0.0.{key}:6000");
    Join {
        token_hash: hash(token),
        key_hash: hash(key),
        member: Some(MemberSpec::new(0, &region(region_name), &address)),
        serial: Bytes::copy_from_slice(&serial(key)),
        not_after_ms: NOW + DAY_MS,
        at_ms: NOW,
    }
}

fn record(node: u64, number: u8, at_ms: i64) -> RecordCertificate {
    RecordCertificate {
        node,
        serial: Bytes::copy_from_slice(&serial(number)),
        not_after_ms: at_ms + 10,
        at_ms,
    }
}

fn standing(machine: &Machine, node: u64, number: u8) -> Standing {
    query::standing(&machine.state, node, &serial(number)).unwrap()
}

fn added(node: u64, region_created: bool) -> Outcome {
    Outcome::MemberAdded(MemberAdded {
        node,
        region_created,
    })
}

#[test]
fn a_token_lets_in_one_node() {
    let mut machine = machine();
    assert_eq!(machine.done(join(1, 7, "us-east-1")), added(3, false));
    assert_eq!(standing(&machine, 3, 7), Standing::Member);
    let refused = machine.refused(join(1, 8, "us-east-1"));
    assert_eq!(refused, Refused::TokenUsed(3));
    let token = query::join_token(&machine.state, &[1; 32]).unwrap();
    assert_eq!(token.unwrap().used_by, Some(3));
}

/// Its answer may have been lost, and the token may have expired since.
#[test]
fn the_same_node_may_ask_again() {
    let mut machine = machine();
    machine.done(join(1, 7, "us-east-1"));
    let again = Join {
        serial: Bytes::copy_from_slice(&serial(70)),
        at_ms: EXPIRES + 1,
        ..join(1, 7, "us-east-1")
    };
    assert_eq!(machine.done(again.clone()), added(3, false));
    assert_eq!(query::certificates(&machine.state, 3).unwrap().len(), 2);
    machine.done(RevokeCertificates {
        node: 3,
        at_ms: NOW,
    });
    assert_eq!(machine.refused(again), Refused::NodeRevoked(3));
}

#[test]
fn a_token_that_is_unknown_expired_or_for_another_region_lets_nobody_in() {
    let mut machine = machine();
    let refused = machine.refused(join(9, 7, "us-east-1"));
    assert_eq!(refused, Refused::TokenUnknown(Done {}));
    let late = Join {
        at_ms: EXPIRES,
        ..join(1, 7, "us-east-1")
    };
    assert_eq!(machine.refused(late), Refused::TokenExpired(EXPIRES));
    let refused = machine.refused(join(2, 7, "us-east-1"));
    assert_eq!(refused, Refused::TokenRegion("eu-west-1".to_owned()));
    assert_eq!(machine.done(join(2, 7, "eu-west-1")), added(3, true));
    assert_eq!(query::members(&machine.state).unwrap().len(), 3);
}

/// The folder of a member is bound to its key: nobody becomes another node by
/// naming its folder.
#[test]
fn a_joining_node_cannot_choose_whose_folder_it_has() {
    let mut machine = machine();
    machine.done(join(1, 7, "us-east-1"));
    machine.done(token(3, ""));
    let mut thief = join(3, 8, "us-east-1");
    if let Some(member) = &mut thief.member {
        member.folder = Bytes::copy_from_slice(&[7; 16]);
        member.node = 1;
    }
    assert_eq!(machine.done(thief), added(4, false));
    let folder = query::member(&machine.state, 4).unwrap().unwrap().folder;
    assert_eq!(folder, Some([8; 16]));
}

#[test]
fn a_join_that_the_members_refuse_uses_no_token_up() {
    let mut machine = machine();
    let mut taken = join(1, 7, "us-east-1");
    if let Some(member) = &mut taken.member {
        member.peer_address = "a:1".to_owned();
    }
    assert!(matches!(machine.refused(taken), Refused::AddressInUse(_)));
    machine.done(join(1, 7, "us-east-1"));
}

#[test]
fn old_tokens_go_when_new_ones_come() {
    let mut machine = machine();
    machine.done(CreateJoinToken {
        at_ms: EXPIRES + DAY_MS + 1,
        expires_at_ms: EXPIRES + 2 * DAY_MS,
        ..token(3, "")
    });
    let known = |number| query::join_token(&machine.state, &[number; 32]).unwrap();
    assert_eq!(known(1), None);
    assert!(known(3).is_some());
}

#[test]
fn a_revoked_node_is_out_with_every_certificate_that_it_has_or_makes() {
    let mut machine = machine();
    machine.done(record(2, 20, NOW));
    machine.done(record(2, 21, NOW));
    assert_eq!(standing(&machine, 2, 20), Standing::Member);
    let revoke = RevokeCertificates {
        node: 2,
        at_ms: NOW,
    };
    let revoked = |revoked| Outcome::CertificatesRevoked(CertificatesRevoked { revoked });
    assert_eq!(machine.done(revoke), revoked(2));
    assert_eq!(machine.done(revoke), revoked(0));
    for number in [20, 21, 22] {
        assert_eq!(standing(&machine, 2, number), Standing::Revoked);
    }
    // By its serial number, whoever shows it.
    assert_eq!(standing(&machine, 1, 20), Standing::Revoked);
    assert_eq!(standing(&machine, 1, 10), Standing::Member);
    assert_eq!(machine.refused(record(2, 22, NOW)), Refused::NodeRevoked(2));
    let unknown = RevokeCertificates { node: 9, ..revoke };
    assert_eq!(machine.refused(unknown), Refused::MemberUnknown(9));
}

#[test]
fn the_last_node_cannot_be_revoked() {
    let mut machine = machine();
    machine.done(RemoveMember {
        node: 2,
        at_ms: NOW,
        force: true,
    });
    let revoke = RevokeCertificates {
        node: 1,
        at_ms: NOW,
    };
    assert_eq!(machine.refused(revoke), Refused::LastMember(1));
}

/// A copy that is behind must not shut out those who could bring it up to date.
#[test]
fn who_is_no_member_is_told_from_who_is_not_known_yet() {
    let mut machine = machine();
    assert_eq!(standing(&machine, 3, 30), Standing::Newer);
    machine.done(join(1, 7, "us-east-1"));
    machine.done(RemoveMember {
        node: 3,
        at_ms: NOW,
        force: true,
    });
    assert_eq!(standing(&machine, 3, 7), Standing::NoMember);
    assert_eq!(standing(&machine, 4, 7), Standing::Newer);
    assert_eq!(
        standing(&Machine::default(), 1, 1),
        Standing::Newer,
        "a new copy knows nobody"
    );
    let refused = machine.refused(record(3, 31, NOW));
    assert_eq!(refused, Refused::MemberUnknown(3));
}

#[test]
fn certificates_that_expired_long_ago_are_forgotten() {
    let mut machine = machine();
    machine.done(record(1, 10, NOW));
    machine.done(record(1, 11, NOW + DAY_MS));
    assert_eq!(query::certificates(&machine.state, 1).unwrap().len(), 2);
    machine.done(record(1, 12, NOW + DAY_MS + 11));
    let left = query::certificates(&machine.state, 1).unwrap();
    let left: Vec<u8> = left.iter().map(|it| it.serial[0]).collect();
    assert_eq!(left, [11, 12]);
}

#[test]
fn there_is_one_authority() {
    let mut machine = Machine::default();
    let authority = |certificate: &'static str| PutAuthority {
        certificate: Bytes::from_static(certificate.as_bytes()),
        sealed_key: Bytes::from_static(b"sealed"),
        at_ms: NOW,
    };
    assert_eq!(query::authority(&machine.state).unwrap(), None);
    machine.done(authority("one"));
    machine.done(authority("one"));
    let refused = machine.refused(authority("two"));
    assert_eq!(refused, Refused::AuthorityExists(Done {}));
    let kept = query::authority(&machine.state).unwrap().unwrap();
    assert_eq!(kept.certificate, "one");
    assert!(!format!("{:?}", authority("one")).contains("sealed\""));
}
