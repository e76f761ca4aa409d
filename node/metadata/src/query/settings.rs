//! What a registry and its repositories are to be like.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::{RegistryId, RepositoryName, Tag};

use super::after_name;
use crate::command::{CreationTemplate, RepositorySpec};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::SCAN_PAGE;
use crate::read;
use crate::records::settings::{
    CreatedFor, ItemKind, ItemRecord, MutabilityMode, MutabilityRecord, ResourceTagsRecord,
    TextKind, TextRecord,
};
use crate::store::{KeyValue, StorageError};

/// The name of the template for what no other is for.
const TEMPLATE_ROOT: &str = "ROOT";

/// Which tags of a repository may move once they are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutability {
    pub mode: MutabilityMode,
    /// Wildcards; only of the modes with exclusions.
    pub filters: Vec<String>,
}

/// A text of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryText {
    pub text: String,
    pub updated_at_ms: i64,
}

/// A text and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOf {
    pub registry: RegistryId,
    pub repository: RepositoryName,
    pub text: RepositoryText,
}

/// Something that a registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryItem {
    pub name: String,
    pub body: Bytes,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// None: there is no such repository, or it has none.
pub fn repository_tags(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<BTreeMap<String, String>, StorageError> {
    let key = keys::resource_tags(account, repository);
    let record: Option<ResourceTagsRecord> = read::record(view, &key)?;
    Ok(record.map_or_else(BTreeMap::new, |record| record.tags))
}

pub fn repository_text(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    kind: TextKind,
) -> Result<Option<RepositoryText>, StorageError> {
    let key = keys::repository_text(account, repository, kind);
    let record: Option<TextRecord> = read::record(view, &key)?;
    Ok(record.map(|record| RepositoryText {
        text: record.text,
        updated_at_ms: record.updated_at_ms,
    }))
}

/// At most `limit` repositories that have a text of a kind, with it, from the one
/// that sorts after `after` on. Takes as many looks as there are texts of any kind.
pub fn texts_of_all(
    view: &dyn KeyValue,
    kind: TextKind,
    after: Option<&(RegistryId, RepositoryName)>,
    limit: usize,
) -> Result<Vec<TextOf>, StorageError> {
    let all = Key::new(Namespace::RepositoryText);
    let mut start = after.map_or_else(
        || all.clone(),
        |(registry, repository)| keys::repository_text(registry, repository, kind).successor(),
    );
    let mut found = Vec::new();
    loop {
        let page = read::page(view, &all, Some(&start), SCAN_PAGE)?;
        for (key, value) in &page {
            let mut parts = Parts::of(key);
            let registry = parts.registry()?;
            let repository = parts.name("repository")?;
            if parts.array::<1>()?[0] != kind.byte() {
                continue;
            }
            let record: TextRecord = read::decode(key, value.clone())?;
            found.push(TextOf {
                registry,
                repository,
                text: RepositoryText {
                    text: record.text,
                    updated_at_ms: record.updated_at_ms,
                },
            });
            if found.len() == limit {
                return Ok(found);
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == SCAN_PAGE => {
                start = Key::of(last.to_vec()).successor();
            }
            _ => return Ok(found),
        }
    }
}

pub fn registry_item(
    view: &dyn KeyValue,
    account: &RegistryId,
    kind: ItemKind,
    name: &str,
) -> Result<Option<RegistryItem>, StorageError> {
    // Only a valid name makes an unambiguous key.
    if name.contains('\0') {
        return Ok(None);
    }
    let key = keys::registry_item(account, kind, name);
    let record: Option<ItemRecord> = read::record(view, &key)?;
    Ok(record.map(|record| RegistryItem::new(name.to_owned(), record)))
}

/// At most `limit` of a kind whose names sort after `after`, which need not be
/// there.
pub fn registry_items(
    view: &dyn KeyValue,
    account: &RegistryId,
    kind: ItemKind,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<RegistryItem>, StorageError> {
    let prefix = keys::registry_items(account, kind);
    let start = after_name(&prefix, after);
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| {
            let mut parts = Parts::of(&key);
            parts.registry()?;
            parts.take(1, "kind")?;
            let name = parts.text("name")?.to_owned();
            Ok(RegistryItem::new(name, read::decode(&key, value)?))
        })
        .collect()
}

/// At most `limit` of a kind, of all registries, behind `after`, if that is given. Takes as many looks as there are
/// registries that have something of any kind.
pub fn registry_items_of_all(
    view: &dyn KeyValue,
    kind: ItemKind,
    after: Option<(&RegistryId, &str)>,
    limit: usize,
) -> Result<Vec<(RegistryId, RegistryItem)>, StorageError> {
    let all = Key::new(Namespace::RegistryItem);
    let mut start = match after {
        Some((registry, name)) => keys::registry_item(registry, kind, name).successor(),
        None => all.clone(),
    };
    let mut found = Vec::new();
    while found.len() < limit {
        let Some((key, value)) = read::page(view, &all, Some(&start), 1)?.pop() else {
            break;
        };
        let mut parts = Parts::of(&key);
        let registry = parts.registry()?;
        let kind_here = parts.array::<1>()?[0];
        start = match kind_here.cmp(&kind.byte()) {
            Ordering::Less => keys::registry_items(&registry, kind),
            Ordering::Greater => Key::of(
                Key::new(Namespace::RegistryItem)
                    .account(&registry)
                    .prefix_end(),
            ),
            Ordering::Equal => {
                let name = parts.text("name")?.to_owned();
                let item = RegistryItem::new(name, read::decode(&key, value)?);
                found.push((registry, item));
                Key::of(key.to_vec()).successor()
            }
        };
    }
    Ok(found)
}

/// What a repository is to be made with that comes to be in this way: that of the
/// longest prefix of its name. A prefix ends at a `/`, said or not.
pub fn template_for(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    way: CreatedFor,
) -> Result<Option<RepositorySpec>, StorageError> {
    let name = repository.as_str();
    let slashes = name.rmatch_indices('/').map(|(at, _)| at);
    let prefixes = slashes.flat_map(|at| [&name[..=at], &name[..at]]);
    for prefix in prefixes.chain([TEMPLATE_ROOT]) {
        let key = keys::registry_item(account, ItemKind::CreationTemplate, prefix);
        let Some(record): Option<ItemRecord> = read::record(view, &key)? else {
            continue;
        };
        let template: CreationTemplate = read::decode(key.as_bytes(), record.body)?;
        if template.applied_for().any(|applied| applied == way) {
            return Ok(Some(template.spec.unwrap_or_default()));
        }
    }
    Ok(None)
}

/// Whether `text` is one that `wildcard` stands for; `*`: any characters.
pub fn matches_wildcard(wildcard: &str, text: &str) -> bool {
    let mut parts = wildcard.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

// === impl Mutability ===

impl Default for Mutability {
    fn default() -> Self {
        Self {
            mode: MutabilityMode::Mutable,
            filters: Vec::new(),
        }
    }
}

impl Mutability {
    /// Whether `tag`, once it is set, stays where it is.
    pub fn is_fixed(&self, tag: &Tag) -> bool {
        let excluded = || {
            let mut filters = self.filters.iter();
            filters.any(|filter| matches_wildcard(filter, tag.as_str()))
        };
        match self.mode {
            MutabilityMode::Mutable => false,
            MutabilityMode::Immutable => true,
            MutabilityMode::ImmutableWithExclusion => !excluded(),
            MutabilityMode::MutableWithExclusion => excluded(),
        }
    }
}

impl From<MutabilityRecord> for Mutability {
    fn from(record: MutabilityRecord) -> Self {
        Self {
            // A mode of a newer version is never applied by this one.
            mode: MutabilityMode::try_from(record.mode).unwrap_or(MutabilityMode::Mutable),
            filters: record.filters,
        }
    }
}

impl From<Mutability> for MutabilityRecord {
    fn from(mutability: Mutability) -> Self {
        Self {
            mode: mutability.mode.into(),
            filters: mutability.filters,
        }
    }
}

// === impl RegistryItem ===

impl RegistryItem {
    fn new(name: String, record: ItemRecord) -> Self {
        Self {
            name,
            body: record.body,
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches_wildcard;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (wildcard, texts) in [
            ("latest", &["latest"][..]),
            ("dev*", &["dev", "dev-1"]),
            ("*-rc", &["-rc", "1-rc", "-rc-rc"]),
            ("v*.*", &["v.", "v1.2", "v1.2.3"]),
            ("a*a", &["aa", "aba"]),
            ("*", &["", "anything"]),
            ("**", &["", "anything"]),
        ] {
            for text in texts {
                assert!(matches_wildcard(wildcard, text), "{wildcard} {text}");
            }
        }
        for (wildcard, text) in [
            ("latest", "latest2"),
            ("dev*", "de"),
            ("*-rc", "rc"),
            ("v*.*", "v1"),
            ("a*a", "a"),
            ("", "a"),
        ] {
            assert!(!matches_wildcard(wildcard, text), "{wildcard} {text}");
        }
    }
}
