//! Reading records and whole ranges through [`KeyValue`].
//!
//! Owns decoding and the bounds of a range; knows no namespace.

use bytes::Bytes;
use prost::Message;

use crate::keys::Key;
use crate::store::{KeyValue, StorageError};

pub(crate) fn record<M: Message + Default>(
    view: &dyn KeyValue,
    key: &Key,
) -> Result<Option<M>, StorageError> {
    view.get(key.as_bytes())?
        .map(|value| decode(key.as_bytes(), value))
        .transpose()
}

pub(crate) fn decode<M: Message + Default>(key: &[u8], value: Bytes) -> Result<M, StorageError> {
    M::decode(value).map_err(|error| StorageError::corrupt(key, error))
}

pub(crate) fn exists(view: &dyn KeyValue, key: &Key) -> Result<bool, StorageError> {
    Ok(view.get(key.as_bytes())?.is_some())
}

/// At most `limit` pairs under `prefix`, from the key `start` on if given.
pub(crate) fn page(
    view: &dyn KeyValue,
    prefix: &Key,
    start: Option<&Key>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let start = start.unwrap_or(prefix);
    view.scan(start.as_bytes(), &prefix.prefix_end(), limit)
}

/// The first key under `prefix`.
pub(crate) fn first(view: &dyn KeyValue, prefix: &Key) -> Result<Option<Bytes>, StorageError> {
    Ok(page(view, prefix, None, 1)?.pop().map(|(key, _)| key))
}
