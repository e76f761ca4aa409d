//! What repositories are made with and templates have: mutability of tags,
//! encryption and scanning, as clients write them.

use entrepot_service::{Encryption, Mutability, MutabilityMode};
use serde::{Deserialize, Serialize};

const WILDCARD: &str = "WILDCARD";

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Mode {
    Mutable,
    Immutable,
    ImmutableWithExclusion,
    MutableWithExclusion,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    filter_type: String,
    filter: String,
}

/// The two members that say which tags may move.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagMutability {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tag_mutability: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_tag_mutability_exclusion_filters: Option<Vec<Filter>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptionConfiguration {
    encryption_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScanningConfiguration {
    pub(super) scan_on_push: bool,
}

// === impl TagMutability ===

impl TagMutability {
    /// None: nothing is said of it.
    pub(super) fn of(self) -> Option<Mutability> {
        let filters = self.image_tag_mutability_exclusion_filters;
        if self.image_tag_mutability.is_none() && filters.is_none() {
            return None;
        }
        let filters = filters.unwrap_or_default().into_iter();
        Some(Mutability {
            mode: match self.image_tag_mutability.unwrap_or(Mode::Mutable) {
                Mode::Mutable => MutabilityMode::Mutable,
                Mode::Immutable => MutabilityMode::Immutable,
                Mode::ImmutableWithExclusion => MutabilityMode::ImmutableWithExclusion,
                Mode::MutableWithExclusion => MutabilityMode::MutableWithExclusion,
            },
            filters: filters.map(|filter| filter.filter).collect(),
        })
    }
}

impl From<Mutability> for TagMutability {
    fn from(mutability: Mutability) -> Self {
        let filters: Vec<Filter> = mutability
            .filters
            .into_iter()
            .map(|filter| Filter {
                filter_type: WILDCARD.to_owned(),
                filter,
            })
            .collect();
        Self {
            image_tag_mutability: Some(match mutability.mode {
                MutabilityMode::Mutable => Mode::Mutable,
                MutabilityMode::Immutable => Mode::Immutable,
                MutabilityMode::ImmutableWithExclusion => Mode::ImmutableWithExclusion,
                MutabilityMode::MutableWithExclusion => Mode::MutableWithExclusion,
            }),
            image_tag_mutability_exclusion_filters: (!filters.is_empty()).then_some(filters),
        }
    }
}

// === impl EncryptionConfiguration ===

impl Default for EncryptionConfiguration {
    fn default() -> Self {
        Self {
            encryption_type: "AES256".to_owned(),
            kms_key: None,
        }
    }
}

impl From<EncryptionConfiguration> for Encryption {
    fn from(encryption: EncryptionConfiguration) -> Self {
        Self {
            kind: encryption.encryption_type,
            // Templates may say that there is none.
            kms_key: encryption.kms_key.filter(|key| !key.is_empty()),
        }
    }
}

impl From<Encryption> for EncryptionConfiguration {
    fn from(encryption: Encryption) -> Self {
        Self {
            encryption_type: encryption.kind,
            kms_key: encryption.kms_key,
        }
    }
}
