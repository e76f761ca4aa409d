//! The authority, tokens and certificates can be read, are bounded, and agree
//! on who was revoked.

use super::{Check, Pair};
use crate::keys;
use crate::limits::{HASH_BYTES, SERIAL_BYTES};
use crate::query;
use crate::read;
use crate::records::trust::{AuthorityRecord, CertificateRecord, JoinTokenRecord, RevokedRecord};
use crate::store::StorageError;

pub(super) fn authority(_: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    pair.parts().end()?;
    pair.decode::<AuthorityRecord>().map(drop)
}

pub(super) fn join_token(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    parts.array::<HASH_BYTES>()?;
    parts.end()?;
    query::join_token_of(&pair.key, pair.value.clone())?;
    let token: JoinTokenRecord = pair.decode()?;
    check.require(
        (token.used_by == 0) == token.used_key.is_empty(),
        "a token that was used names the key that used it",
        &pair.key,
    );
    Ok(())
}

pub(super) fn certificate(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let node = pair.parts().number()?;
    let serial = query::serial_of(&pair.key)?;
    let record: CertificateRecord = pair.decode()?;
    check.require(
        query::member(check.view, node)?.is_some(),
        "a certificate's node is known",
        &pair.key,
    );
    check.require(
        record.revoked_at_ms.is_none() || read::exists(check.view, &keys::revoked(&serial))?,
        "the serial number of a revoked certificate is revoked",
        &pair.key,
    );
    Ok(())
}

pub(super) fn revoked(_: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    parts.array::<SERIAL_BYTES>()?;
    parts.end()?;
    pair.decode::<RevokedRecord>().map(drop)
}

pub(super) fn revoked_node(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let node = parts.number()?;
    parts.end()?;
    pair.decode::<RevokedRecord>()?;
    check.require(
        query::certificates(check.view, node)?
            .iter()
            .all(|certificate| certificate.revoked_at_ms.is_some()),
        "a revoked node has no certificate that is good",
        &pair.key,
    );
    Ok(())
}
