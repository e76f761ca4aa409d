//! Descriptors: how a manifest points at other content.
//!
//! Only what the registry acts on is kept; a manifest's own bytes are stored
//! elsewhere and never made again from these. Content that a descriptor embeds
//! is held against its size and digest and then passed over.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize};

use crate::object::{Members, Object, Texts, TextsCount};
use crate::{Digest, MediaType};

/// The largest size a descriptor may state, in bytes: the specification's
/// `size` is an int64.
pub const DESCRIPTOR_SIZE_MAX: u64 = i64::MAX.cast_unsigned();

/// A pointer to content (OCI image specification, "Content Descriptors").
/// Unknown fields, `platform` among them, are passed over. `data` is checked: a
/// client that trusts it must get what the digest names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Object<Fields>")]
pub struct Descriptor {
    pub media_type: MediaType,
    pub digest: Digest,
    /// Bytes, at most [`DESCRIPTOR_SIZE_MAX`].
    pub size: u64,
    /// `None` also for an empty text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// Those that a list of this registry's gives. None of a descriptor that
    /// was read: they are checked and let go.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    media_type: MediaType,
    digest: Digest,
    #[serde(deserialize_with = "size")]
    size: u64,
    #[serde(default, deserialize_with = "empty_as_none")]
    artifact_type: Option<MediaType>,
    #[serde(default, rename = "annotations", deserialize_with = "null_as_default")]
    _annotations: TextsCount,
    /// Where else the content may be had; never fetched from.
    #[serde(default, rename = "urls", deserialize_with = "null_as_default")]
    _urls: Texts,
    /// The content itself, in base64; empty is as good as absent.
    #[serde(default, deserialize_with = "null_as_default")]
    data: String,
}

/// Why embedded content is not what its descriptor says.
#[derive(Debug, thiserror::Error)]
enum DataError {
    #[error("the embedded data of {digest} is no base64 (RFC 4648, 4)")]
    Encoding { digest: Digest },
    #[error("the embedded data of {digest} has {actual} bytes, not the {expected} of its size")]
    Size {
        digest: Digest,
        expected: u64,
        actual: usize,
    },
    #[error("the embedded data of {digest} has another digest")]
    Digest { digest: Digest },
}

// === impl Descriptor ===

impl TryFrom<Object<Fields>> for Descriptor {
    type Error = DataError;

    fn try_from(Object(fields): Object<Fields>) -> Result<Self, DataError> {
        fields.check_data()?;
        Ok(Self {
            media_type: fields.media_type,
            digest: fields.digest,
            size: fields.size,
            artifact_type: fields.artifact_type,
            annotations: BTreeMap::new(),
        })
    }
}

// === impl Fields ===

impl Members for Fields {
    const NAMES: &'static [&'static str] = &[
        "mediaType",
        "digest",
        "size",
        "artifactType",
        "annotations",
        "urls",
        "data",
        "platform",
    ];
}

impl Fields {
    fn check_data(&self) -> Result<(), DataError> {
        if self.data.is_empty() {
            return Ok(());
        }
        let digest = self.digest;
        let content = STANDARD
            .decode(&self.data)
            .map_err(|_| DataError::Encoding { digest })?;
        if content.len() as u64 != self.size {
            return Err(DataError::Size {
                digest,
                expected: self.size,
                actual: content.len(),
            });
        }
        if Digest::of(digest.algorithm(), &content) != digest {
            return Err(DataError::Digest { digest });
        }
        Ok(())
    }
}

// === fields ===

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    if size > DESCRIPTOR_SIZE_MAX {
        let expected = "a size of at most 2^63 - 1 bytes";
        return Err(D::Error::invalid_value(
            Unexpected::Unsigned(size),
            &expected,
        ));
    }
    Ok(size)
}

/// Clients written in Go send `null` for an empty list or map.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// "Empty or missing" are one for an artifact type (OCI distribution, "Listing
/// Referrers").
pub(crate) fn empty_as_none<'de, D>(deserializer: D) -> Result<Option<MediaType>, D::Error>
where
    D: Deserializer<'de>,
{
    match Option::<String>::deserialize(deserializer)? {
        Some(text) if !text.is_empty() => text.parse().map(Some).map_err(D::Error::custom),
        _ => Ok(None),
    }
}
