//! Replication rules, and which of them asks for what.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::{AccountId, MediaType, NameError, RegistryId, RepositoryName, Tag};

use super::{Destination, ManifestEntry, Task, TaskKind, manifest_entry, parsed, tags_of};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{RULES_MAX, SUBJECTS_MAX};
use crate::query::matches_wildcard;
use crate::read;
use crate::records::rules::{RuleOptions, RuleRecord};
use crate::store::{KeyValue, StorageError};

/// Tags of a subject that are looked at.
const SUBJECT_TAGS_MAX: usize = 1_000;

/// A replication rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    /// Sorted; none: every repository, unless the options name some.
    pub prefixes: Vec<String>,
    /// Sorted; at least one.
    pub destinations: Vec<Destination>,
    pub options: RuleOptions,
    pub updated_at_ms: i64,
}

pub fn rule(
    view: &dyn KeyValue,
    account: &RegistryId,
    id: &str,
) -> Result<Option<Rule>, StorageError> {
    // Only a valid id makes an unambiguous key.
    if id.contains('\0') {
        return Ok(None);
    }
    let key = keys::rule(account, id);
    view.get(key.as_bytes())?
        .map(|value| rule_of(key.as_bytes(), value))
        .transpose()
}

/// All rules of a registry, by id; at most [`RULES_MAX`]. A public one has none.
pub fn rules(view: &dyn KeyValue, account: &RegistryId) -> Result<Vec<Rule>, StorageError> {
    let prefix = Key::new(Namespace::Rule).account(account);
    read::page(view, &prefix, None, RULES_MAX)?
        .into_iter()
        .map(|(key, value)| rule_of(&key, value))
        .collect()
}

/// At most `limit` rules of all registries.
pub fn rules_of_all(
    view: &dyn KeyValue,
    limit: usize,
) -> Result<Vec<(AccountId, Rule)>, StorageError> {
    let all = Key::new(Namespace::Rule);
    read::page(view, &all, None, limit)?
        .into_iter()
        .map(|(key, value)| Ok((Parts::of(&key).account()?, rule_of(&key, value)?)))
        .collect()
}

/// Where the rules want pushes to `repository` to be copied, and which rule asks
/// for it: of several the one of the highest priority, then the first by its id.
pub fn destinations(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<BTreeMap<Destination, Rule>, StorageError> {
    let mut rules = rules(view, account)?;
    rules.retain(|rule| rule.matches(repository));
    Ok(by_destination(rules))
}

/// One rule for each destination that they name.
pub fn by_destination(mut rules: Vec<Rule>) -> BTreeMap<Destination, Rule> {
    // Sorted by their ids before.
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.options.priority));
    let mut found = BTreeMap::new();
    for rule in rules {
        for destination in &rule.destinations {
            found
                .entry(destination.clone())
                .or_insert_with(|| rule.clone());
        }
    }
    found
}

pub(crate) fn rule_of(key: &[u8], value: Bytes) -> Result<Rule, StorageError> {
    let mut parts = Parts::of(key);
    let account = parts.account()?;
    let id = parts.text("rule")?.to_owned();
    let record: RuleRecord = read::decode(key, value)?;
    let mut destinations = Vec::with_capacity(record.destinations.len().max(1));
    for destination in &record.destinations {
        destinations.push(Destination {
            region: parsed(key, "region", &destination.region)?,
            account: parsed(key, "account", &destination.account)?,
        });
    }
    if destinations.is_empty() {
        destinations.push(Destination {
            region: parsed(key, "region", &record.destination_region)?,
            account,
        });
    }
    Ok(Rule {
        id,
        prefixes: record.prefixes,
        destinations,
        options: record.options.unwrap_or_default(),
        updated_at_ms: record.updated_at_ms,
    })
}

// === impl Rule ===

impl Rule {
    /// Whether it wants pushes to `repository` at `destination`, as far as neither
    /// tags nor types matter.
    pub fn asks_for(&self, destination: &Destination, repository: &RepositoryName) -> bool {
        self.destinations.contains(destination) && self.matches(repository)
    }

    /// Whether it asks for what the task does.
    pub fn wants(&self, view: &dyn KeyValue, task: &Task) -> Result<bool, StorageError> {
        let key = &task.key;
        if !self.asks_for(&key.destination, &key.repository) {
            return Ok(false);
        }
        if task.kind == TaskKind::Delete {
            return Ok(self.options.deletions);
        }
        if !self.options.filters_images() {
            return Ok(true);
        }
        let Some(image) = manifest_entry(view, &key.account, &key.repository, &key.digest)? else {
            return Ok(false);
        };
        self.takes(
            view,
            &key.account,
            &key.repository,
            &image,
            key.tag.as_ref(),
        )
    }

    /// Prefixes are ECR's `PREFIX_MATCH`: `apple` also takes `apples`.
    pub fn matches(&self, repository: &RepositoryName) -> bool {
        let name = repository.as_str();
        let fits = |wildcard: &String| matches_wildcard(wildcard, name);
        let is_open = self.prefixes.is_empty() && self.options.repositories.is_empty();
        let mut prefixes = self.prefixes.iter();
        let is_named = is_open
            || prefixes.any(|prefix| name.starts_with(prefix))
            || self.options.repositories.iter().any(fits);
        is_named && !self.options.repositories_excluded.iter().any(fits)
    }

    /// Whether it takes an image of a repository that it matches, under one of its
    /// tags or without any. What has a subject goes with it, whatever it is itself.
    pub fn takes(
        &self,
        view: &dyn KeyValue,
        account: &RegistryId,
        repository: &RepositoryName,
        image: &ManifestEntry,
        tag: Option<&Tag>,
    ) -> Result<bool, StorageError> {
        if !self.options.filters_images() || self.fits(image, tag) {
            return Ok(true);
        }
        let mut subject = image.subject;
        for _ in 0..SUBJECTS_MAX {
            let Some(digest) = subject else { break };
            let Some(found) = manifest_entry(view, account, repository, &digest)? else {
                break;
            };
            let tags = tags_of(view, account, repository, &digest, SUBJECT_TAGS_MAX)?;
            if tags.is_empty() && self.fits(&found, None)
                || tags.iter().any(|tag| self.fits(&found, Some(tag)))
            {
                return Ok(true);
            }
            subject = found.subject;
        }
        Ok(false)
    }

    /// By itself.
    fn fits(&self, image: &ManifestEntry, tag: Option<&Tag>) -> bool {
        let options = &self.options;
        let one = |wildcards: &[String], text: &str| {
            let mut wildcards = wildcards.iter();
            wildcards.any(|wildcard| matches_wildcard(wildcard, text))
        };
        let types = &options.artifact_types;
        let kind = image.artifact_type.as_ref().map(MediaType::as_str);
        (types.is_empty() || kind.is_some_and(|kind| one(types, kind)))
            && options.takes_tag(tag.map(Tag::as_str))
    }

    /// Under which name it copies a repository.
    ///
    /// # Errors
    /// When that is no name of a repository.
    pub fn name_at_destination(
        &self,
        repository: &RepositoryName,
    ) -> Result<RepositoryName, NameError> {
        self.name_there(repository).parse()
    }

    /// The same, not looked at.
    pub(crate) fn name_there(&self, repository: &RepositoryName) -> String {
        let mapped = self.options.mapping.as_ref().and_then(|mapping| {
            let rest = repository.as_str().strip_prefix(&mapping.from)?;
            Some(format!("{}{rest}", mapping.to))
        });
        mapped.unwrap_or_else(|| repository.to_string())
    }
}
