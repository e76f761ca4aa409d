//! What belongs to a whole registry: its settings and repositories.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{Mutability, after_name};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{
    IMAGES_PER_REPOSITORY_MAX, LAYER_BYTES_MAX, LAYER_PARTS_MAX, PUBLIC_IMAGES_PER_REPOSITORY_MAX,
    PUBLIC_LAYER_BYTES_MAX, PUBLIC_LAYER_PARTS_MAX, PUBLIC_REPOSITORIES_MAX, REPOSITORIES_MAX,
    TAGS_PER_IMAGE_MAX, UNBOUNDED, UNDELETE_WINDOW_MS,
};
use crate::read;
use crate::records::{CountRecord, QuotasRecord, RepositoryRecord, SettingsRecord};
use crate::store::{KeyValue, StorageError};

/// The settings of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// A push makes the repository that it names if there is none.
    pub create_on_push: bool,
    /// None: nothing is counted yet, and nothing bounded.
    pub quotas: Option<Quotas>,
    /// The most that `quotas` can be set to by the registry itself.
    pub granted: Quotas,
    /// How long deleted images can be restored; 0: not at all.
    pub undelete_window_ms: u64,
    /// How much the registry holds is counted.
    pub counts_bytes: bool,
}

/// The most that there may be in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub repositories: u64,
    pub images_per_repository: u64,
    pub tags_per_image: u64,
    /// Of a layer that ECR's API uploads.
    pub layer_parts: u64,
    pub layer_bytes: u64,
    /// Of the registry; [`UNBOUNDED`], as of the following: any number.
    pub bytes: u64,
    pub bytes_per_repository: u64,
    /// Of the registry.
    pub images: u64,
}

/// The most that there may be in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepositoryQuotas {
    /// [`UNBOUNDED`]: any number.
    pub bytes: u64,
    pub images: u64,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub number: u64,
    /// Not: there is more, that was there before anybody counted.
    pub is_whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub name: RepositoryName,
    pub created_at_ms: i64,
    /// Log index of the command that made it.
    pub index: u64,
    pub settings: RepositorySettings,
    /// Its deletion has begun: it takes nothing any more, and indexes may lack
    /// manifests that are gone already.
    pub deleting: bool,
    /// Which tags may move.
    pub mutability: Mutability,
    /// None: AES256.
    pub encryption: Option<Encryption>,
    pub scan_on_push: bool,
    /// What it may have in the place of what any repository of the registry may.
    pub bytes_max: Option<u64>,
    pub images_max: Option<u64>,
}

/// How a repository's content is said to be encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `AES256`, `KMS` or `KMS_DSSE`.
    pub kind: String,
    pub kms_key: Option<String>,
}

/// The settings of a repository; by default, nothing out of the ordinary is
/// taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepositorySettings {
    /// It takes indexes that name manifests which it does not have.
    pub sparse_indexes: bool,
}

/// What was set, else the defaults. In a public registry nothing is made by a push.
pub fn registry_settings(
    view: &dyn KeyValue,
    account: &RegistryId,
) -> Result<RegistrySettings, StorageError> {
    let record: Option<SettingsRecord> = read::record(view, &keys::settings(account))?;
    let record = record.unwrap_or(SettingsRecord {
        create_on_push: true,
        ..SettingsRecord::default()
    });
    let granted = record.granted.unwrap_or_default();
    let granted = Quotas::default_of(account).or(&granted);
    Ok(RegistrySettings {
        create_on_push: record.create_on_push && !account.is_public(),
        quotas: record.quotas.map(|set| granted.at_most(&set)),
        granted,
        undelete_window_ms: record.undelete_window_ms.unwrap_or(UNDELETE_WINDOW_MS),
        counts_bytes: record.counts_bytes,
    })
}

/// How many repositories a registry has; none: nobody has counted.
pub fn repository_count(
    view: &dyn KeyValue,
    account: &RegistryId,
) -> Result<Option<Count>, StorageError> {
    count(view, &keys::repository_count(account))
}

/// How many manifests a repository has; none: nobody has counted.
pub fn image_count(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<Option<Count>, StorageError> {
    count(view, &keys::image_count(account, repository))
}

/// How many tags an image has; none: so few that nobody counts them.
pub fn tag_count(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Count>, StorageError> {
    count(view, &keys::tag_count(account, repository, digest))
}

fn count(view: &dyn KeyValue, key: &Key) -> Result<Option<Count>, StorageError> {
    let record: Option<CountRecord> = read::record(view, key)?;
    Ok(record.map(|record| Count {
        number: record.number,
        is_whole: record.counted_to.is_none(),
    }))
}

pub fn repository(
    view: &dyn KeyValue,
    account: &RegistryId,
    name: &RepositoryName,
) -> Result<Option<Repository>, StorageError> {
    let record: Option<RepositoryRecord> = read::record(view, &keys::repository(account, name))?;
    Ok(record.map(|record| Repository::new(name.clone(), record)))
}

/// At most `limit` repositories whose names sort after `after`.
pub fn repositories(
    view: &dyn KeyValue,
    account: &RegistryId,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Repository>, StorageError> {
    let prefix = Key::new(Namespace::Repository).account(account);
    let start = after_name(&prefix, after);
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| {
            let mut parts = Parts::of(&key);
            parts.registry()?;
            let name = parts.name("repository")?;
            Ok(Repository::new(name, read::decode(&key, value)?))
        })
        .collect()
}

// === impl RegistrySettings ===

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            create_on_push: true,
            quotas: None,
            granted: Quotas::default(),
            undelete_window_ms: UNDELETE_WINDOW_MS,
            counts_bytes: false,
        }
    }
}

impl RegistrySettings {
    /// What one of its repositories may have, whatever is counted: what is set for
    /// it, as far as is granted.
    pub(crate) fn of_repository(&self, record: &RepositoryRecord) -> RepositoryQuotas {
        let quotas = self.quotas.unwrap_or(self.granted);
        let of = |set: u64, any: u64, granted: u64| match set {
            0 => any,
            set => set.min(granted),
        };
        let granted = &self.granted;
        RepositoryQuotas {
            bytes: of(
                record.bytes_max,
                quotas.bytes_per_repository,
                granted.bytes_per_repository,
            ),
            images: of(
                record.images_max,
                quotas.images_per_repository,
                granted.images_per_repository,
            ),
        }
    }
}

// === impl Quotas ===

/// Those of a private registry.
impl Default for Quotas {
    fn default() -> Self {
        Self {
            repositories: REPOSITORIES_MAX,
            images_per_repository: IMAGES_PER_REPOSITORY_MAX,
            tags_per_image: TAGS_PER_IMAGE_MAX,
            layer_parts: LAYER_PARTS_MAX,
            layer_bytes: LAYER_BYTES_MAX,
            bytes: UNBOUNDED,
            bytes_per_repository: UNBOUNDED,
            images: UNBOUNDED,
        }
    }
}

impl Quotas {
    /// What a registry may have if nobody says otherwise: as in ECR, or ECR Public.
    pub fn default_of(registry: &RegistryId) -> Self {
        if registry.is_public() {
            Self {
                repositories: PUBLIC_REPOSITORIES_MAX,
                images_per_repository: PUBLIC_IMAGES_PER_REPOSITORY_MAX,
                tags_per_image: TAGS_PER_IMAGE_MAX,
                layer_parts: PUBLIC_LAYER_PARTS_MAX,
                layer_bytes: PUBLIC_LAYER_BYTES_MAX,
                ..Self::default()
            }
        } else {
            Self::default()
        }
    }

    /// What is set, and these of what is not.
    fn or(self, set: &QuotasRecord) -> Self {
        self.with(set, |set, _| set)
    }

    /// What is set, as far as these go.
    fn at_most(self, set: &QuotasRecord) -> Self {
        self.with(set, u64::min)
    }

    fn with(self, set: &QuotasRecord, choose: fn(u64, u64) -> u64) -> Self {
        let of = |set: u64, own: u64| if set == 0 { own } else { choose(set, own) };
        Self {
            repositories: of(set.repositories, self.repositories),
            images_per_repository: of(set.images, self.images_per_repository),
            tags_per_image: of(set.tags, self.tags_per_image),
            layer_parts: of(set.layer_parts, self.layer_parts),
            layer_bytes: of(set.layer_bytes, self.layer_bytes),
            bytes: of(set.bytes, self.bytes),
            bytes_per_repository: of(set.repository_bytes, self.bytes_per_repository),
            images: of(set.registry_images, self.images),
        }
    }
}

// === impl Repository ===

impl Repository {
    fn new(name: RepositoryName, record: RepositoryRecord) -> Self {
        Self {
            name,
            created_at_ms: record.created_at_ms,
            index: record.index,
            settings: RepositorySettings {
                sparse_indexes: record.sparse_indexes,
            },
            mutability: record
                .mutability
                .map_or_else(Mutability::default, Mutability::from),
            encryption: record.encryption.map(|encryption| Encryption {
                kind: encryption.kind,
                kms_key: Some(encryption.kms_key).filter(|key| !key.is_empty()),
            }),
            scan_on_push: record.scan_on_push,
            bytes_max: Some(record.bytes_max).filter(|max| *max != 0),
            images_max: Some(record.images_max).filter(|max| *max != 0),
            deleting: record.deleting,
        }
    }
}
