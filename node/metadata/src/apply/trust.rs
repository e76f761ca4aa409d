//! The certificate authority, join tokens, and the nodes' certificates.
//!
//! The invariants: there is one authority; a token lets in one node; a serial
//! number belongs to one node, and one that was revoked stays so for as long as
//! its certificate could be shown.

use bytes::Bytes;

use super::{Stop, invalid, members, parse};
use crate::command::{
    AddMember, CreateJoinToken, Join, MemberSpec, PutAuthority, RecordCertificate,
    RevokeCertificates,
};
use crate::keys::{self, Key, Namespace};
use crate::limits::{
    AUTHORITY_BYTES_MAX, CERTIFICATES_PER_NODE_MAX, FOLDER_ID_BYTES, HASH_BYTES, JOIN_TOKENS_MAX,
    SERIAL_BYTES,
};
use crate::overlay::Overlay;
use crate::query;
use crate::read;
use crate::records::trust::{AuthorityRecord, CertificateRecord, JoinTokenRecord, RevokedRecord};
use crate::response::{CertificatesRevoked, Done, Outcome, Refused};

/// Clocks may be wrong by so much.
const GRACE_MS: i64 = 24 * 3600 * 1000;

pub(super) fn put_authority(
    overlay: &mut Overlay<'_>,
    command: PutAuthority,
) -> Result<Outcome, Stop> {
    for (what, bytes) in [
        ("certificate", &command.certificate),
        ("sealed key", &command.sealed_key),
    ] {
        if !(1..=AUTHORITY_BYTES_MAX).contains(&bytes.len()) {
            return Err(invalid(what, "must be of 1 to 8192 bytes").into());
        }
    }
    let before: Option<AuthorityRecord> = read::record(overlay, &keys::authority())?;
    match before {
        Some(before) if before.certificate == command.certificate => {}
        Some(_) => return Err(Refused::AuthorityExists(Done {}).into()),
        None => {
            let record = AuthorityRecord {
                certificate: command.certificate,
                sealed_key: command.sealed_key,
                created_at_ms: command.at_ms,
            };
            overlay.put(keys::authority(), &record);
        }
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn create_token(
    overlay: &mut Overlay<'_>,
    command: CreateJoinToken,
) -> Result<Outcome, Stop> {
    let hash = bytes_of::<HASH_BYTES>("token", &command.hash)?;
    if !command.region.is_empty() {
        parse::<entrepot_oci::RegionName>("region", &command.region)?;
    }
    if command.expires_at_ms <= command.at_ms {
        return Err(invalid("token", "has expired already").into());
    }
    let key = keys::join_token(&hash);
    if read::exists(overlay, &key)? {
        // Drawn at random: this is the command's own, from before.
        return Ok(Outcome::Done(Done {}));
    }
    let left = drop_tokens(overlay, command.at_ms)?;
    if left >= JOIN_TOKENS_MAX {
        let max = u32::try_from(JOIN_TOKENS_MAX).unwrap_or(u32::MAX);
        return Err(Refused::TokenLimit(max).into());
    }
    let record = JoinTokenRecord {
        region: command.region,
        created_at_ms: command.at_ms,
        expires_at_ms: command.expires_at_ms,
        used_by: 0,
        used_key: Bytes::new(),
    };
    overlay.put(key, &record);
    Ok(Outcome::Done(Done {}))
}

/// Drops what expired more than a day ago, so that until then its bearer hears
/// why it is refused; returns how many are left.
fn drop_tokens(overlay: &mut Overlay<'_>, at_ms: i64) -> Result<usize, Stop> {
    let prefix = Key::new(Namespace::JoinToken);
    let mut left = 0;
    for (key, value) in read::page(overlay, &prefix, None, JOIN_TOKENS_MAX)? {
        let token: JoinTokenRecord = read::decode(&key, value)?;
        if token.expires_at_ms.saturating_add(GRACE_MS) < at_ms {
            overlay.delete(Key::of(key.to_vec()));
        } else {
            left += 1;
        }
    }
    Ok(left)
}

pub(super) fn join(overlay: &mut Overlay<'_>, index: u64, command: Join) -> Result<Outcome, Stop> {
    let key_hash = bytes_of::<HASH_BYTES>("key", &command.key_hash)?;
    let token_key = keys::join_token(&bytes_of::<HASH_BYTES>("token", &command.token_hash)?);
    let Some(token) = read::record::<JoinTokenRecord>(overlay, &token_key)? else {
        return Err(Refused::TokenUnknown(Done {}).into());
    };
    let Some(member) = command.member else {
        return Err(invalid("member", "is missing").into());
    };
    if token.used_by != 0 && token.used_key != key_hash[..] {
        return Err(Refused::TokenUsed(token.used_by).into());
    }
    if token.used_by == 0 && token.expires_at_ms <= command.at_ms {
        return Err(Refused::TokenExpired(token.expires_at_ms).into());
    }
    if !token.region.is_empty() && token.region != member.region {
        return Err(Refused::TokenRegion(token.region).into());
    }
    let outcome = members::add(
        overlay,
        index,
        AddMember {
            member: Some(MemberSpec {
                node: 0,
                folder: Bytes::copy_from_slice(&key_hash[..FOLDER_ID_BYTES]),
                ..member
            }),
            at_ms: command.at_ms,
            create_region: true,
        },
    )?;
    let Outcome::MemberAdded(added) = &outcome else {
        return Err(invalid("member", "was not added").into());
    };
    let node = added.node;
    if token.used_by != 0 && token.used_by != node {
        return Err(Refused::TokenUsed(token.used_by).into());
    }
    let certificate = RecordCertificate {
        node,
        serial: command.serial,
        not_after_ms: command.not_after_ms,
        at_ms: command.at_ms,
    };
    record(overlay, &certificate)?;
    let used = JoinTokenRecord {
        used_by: node,
        used_key: Bytes::copy_from_slice(&key_hash),
        ..token
    };
    overlay.put(token_key, &used);
    Ok(outcome)
}

pub(super) fn record_certificate(
    overlay: &mut Overlay<'_>,
    command: &RecordCertificate,
) -> Result<Outcome, Stop> {
    match query::member(overlay, command.node)? {
        Some(member) if !member.is_removed() => record(overlay, command)?,
        _ => return Err(Refused::MemberUnknown(command.node).into()),
    }
    Ok(Outcome::Done(Done {}))
}

fn record(overlay: &mut Overlay<'_>, command: &RecordCertificate) -> Result<(), Stop> {
    let serial = bytes_of::<SERIAL_BYTES>("serial number", &command.serial)?;
    if query::is_revoked(overlay, command.node)? {
        return Err(Refused::NodeRevoked(command.node).into());
    }
    let key = keys::certificate(command.node, &serial);
    if read::exists(overlay, &key)? {
        return Ok(());
    }
    let prefix = Key::new(Namespace::Certificate).number(command.node);
    let mut left = 0;
    for (key, value) in read::page(overlay, &prefix, None, CERTIFICATES_PER_NODE_MAX)? {
        let known: CertificateRecord = read::decode(&key, value)?;
        if known.not_after_ms.saturating_add(GRACE_MS) < command.at_ms {
            overlay.delete(Key::of(key.to_vec()));
        } else {
            left += 1;
        }
    }
    if left >= CERTIFICATES_PER_NODE_MAX {
        return Err(invalid("certificate", "the node has too many that are valid").into());
    }
    let record = CertificateRecord {
        issued_at_ms: command.at_ms,
        not_after_ms: command.not_after_ms,
        revoked_at_ms: None,
    };
    overlay.put(key, &record);
    Ok(())
}

pub(super) fn revoke(
    overlay: &mut Overlay<'_>,
    command: RevokeCertificates,
) -> Result<Outcome, Stop> {
    let node = command.node;
    if query::member(overlay, node)?.is_none() {
        return Err(Refused::MemberUnknown(node).into());
    }
    let members = query::members(overlay)?;
    if !members.iter().any(|member| member.node != node) {
        return Err(Refused::LastMember(node).into());
    }
    let prefix = Key::new(Namespace::Certificate).number(node);
    let mut revoked = 0;
    for (key, value) in read::page(overlay, &prefix, None, CERTIFICATES_PER_NODE_MAX)? {
        let known: CertificateRecord = read::decode(&key, value)?;
        if known.revoked_at_ms.is_some() {
            continue;
        }
        revoked += 1;
        let serial = query::serial_of(&key)?;
        let record = RevokedRecord {
            node,
            at_ms: command.at_ms,
        };
        overlay.put(keys::revoked(&serial), &record);
        let known = CertificateRecord {
            revoked_at_ms: Some(command.at_ms),
            ..known
        };
        overlay.put(Key::of(key.to_vec()), &known);
    }
    if !read::exists(overlay, &keys::revoked_node(node))? {
        let record = RevokedRecord {
            node,
            at_ms: command.at_ms,
        };
        overlay.put(keys::revoked_node(node), &record);
    }
    Ok(Outcome::CertificatesRevoked(CertificatesRevoked {
        revoked,
    }))
}

fn bytes_of<const N: usize>(what: &str, bytes: &Bytes) -> Result<[u8; N], Refused> {
    let found = <[u8; N]>::try_from(bytes.as_ref());
    found.map_err(|_| invalid(what, format_args!("must be of {N} bytes")))
}
