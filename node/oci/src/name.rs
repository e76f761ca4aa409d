//! Names: regions, repositories and tags.
//!
//! Each is a string that has passed its grammar; equality, order and hash are
//! the string's. None contains a NUL, a blank or (but for the repository's
//! separator) a slash, so that keys and paths can be made of them.

use crate::text::text_type;

/// The longest repository name, in bytes (ECR).
pub const REPOSITORY_NAME_BYTES_MAX: usize = 256;
/// The longest tag, in bytes (OCI distribution, "Pulling manifests").
pub const TAG_BYTES_MAX: usize = 128;

const REGION_NAME_BYTES_MAX: usize = 32;
const REPOSITORY_NAME_BYTES_MIN: usize = 2;

/// A region: `[a-z][a-z0-9-]{0,31}`, not ending in `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(Box<str>);

/// A repository, within an account's registry in one region: 2 to 256 bytes of
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
/// (OCI distribution, with ECR's lengths).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Box<str>);

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

/// What is wrong with a name. `value` is cut to its first characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("invalid account id {value:?}: must be 12 digits")]
    AccountId { value: String },
    #[error("invalid registry {value:?}: must be 12 digits, or 12 letters from a to j")]
    RegistryId { value: String },
    #[error(
        "invalid region name {value:?}: must be 1 to 32 of a-z, 0-9 and '-', \
         start with a letter and not end with '-'"
    )]
    RegionName { value: String },
    #[error(
        "invalid repository name {value:?}: must be 2 to 256 characters, path components \
         of a-z and 0-9, separated within by one '.', one or two '_', or any number of '-'"
    )]
    RepositoryName { value: String },
    #[error(
        "invalid tag {value:?}: must be 1 to 128 of a-z, A-Z, 0-9, '_', '.' and '-', \
         and not start with '.' or '-'"
    )]
    Tag { value: String },
    #[error(
        "invalid media type {value:?}: must be type/subtype, each at most 127 characters \
         as in RFC 6838, without parameters"
    )]
    MediaType { value: String },
}

// === impl RegionName, RepositoryName, Tag ===

text_type!(RegionName(Box<str>), is_region_name, RegionName);
text_type!(RepositoryName(Box<str>), is_repository_name, RepositoryName);
text_type!(Tag(Box<str>), is_tag, Tag);

fn is_region_name(text: &str) -> bool {
    text.len() <= REGION_NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| is_lower_alphanumeric(b) || b == b'-')
}

fn is_repository_name(text: &str) -> bool {
    (REPOSITORY_NAME_BYTES_MIN..=REPOSITORY_NAME_BYTES_MAX).contains(&text.len())
        && text.split('/').all(is_path_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    // The pieces between runs of letters and digits are the separators; an empty
    // component, or one that starts or ends with a separator, shows at its ends.
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    is_lower_alphanumeric(first)
        && is_lower_alphanumeric(last)
        && bytes
            .split(|&b| is_lower_alphanumeric(b))
            .all(|separator| match separator {
                b"" | b"." | b"_" | b"__" => true,
                dashes => dashes.iter().all(|&b| b == b'-'),
            })
}

fn is_tag(text: &str) -> bool {
    text.len() <= TAG_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests;
