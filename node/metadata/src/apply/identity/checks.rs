//! What names, paths, tags and texts may be like, by IAM's API.

use std::collections::BTreeMap;

use super::super::invalid;
use crate::limits::{
    DESCRIPTION_CHARS_MAX, IDENTITY_ID_BYTES_MAX, IDENTITY_TAGS_MAX, PATH_BYTES_MAX,
    POLICY_DOCUMENT_BYTES_MAX, SESSION_S_MAX, SESSION_S_MIN, TAG_KEY_CHARS_MAX,
    TAG_VALUE_CHARS_MAX,
};
use crate::records::identity::EntityKind;
use crate::response::Refused;

/// `[\w+=,.@-]+`, up to 64 of it; of groups and policies up to 128.
pub(super) fn name(kind: EntityKind, text: &str) -> Result<(), Refused> {
    let max = match kind {
        EntityKind::User | EntityKind::Role => 64,
        _ => 128,
    };
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if (1..=max).contains(&text.len()) && text.bytes().all(right) {
        return Ok(());
    }
    Err(invalid(
        "name",
        format_args!("must be of 1 to {max} characters of [A-Za-z0-9_+=,.@-]"),
    ))
}

/// `/`, or printable ASCII between two slashes.
pub(super) fn path(text: &str) -> Result<(), Refused> {
    let right = |byte: u8| byte.is_ascii_graphic();
    let framed = text == "/" || text.len() > 2 && text.starts_with('/') && text.ends_with('/');
    if framed && text.len() <= PATH_BYTES_MAX && text.bytes().all(right) {
        return Ok(());
    }
    Err(invalid(
        "path",
        "must be of at most 512 printable ASCII characters that begin and end with a slash",
    ))
}

/// Drawn by the proposer.
pub(super) fn id(text: &str) -> Result<(), Refused> {
    let right = |byte: u8| byte.is_ascii_alphanumeric();
    if (16..=IDENTITY_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(right) {
        return Ok(());
    }
    Err(invalid("id", "must be of 16 to 128 letters and digits"))
}

pub(super) fn description(text: &str) -> Result<(), Refused> {
    if text.chars().count() <= DESCRIPTION_CHARS_MAX {
        return Ok(());
    }
    Err(invalid("description", "must be of at most 1000 characters"))
}

pub(super) fn session(seconds: u32) -> Result<(), Refused> {
    if (SESSION_S_MIN..=SESSION_S_MAX).contains(&seconds) {
        return Ok(());
    }
    Err(invalid(
        "longest session",
        "must be of 3600 to 43200 seconds",
    ))
}

pub(super) fn tags(tags: &BTreeMap<String, String>) -> Result<(), Refused> {
    for (key, value) in tags {
        tag_key(key)?;
        if value.chars().count() > TAG_VALUE_CHARS_MAX || value.contains(char::is_control) {
            return Err(invalid("tag value", "must be of at most 256 characters"));
        }
    }
    Ok(())
}

pub(super) fn tag_key(key: &str) -> Result<(), Refused> {
    if (1..=TAG_KEY_CHARS_MAX).contains(&key.chars().count()) && !key.contains(char::is_control) {
        return Ok(());
    }
    Err(invalid("tag key", "must be of 1 to 128 characters"))
}

/// Few enough, all in all.
pub(super) fn tag_count(count: usize) -> Result<(), super::Stop> {
    if count > IDENTITY_TAGS_MAX {
        return Err(super::limit("TagsPerResource", IDENTITY_TAGS_MAX));
    }
    Ok(())
}

/// The document's length as IAM counts it: white space is free.
pub(super) fn document(text: &str) -> Result<usize, Refused> {
    if (1..=POLICY_DOCUMENT_BYTES_MAX).contains(&text.len()) {
        return Ok(text.chars().filter(|sign| !sign.is_whitespace()).count());
    }
    Err(invalid("policy document", "must be of 1 to 32768 bytes"))
}
