//! What nodes know each other by: the authority, tokens, certificates.

use bytes::Bytes;
use entrepot_oci::RegionName;

use super::{cluster, member, parsed};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{CERTIFICATES_PER_NODE_MAX, HASH_BYTES, SERIAL_BYTES};
use crate::read;
use crate::records::trust::{AuthorityRecord, CertificateRecord, JoinTokenRecord};
use crate::store::{KeyValue, StorageError};

/// The cluster's certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityEntry {
    /// DER.
    pub certificate: Bytes,
    /// Sealed under the cluster's key.
    pub sealed_key: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTokenEntry {
    /// `None`: for any region.
    pub region: Option<RegionName>,
    pub expires_at_ms: i64,
    /// The node that joined by it.
    pub used_by: Option<u64>,
}

/// A certificate that a node was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEntry {
    pub serial: [u8; SERIAL_BYTES],
    pub issued_at_ms: i64,
    pub not_after_ms: i64,
    pub revoked_at_ms: Option<i64>,
}

/// What this copy of the records says of a node that shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A node of the cluster.
    Member,
    /// Its id is above all that this copy knows of: this copy is behind. The
    /// certificate has to speak for itself.
    Newer,
    /// The node was removed, or there never was one of that id.
    NoMember,
    /// The certificate, or all of the node, was revoked.
    Revoked,
}

pub fn authority(view: &dyn KeyValue) -> Result<Option<AuthorityEntry>, StorageError> {
    let record: Option<AuthorityRecord> = read::record(view, &keys::authority())?;
    Ok(record.map(|record| AuthorityEntry {
        certificate: record.certificate,
        sealed_key: record.sealed_key,
    }))
}

pub fn join_token(
    view: &dyn KeyValue,
    hash: &[u8; HASH_BYTES],
) -> Result<Option<JoinTokenEntry>, StorageError> {
    let key = keys::join_token(hash);
    view.get(key.as_bytes())?
        .map(|value| join_token_of(key.as_bytes(), value))
        .transpose()
}

/// The certificates that a node was given and that have not long expired, by
/// their serial numbers.
pub fn certificates(view: &dyn KeyValue, node: u64) -> Result<Vec<CertificateEntry>, StorageError> {
    let prefix = Key::new(Namespace::Certificate).number(node);
    read::page(view, &prefix, None, CERTIFICATES_PER_NODE_MAX)?
        .into_iter()
        .map(|(key, value)| {
            let record: CertificateRecord = read::decode(&key, value)?;
            Ok(CertificateEntry {
                serial: serial_of(&key)?,
                issued_at_ms: record.issued_at_ms,
                not_after_ms: record.not_after_ms,
                revoked_at_ms: record.revoked_at_ms,
            })
        })
        .collect()
}

/// Whether a certificate is on record, revoked or not.
pub fn is_recorded(
    view: &dyn KeyValue,
    node: u64,
    serial: &[u8; SERIAL_BYTES],
) -> Result<bool, StorageError> {
    read::exists(view, &keys::certificate(node, serial))
}

/// Whether node `node` was revoked, with all certificates that it has or makes
/// itself.
pub fn is_revoked(view: &dyn KeyValue, node: u64) -> Result<bool, StorageError> {
    read::exists(view, &keys::revoked_node(node))
}

/// Whether the node `node` may use the certificate `serial`. At the price of a
/// few small reads.
pub fn standing(
    view: &dyn KeyValue,
    node: u64,
    serial: &[u8; SERIAL_BYTES],
) -> Result<Standing, StorageError> {
    if is_revoked(view, node)? || read::exists(view, &keys::revoked(serial))? {
        return Ok(Standing::Revoked);
    }
    match member(view, node)? {
        Some(member) if member.is_removed() => Ok(Standing::NoMember),
        Some(_) => Ok(Standing::Member),
        None => {
            let known = cluster(view)?.map_or(0, |cluster| cluster.next_node);
            Ok(if node >= known {
                Standing::Newer
            } else {
                Standing::NoMember
            })
        }
    }
}

pub(crate) fn join_token_of(key: &[u8], value: Bytes) -> Result<JoinTokenEntry, StorageError> {
    let record: JoinTokenRecord = read::decode(key, value)?;
    let region = match record.region.as_str() {
        "" => None,
        region => Some(parsed(key, "region", region)?),
    };
    Ok(JoinTokenEntry {
        region,
        expires_at_ms: record.expires_at_ms,
        used_by: (record.used_by != 0).then_some(record.used_by),
    })
}

/// The serial number in a key of namespace `Certificate`.
pub(crate) fn serial_of(key: &[u8]) -> Result<[u8; SERIAL_BYTES], StorageError> {
    let mut parts = Parts::of(key);
    parts.number()?;
    let serial = parts.array()?;
    parts.end()?;
    Ok(serial)
}
