//! Media types, and the names of those that a registry knows.
//!
//! Spelling is kept and compared as it is: a manifest's bytes are never
//! rewritten, so a media type read from one must come out the same. Only what
//! HTTP says case-insensitively (`Content-Type`) is folded to lower case.

use std::borrow::Cow;

use crate::name::NameError;
use crate::text::text_type;

/// An image manifest (OCI image specification, "Image Manifest").
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image index (OCI image specification, "Image Index").
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image's configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer, compressed with gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer, compressed with zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The empty JSON object `{}`, where a descriptor is owed and nothing is meant.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// An image manifest (Docker image manifest, version 2 schema 2).
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A manifest list, Docker's index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// An image's configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A layer, compressed with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Schema 1, unsigned: refused.
pub const DOCKER_MANIFEST_V1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Schema 1, signed: refused.
pub const DOCKER_MANIFEST_V1_SIGNED: &str =
    "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Every media type [`crate::Manifest`] parses.
pub const MANIFESTS: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

const OCI_FOREIGN_PREFIX: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN_PREFIX: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// A restricted name, in bytes (RFC 6838, 4.2).
const RESTRICTED_NAME_BYTES_MAX: usize = 127;

/// `type/subtype`, both restricted names (RFC 6838, 4.2), without parameters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Cow<'static, str>);

// === impl MediaType ===

text_type!(MediaType(Cow<'static, str>), is_media_type, MediaType);

impl MediaType {
    /// For a constant of this module; `known` is not checked.
    pub(crate) const fn known(known: &'static str) -> Self {
        Self(Cow::Borrowed(known))
    }

    /// Reads a `Content-Type` header (RFC 9110, 8.3): parameters and blanks
    /// around are dropped, upper case becomes lower case.
    pub fn from_content_type(header: &str) -> Result<Self, NameError> {
        let essence = header
            .split_once(';')
            .map_or(header, |(essence, _)| essence);
        essence
            .trim_matches([' ', '\t'])
            .to_ascii_lowercase()
            .parse()
    }

    /// Whether this names a layer that its publisher keeps elsewhere, and that
    /// registries need not hold (OCI image specification, "Non-Distributable
    /// Layers"; Docker's foreign layers).
    pub fn is_foreign_layer(&self) -> bool {
        [OCI_FOREIGN_PREFIX, DOCKER_FOREIGN_PREFIX]
            .iter()
            .filter_map(|prefix| self.as_str().strip_prefix(prefix))
            .any(|compression| compression.is_empty() || compression.starts_with(['+', '.']))
    }
}

impl PartialEq<str> for MediaType {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for MediaType {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

fn is_media_type(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(kind, subtype)| is_restricted_name(kind) && is_restricted_name(subtype))
}

fn is_restricted_name(text: &str) -> bool {
    text.len() <= RESTRICTED_NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'!' | b'#' | b'$' | b'&' | b'-' | b'^' | b'_' | b'.' | b'+'
                )
        })
}

#[cfg(test)]
mod tests;
