//! What nodes know each other by: seeds for the targets.

use bytes::Bytes;

use super::member;
use crate::apply::tests::Machine;
use crate::command::{
    Command, CreateJoinToken, Join, MemberSpec, PutAuthority, RecordCertificate, RevokeCertificates,
};

/// An authority, token 1 that is open, and token 2, by which node 3 joined.
pub(super) fn prepare(machine: &mut Machine) {
    machine.done(authority());
    machine.done(token(1));
    machine.done(token(2));
    machine.done(join(2, 2, "d:1"));
}

fn join(token: u8, key: u8, address: &str) -> Join {
    Join {
        token_hash: hash(token),
        key_hash: hash(key),
        member: Some(MemberSpec {
            node: 0,
            ..member(3, address)
        }),
        serial: Bytes::from_static(&[0x44; 16]),
        not_after_ms: 100,
        at_ms: 5,
    }
}

/// Commands about what nodes know each other by. Token 1 is open, token 2 was
/// used by node 3.
pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let record = |node| RecordCertificate {
        node,
        serial: Bytes::from_static(&[0x45; 16]),
        not_after_ms: 100,
        at_ms: 5,
    };
    let revoke = |node| RevokeCertificates { node, at_ms: 5 };
    vec![
        ("good-authority-again", authority().into()),
        ("good-token", token(9).into()),
        ("good-join-by-token", join(1, 7, "c:1").into()),
        ("good-join-again", join(2, 2, "d:1").into()),
        ("bad-join-used-token", join(2, 7, "c:1").into()),
        ("bad-join-unknown-token", join(8, 7, "c:1").into()),
        ("good-record", record(1).into()),
        ("bad-record-unknown", record(9).into()),
        ("good-revoke", revoke(2).into()),
        ("bad-revoke-unknown", revoke(9).into()),
    ]
}

fn hash(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[number; 32])
}

fn authority() -> PutAuthority {
    PutAuthority {
        certificate: Bytes::from_static(b"certificate"),
        sealed_key: Bytes::from_static(b"key"),
        at_ms: 1,
    }
}

fn token(number: u8) -> CreateJoinToken {
    CreateJoinToken {
        hash: hash(number),
        region: String::new(),
        expires_at_ms: 10,
        at_ms: 1,
    }
}
