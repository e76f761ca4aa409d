//! Records of what a registry and its repositories are to be like.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Which tags may move once they are set.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MutabilityRecord {
    #[prost(enumeration = "MutabilityMode", tag = "1")]
    pub mode: i32,
    /// Wildcards; those that match are excluded from what the mode says.
    #[prost(string, repeated, tag = "2")]
    pub filters: Vec<String>,
}

/// As ECR's `imageTagMutability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum MutabilityMode {
    Mutable = 1,
    Immutable = 2,
    ImmutableWithExclusion = 3,
    MutableWithExclusion = 4,
}

/// How a repository's content is said to be encrypted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EncryptionRecord {
    /// `AES256`, `KMS` or `KMS_DSSE`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Empty: none was named.
    #[prost(string, tag = "2")]
    pub kms_key: String,
}

/// The resource tags of a repository.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ResourceTagsRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub tags: BTreeMap<String, String>,
}

/// A text of a repository.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TextRecord {
    #[prost(string, tag = "1")]
    pub text: String,
    #[prost(int64, tag = "2")]
    pub updated_at_ms: i64,
}

/// Something that a registry has.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ItemRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    #[prost(int64, tag = "2")]
    pub created_at_ms: i64,
    #[prost(int64, tag = "3")]
    pub updated_at_ms: i64,
}

/// Texts that a repository has one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum TextKind {
    /// Who may do what with it.
    Policy = 1,
    /// Which images go when.
    Lifecycle = 2,
    /// Of a public repository: what people are told of it, JSON.
    Catalog = 3,
    /// A lifecycle policy that is only tried, as of when it was put.
    LifecyclePreview = 4,
    /// What the last evaluation of its lifecycle policy did, JSON.
    LifecycleRun = 5,
}

/// What a registry has one or several of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ItemKind {
    /// One: who may do what with the registry.
    Policy = 1,
    /// By the prefixes of the repositories that are made with it.
    CreationTemplate = 2,
    /// By the prefixes of repositories that another registry fills.
    PullThroughCacheRule = 3,
    /// One.
    ScanningConfiguration = 4,
    /// One.
    SigningConfiguration = 5,
    /// By the ARNs of principals whose pulls do not count.
    PullTimeExclusion = 6,
    /// By ECR's names of them.
    AccountSetting = 7,
    /// One: what the replication rules were made from.
    ReplicationConfiguration = 8,
    /// One, of a public registry: what people are told of it.
    CatalogData = 9,
    /// By their names: who is told what changes.
    Webhook = 20,
    /// By the names of webhooks: how far each has been told.
    WebhookProgress = 21,
    /// By the addresses of issuers, without `https://`: identity providers that an
    /// account trusts. In the global group.
    IdentityProvider = 22,
}

/// Ways in which repositories come to be that nobody makes by hand, as ECR's
/// `appliedFor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CreatedFor {
    Replication = 1,
    PullThroughCache = 2,
    Push = 3,
}

// === impl TextKind, ItemKind ===

impl TextKind {
    pub const ALL: [Self; 5] = [
        Self::Policy,
        Self::Lifecycle,
        Self::Catalog,
        Self::LifecyclePreview,
        Self::LifecycleRun,
    ];

    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "repository policy",
            Self::Lifecycle => "lifecycle policy",
            Self::Catalog => "catalog data",
            Self::LifecyclePreview => "lifecycle policy preview",
            Self::LifecycleRun => "lifecycle policy run",
        }
    }

    /// As keys have it.
    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        Self::try_from(i32::from(byte)).ok()
    }
}

impl ItemKind {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "registry policy",
            Self::CreationTemplate => "repository creation template",
            Self::PullThroughCacheRule => "pull through cache rule",
            Self::ScanningConfiguration => "scanning configuration",
            Self::SigningConfiguration => "signing configuration",
            Self::PullTimeExclusion => "pull time exclusion",
            Self::AccountSetting => "account setting",
            Self::ReplicationConfiguration => "replication configuration",
            Self::CatalogData => "catalog data",
            Self::Webhook => "webhook",
            Self::WebhookProgress => "progress of the webhook",
            Self::IdentityProvider => "identity provider",
        }
    }

    /// Whether nodes below level 9 know nothing of it.
    pub(crate) fn is_of_level_9(self) -> bool {
        matches!(
            self,
            Self::Webhook | Self::WebhookProgress | Self::IdentityProvider
        )
    }

    /// As keys have it.
    pub(crate) fn byte(self) -> u8 {
        self as u8
    }

    pub(crate) fn of_byte(byte: u8) -> Option<Self> {
        Self::try_from(i32::from(byte)).ok()
    }
}
