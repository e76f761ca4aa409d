//! Where replicas come from: a repository of another registry.
//!
//! What stands in a record or a key beside the place that it is about leaves out
//! the account and the repository where they are those of that place. So what was
//! written before a source was more than a region reads on, and each source has
//! one name only.

use std::fmt;

use entrepot_oci::{AccountId, Digest, NameError, RegionName, RegistryId, RepositoryName};

use crate::records::{Origin, ReplicaRecord};
use crate::store::{KeyValue, StorageError};
use crate::{keys, read};

/// A repository whose pushes and deletions one log orders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub region: RegionName,
    pub account: RegistryId,
    pub repository: RepositoryName,
}

/// The push or deletion at its source that something comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagOrigin {
    pub source: Source,
    /// Its log index in the group of the source's region.
    pub sequence: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("what the {what} is called is no such name")]
pub struct OriginError {
    what: &'static str,
    #[source]
    source: NameError,
}

/// Whether the source of a replica has deleted it since.
pub fn was_deleted(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    origin: &TagOrigin,
) -> Result<bool, StorageError> {
    let key = keys::replica(account, repository, digest, &origin.source);
    let record: Option<ReplicaRecord> = read::record(view, &key)?;
    Ok(record.is_some_and(|record| record.deleted >= origin.sequence))
}

// === impl Source ===

impl Source {
    pub fn new(region: &RegionName, account: &AccountId, repository: &RepositoryName) -> Self {
        Self {
            region: region.clone(),
            account: RegistryId::from(account.clone()),
            repository: repository.clone(),
        }
    }

    /// Whether it is of that name in that registry, in its own region.
    pub(crate) fn is_namesake(&self, account: &RegistryId, repository: &RepositoryName) -> bool {
        self.account == *account && self.repository == *repository
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.region, self.account, self.repository)
    }
}

// === impl TagOrigin ===

impl TagOrigin {
    /// What stands beside a repository of a registry.
    ///
    /// # Errors
    /// When it names something that cannot be.
    pub fn read(
        record: &Origin,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<Self, OriginError> {
        let bad = |what| move |source| OriginError { what, source };
        let account = match record.account.as_str() {
            "" => account.clone(),
            other => other.parse().map_err(bad("source's account"))?,
        };
        let repository = match record.repository.as_str() {
            "" => repository.clone(),
            other => other.parse().map_err(bad("source's repository"))?,
        };
        Ok(Self {
            source: Source {
                region: record.region.parse().map_err(bad("source's region"))?,
                account,
                repository,
            },
            sequence: record.sequence,
        })
    }

    /// The other way round.
    pub fn record(&self, account: &RegistryId, repository: &RepositoryName) -> Origin {
        let Source {
            region,
            account: from,
            repository: name,
        } = &self.source;
        let other = |is_other: bool, text: &str| {
            let text = Some(text).filter(|_| is_other);
            text.map(ToOwned::to_owned).unwrap_or_default()
        };
        Origin {
            region: region.to_string(),
            sequence: self.sequence,
            account: other(from != account, from.as_str()),
            repository: other(name != repository, name.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_was_written_beside_any_repository() {
        let accounts = ["111111111111", "222222222222"];
        let names = ["app", "mirror/app"];
        let both = || {
            let accounts = accounts.iter();
            accounts.flat_map(|account| names.iter().map(move |name| (account, name)))
        };
        for (account, name) in both() {
            let origin = TagOrigin {
                source: Source::new(
                    &"eu-west-1".parse().unwrap(),
                    &account.parse().unwrap(),
                    &name.parse().unwrap(),
                ),
                sequence: 7,
            };
            for (here, home) in both() {
                let (here, home) = (here.parse().unwrap(), home.parse().unwrap());
                let record = origin.record(&here, &home);
                assert_eq!(TagOrigin::read(&record, &here, &home).unwrap(), origin);
                let is_short = record.account.is_empty() && record.repository.is_empty();
                assert_eq!(is_short, origin.source.is_namesake(&here, &home));
            }
        }
        let wrong = Origin {
            account: "1".to_owned(),
            ..Origin::default()
        };
        let home = "app".parse().unwrap();
        assert!(TagOrigin::read(&wrong, &"111111111111".parse().unwrap(), &home).is_err());
    }
}
