//! The vocabulary every other crate speaks: digests, names, references, media
//! types, descriptors, manifests and ranges.
//!
//! Owns: the grammar of each word and its one canonical spelling. Never does
//! I/O, never waits, never looks at a clock. The invariant: a value of one of
//! these types is valid; whatever comes from outside is checked once, where it
//! is parsed, and never again.

mod descriptor;
mod digest;
#[cfg(test)]
mod grammar;
#[cfg(test)]
mod hostile;
mod manifest;
pub mod media_type;
mod name;
mod object;
mod range;
mod reference;
mod registry_id;
mod text;

pub use descriptor::{DESCRIPTOR_SIZE_MAX, Descriptor};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use manifest::{
    ANNOTATIONS_MAX, DESCRIPTORS_MAX, MANIFEST_BYTES_MAX, Manifest, ManifestError, ManifestKind,
};
pub use media_type::MediaType;
pub use name::{
    NameError, REPOSITORY_NAME_BYTES_MAX, RegionName, RepositoryName, TAG_BYTES_MAX, Tag,
};
pub use range::{ContentRange, RangeError, RangeHeader};
pub use reference::{Reference, ReferenceError};
pub use registry_id::{AccountId, RegistryId};
