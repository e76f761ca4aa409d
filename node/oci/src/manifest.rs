//! Manifests: OCI images and indexes, Docker schema 2 manifests and lists.
//!
//! Owns what a manifest's bytes mean to the registry: what it is, what it needs,
//! what it points at. Never rewrites those bytes. The invariant: a `Manifest` is
//! either an image or an index, never readable as both, whatever the reader
//! believes its media type to be.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;

use serde::Deserialize;

use crate::descriptor::{empty_as_none, null_as_default};
use crate::media_type::{self, MediaType};
use crate::object::{Members, Notes, Object, TextsCount};
use crate::text::without_middle;
use crate::{Descriptor, Digest};

/// The largest manifest, in bytes (ECR; OCI distribution asks for at least as
/// much).
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most layers of an image, and the most manifests of an index. Each costs a
/// look-up and a record in one command of the state machine.
pub const DESCRIPTORS_MAX: usize = 4096;

/// The most annotations of a manifest, those of its descriptors not counted.
/// Whoever lists referrers gets them all, and each takes many times its length
/// in memory.
pub const ANNOTATIONS_MAX: usize = 4096;

const SCHEMA_VERSION: u64 = 2;

/// What the registry knows of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// As the body or else the client says; one of [`media_type::MANIFESTS`].
    pub media_type: MediaType,
    /// As the body says: not yet the artifact type of a referrer, see
    /// [`Manifest::referrer_type`].
    pub artifact_type: Option<MediaType>,
    /// Images only.
    pub config: Option<Descriptor>,
    /// Images only; in order, repetitions kept.
    pub layers: Vec<Descriptor>,
    /// Indexes only; in order, repetitions kept.
    pub manifests: Vec<Descriptor>,
    /// The manifest this one refers to; it need not exist.
    pub subject: Option<Descriptor>,
}

/// The kinds of manifest, one for each of [`media_type::MANIFESTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    OciManifest,
    OciIndex,
    DockerManifest,
    DockerList,
}

/// Why bytes are no manifest. See [`ManifestError::detail`] for a text with its
/// causes.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("manifest of {size} bytes is larger than {MANIFEST_BYTES_MAX}")]
    TooLarge { size: usize },
    #[error("the manifest is not UTF-8")]
    Encoding,
    #[error("cannot read the manifest")]
    Document(#[source] serde_json::Error),
    #[error("manifests of docker schema 1 are not supported: push the image as schema 2 or OCI")]
    Schema1,
    #[error("unsupported schemaVersion {0}: must be 2")]
    SchemaVersion(u64),
    #[error("the manifest has no schemaVersion: must be 2")]
    SchemaVersionMissing,
    #[error("unsupported manifest media type {0}")]
    UnsupportedMediaType(MediaType),
    #[error("the manifest's mediaType {body} is not the declared Content-Type {declared}")]
    MediaTypeMismatch {
        declared: MediaType,
        body: MediaType,
    },
    #[error("the manifest has no media type and the fields of neither an image nor an index")]
    Shapeless,
    #[error("a manifest of type {media_type} must have {field}")]
    FieldMissing {
        media_type: MediaType,
        field: &'static str,
    },
    #[error("the manifest has both an image's fields (config, layers) and an index's (manifests)")]
    Ambiguous,
    #[error("the manifest names {count} {field}, more than {DESCRIPTORS_MAX}")]
    TooManyDescriptors { field: &'static str, count: usize },
    #[error("the manifest has {0} annotations, more than {ANNOTATIONS_MAX}")]
    TooManyAnnotations(usize),
    #[error("the manifest gives blob {digest} two sizes, {first} and {second}")]
    SizeConflict {
        digest: Digest,
        first: u64,
        second: u64,
    },
}

/// The body as it is written. A list that is `null` is an empty one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<MediaType>,
    #[serde(default, deserialize_with = "empty_as_none")]
    artifact_type: Option<MediaType>,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "present")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "present")]
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_default")]
    annotations: TextsCount,
}

// === impl Manifest ===

impl Manifest {
    /// Reads a manifest. `content_type` is what the client declared; where the
    /// body has a `mediaType` too, they must agree. Where neither says, the
    /// shape decides: config and layers make an OCI image, manifests an OCI
    /// index. Unknown fields are passed over, but for those that differ from a
    /// known one by case alone.
    pub fn parse(content: &[u8], content_type: Option<&MediaType>) -> Result<Self, ManifestError> {
        if content.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge {
                size: content.len(),
            });
        }
        // Before the body is read: a signed schema 1 manifest need not even be
        // an object that `Document` understands.
        if content_type.is_some_and(is_schema_1) {
            return Err(ManifestError::Schema1);
        }
        // All of it: the fields that are passed over would not be looked at, and
        // somebody else's parser would then refuse what is stored here.
        let content = str::from_utf8(content).map_err(|_| ManifestError::Encoding)?;
        let Object(document) =
            serde_json::from_str::<Object<Document>>(content).map_err(ManifestError::Document)?;
        document.check_schema()?;
        document.check_annotations()?;
        let kind = document.kind(content_type)?;
        let manifest = document.into_manifest(kind)?;
        manifest.check_sizes()?;
        Ok(manifest)
    }

    /// The annotations alone, of content that was taken once: no later rule
    /// about manifests can make what is stored unreadable.
    ///
    /// # Errors
    /// [`ManifestError::Document`] for what was never a manifest.
    pub fn annotations_of(content: &[u8]) -> Result<BTreeMap<String, String>, ManifestError> {
        let Object(notes) =
            serde_json::from_slice::<Object<Notes>>(content).map_err(ManifestError::Document)?;
        Ok(notes.annotations)
    }

    /// The config and layers that the registry must hold to take this manifest:
    /// each digest once, layers kept elsewhere by their publisher left out. No
    /// media type makes that of a config: nobody could run the image.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = HashSet::new();
        let is_elsewhere = |layer: &&Descriptor| layer.media_type.is_foreign_layer();
        let layers = self.layers.iter().filter(|layer| !is_elsewhere(layer));
        self.config
            .iter()
            .chain(layers)
            .filter(|blob| seen.insert(blob.digest))
            .collect()
    }

    /// The manifests of an index, as listed; none for an image.
    pub fn children(&self) -> &[Descriptor] {
        &self.manifests
    }

    pub fn is_index(&self) -> bool {
        ManifestKind::of(&self.media_type).is_some_and(ManifestKind::is_index)
    }

    /// Bytes of the config and of all layers as listed: a layer that is named
    /// twice counts twice, as it does when it is unpacked. Zero for an index.
    pub fn content_size(&self) -> u64 {
        self.contents()
            .fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// The artifact type under which this manifest is listed among its subject's
    /// referrers: its own, or an image's config media type (OCI distribution,
    /// "Listing Referrers").
    pub fn referrer_type(&self) -> Option<&MediaType> {
        self.artifact_type
            .as_ref()
            .or(self.config.as_ref().map(|config| &config.media_type))
    }

    fn contents(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// One of two sizes for the same content is a lie, and whoever looks at only
    /// one mention must not be the one that is lied to.
    fn check_sizes(&self) -> Result<(), ManifestError> {
        let mut sizes = HashMap::new();
        for blob in self.contents() {
            let first = *sizes.entry(blob.digest).or_insert(blob.size);
            if first != blob.size {
                return Err(ManifestError::SizeConflict {
                    digest: blob.digest,
                    first,
                    second: blob.size,
                });
            }
        }
        Ok(())
    }
}

// === impl ManifestKind ===

impl ManifestKind {
    pub fn of(media_type: &MediaType) -> Option<Self> {
        match media_type.as_str() {
            media_type::OCI_MANIFEST => Some(Self::OciManifest),
            media_type::OCI_INDEX => Some(Self::OciIndex),
            media_type::DOCKER_MANIFEST => Some(Self::DockerManifest),
            media_type::DOCKER_LIST => Some(Self::DockerList),
            _ => None,
        }
    }

    pub const fn media_type(self) -> MediaType {
        MediaType::known(match self {
            Self::OciManifest => media_type::OCI_MANIFEST,
            Self::OciIndex => media_type::OCI_INDEX,
            Self::DockerManifest => media_type::DOCKER_MANIFEST,
            Self::DockerList => media_type::DOCKER_LIST,
        })
    }

    pub fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }
}

// === impl ManifestError ===

impl ManifestError {
    /// The error and its causes in one line, for the client that sent the bytes.
    /// Short, although a cause may quote whatever text stood where a number should.
    pub fn detail(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        without_middle(text)
    }
}

// === impl Document ===

impl Members for Document {
    const NAMES: &'static [&'static str] = &[
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
    ];
}

impl Document {
    fn check_annotations(&self) -> Result<(), ManifestError> {
        match self.annotations.0 {
            0..=ANNOTATIONS_MAX => Ok(()),
            count => Err(ManifestError::TooManyAnnotations(count)),
        }
    }

    fn check_schema(&self) -> Result<(), ManifestError> {
        if self.media_type.as_ref().is_some_and(is_schema_1) {
            return Err(ManifestError::Schema1);
        }
        match self.schema_version {
            Some(SCHEMA_VERSION) => Ok(()),
            Some(1) => Err(ManifestError::Schema1),
            Some(other) => Err(ManifestError::SchemaVersion(other)),
            None => Err(ManifestError::SchemaVersionMissing),
        }
    }

    fn kind(&self, content_type: Option<&MediaType>) -> Result<ManifestKind, ManifestError> {
        let named = match (content_type, &self.media_type) {
            (Some(declared), Some(body)) if declared != body => {
                return Err(ManifestError::MediaTypeMismatch {
                    declared: declared.clone(),
                    body: body.clone(),
                });
            }
            (_, Some(named)) | (Some(named), None) => named,
            (None, None) => return self.kind_by_shape(),
        };
        ManifestKind::of(named).ok_or_else(|| ManifestError::UnsupportedMediaType(named.clone()))
    }

    fn kind_by_shape(&self) -> Result<ManifestKind, ManifestError> {
        if self.config.is_some() && self.layers.is_some() {
            Ok(ManifestKind::OciManifest)
        } else if self.manifests.is_some() {
            Ok(ManifestKind::OciIndex)
        } else {
            Err(ManifestError::Shapeless)
        }
    }

    /// Takes the fields of `kind` and refuses those of the other: a document with
    /// both would be one thing to this registry and another to a client that goes
    /// by the fields (CVE-2021-41190).
    fn into_manifest(self, kind: ManifestKind) -> Result<Manifest, ManifestError> {
        let missing = |field| ManifestError::FieldMissing {
            media_type: kind.media_type(),
            field,
        };
        let has_layers = self.layers.as_ref().is_some_and(|list| !list.is_empty());
        let has_manifests = self.manifests.as_ref().is_some_and(|list| !list.is_empty());
        let (config, layers, manifests) = if kind.is_index() {
            if self.config.is_some() || has_layers {
                return Err(ManifestError::Ambiguous);
            }
            let manifests = self.manifests.ok_or_else(|| missing("manifests"))?;
            (None, Vec::new(), bounded("manifests", manifests)?)
        } else {
            if has_manifests {
                return Err(ManifestError::Ambiguous);
            }
            let config = self.config.ok_or_else(|| missing("config"))?;
            let layers = self.layers.ok_or_else(|| missing("layers"))?;
            (Some(config), bounded("layers", layers)?, Vec::new())
        };
        Ok(Manifest {
            media_type: kind.media_type(),
            artifact_type: self.artifact_type,
            config,
            layers,
            manifests,
            subject: self.subject,
        })
    }
}

fn bounded(
    field: &'static str,
    descriptors: Vec<Descriptor>,
) -> Result<Vec<Descriptor>, ManifestError> {
    match descriptors.len() {
        0..=DESCRIPTORS_MAX => Ok(descriptors),
        count => Err(ManifestError::TooManyDescriptors { field, count }),
    }
}

fn is_schema_1(media_type: &MediaType) -> bool {
    matches!(
        media_type.as_str(),
        media_type::DOCKER_MANIFEST_V1 | media_type::DOCKER_MANIFEST_V1_SIGNED
    )
}

/// Tells a field that is there, though it be `null`, from one that is not.
fn present<'de, D>(deserializer: D) -> Result<Option<Vec<Descriptor>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    null_as_default(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
