//! Keys of what tags pointed to before.

use entrepot_oci::{RegistryId, RepositoryName, Tag};

use super::{Key, Namespace};

/// Of which moves of a tag is told.
pub(crate) fn tag_history(account: &RegistryId, repository: &RepositoryName, tag: &Tag) -> Key {
    Key::new(Namespace::TagHistory)
        .home(account, repository)
        .name(tag.as_str())
}

/// The prefix of a tag's moves.
pub(crate) fn tag_moves(account: &RegistryId, repository: &RepositoryName, tag: &Tag) -> Key {
    Key::new(Namespace::TagMove)
        .home(account, repository)
        .name(tag.as_str())
}

pub(crate) fn tag_move(
    account: &RegistryId,
    repository: &RepositoryName,
    tag: &Tag,
    number: u64,
) -> Key {
    tag_moves(account, repository, tag).number(number)
}

/// Sorts by time; what went before 1970 counts as of then.
pub(crate) fn gone_tag(
    gone_at_ms: i64,
    account: &RegistryId,
    repository: &RepositoryName,
    tag: &Tag,
) -> Key {
    gone_tags_then(gone_at_ms)
        .home(account, repository)
        .name(tag.as_str())
}

/// The prefix of tags that went at that time.
pub(crate) fn gone_tags_then(gone_at_ms: i64) -> Key {
    Key::new(Namespace::GoneTag).number(since_1970(gone_at_ms))
}

/// How many tags of a repository went of which is told.
pub(crate) fn gone_tag_count(account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::GoneTagCount).home(account, repository)
}

/// The prefix of those, by the time at which they went.
pub(crate) fn gone_tags_of(account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::GoneTagOrder).home(account, repository)
}

/// Sorts by time, as [`gone_tag`].
pub(crate) fn gone_tag_order(
    gone_at_ms: i64,
    account: &RegistryId,
    repository: &RepositoryName,
    tag: &Tag,
) -> Key {
    gone_tags_of(account, repository)
        .number(since_1970(gone_at_ms))
        .name(tag.as_str())
}

fn since_1970(at_ms: i64) -> u64 {
    u64::try_from(at_ms).unwrap_or(0)
}
