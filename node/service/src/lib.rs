//! The use cases of the registry: who may, what it means, in which order.
//!
//! Every front end calls [`Registry`] and nothing below it. Nothing here knows
//! of HTTP, and no blob is ever held in memory: bytes come and go as streams.

pub mod cluster;
pub mod iam;
pub mod peer;
pub mod trust;

mod accounts;
mod admin;
mod admission;
mod audit;
mod authenticate;
mod authorize;
mod backfills;
mod blobs;
mod budget;
mod cache_rules;
mod caller;
mod checking;
mod collector;
mod commit;
mod configuration;
mod departure;
mod error;
mod feed;
mod history;
mod holdings;
#[cfg(test)]
mod hostile;
mod hosts;
mod identities;
mod image_deletion;
mod images;
mod issuers;
mod layer_urls;
mod lifecycle;
mod logins;
mod manifests;
mod members;
mod memory;
mod metadata;
mod policies;
mod proven;
mod public;
mod pulls;
mod quotas;
mod read_through;
mod referrers;
mod registry;
mod registry_items;
mod repositories;
mod request_id;
mod scanning;
mod session;
mod sessions;
mod storage_class;
mod summary;
mod synchronous;
mod templates;
mod throttling;
mod undelete;
mod upkeep;
mod upload;
mod usage;
mod watch;
mod webhooks;

pub use accounts::{AccountInfo, AccountPage, CreatedAccount, NewAccount};
pub use admin::{
    RegistryChange, RegistryInfo, RepositoryChange, RepositoryDeletion, RepositoryInfo,
    RepositoryPage, RuleInfo, TaskPage,
};
pub use authenticate::GivenToken;
pub use authenticate::signed::{SignedError, SigningKey};
pub use authorize::Target;
pub use backfills::{BackfillItemPage, Backfills};
pub use blobs::BlobInfo;
pub use budget::{Gathering, UNCOUNTED_BYTES};
pub use cache_rules::{CacheRule, CacheRuleMembers, CacheRulePage};
pub use caller::{Caller, Origin, Proof};
pub use checking::{RecordFault, RecordFinding, RecordsCursor, RecordsPage};
pub use collector::{
    Collectable, CollectionPreview, CollectionStanding, CollectionStep, Collector,
    CollectorMetrics, CollectorSettings, NodeStanding, PreviewCursor, Round,
};
pub use configuration::{
    DeleteReplication, ReplicationConfiguration, ReplicationDestination, ReplicationFilter,
    ReplicationRule,
};
pub use departure::{Counted, Departure, MembersServer, Progress};
pub use entrepot_access::sigv4;
pub use entrepot_access::{AccessKey, AssumedRole, Identity, Principal, Secret, User};
pub use entrepot_blobs::BlobStream;
pub use entrepot_metadata::command::QuotasChange;
pub use entrepot_metadata::limits::RESOURCE_TAGS;
pub use entrepot_metadata::limits::UNBOUNDED;
pub use entrepot_metadata::query::{
    AccountState, Backfill, BackfillCount, BackfillItem, BackfillPhase, Change, CreatedFor,
    Destination, Encryption, ItemState, Member, MemberState, Mutability, MutabilityMode,
    NearRegions, Objective, Place, PrefixMapping, RegistrySettings, Repository, RepositorySettings,
    RuleOptions, Task, TaskKey, TaskState, TimeWindow,
};
pub use entrepot_metadata::query::{Cause, DeletedImage, TagMove};
pub use entrepot_metadata::query::{Count, Held, Quotas};
pub use entrepot_metadata::response::{TagFixed, TagFound};
pub use entrepot_replication::upkeep::NodeUpkeep;
pub use error::ServiceError;
pub use history::{RestoredTag, TagHistories, TagMovePage, TagRestoration};
pub use holdings::{HoldingMetrics, HoldingWatch};
pub use hosts::{Domain, DomainError, RegistryHost};
pub use image_deletion::{FailedChild, GoneManifest, ImageDeletion, ImageDeletionRequest};
pub use images::{ImageInfo, ImagePage, StoredImage};
pub use lifecycle::{
    EvaluatedLifecycle, LifecycleMetrics, LifecyclePolicy, LifecyclePreview, LifecycleRun,
    Lifecycles, PreviewedImage,
};
pub use logins::Source;
pub use manifests::{ManifestContent, ManifestPush, PutManifest, TagCondition, TagPage};
pub use members::{MemberInfo, RegionInfo, Removal};
pub use public::{Catalog, TaggedImage, TaggedPage};
pub use pulls::PullTimes;
pub use quotas::QuotaInfo;
pub use referrers::{ReferrerPage, Wanted as WantedReferrers};
pub use registry::{Registry, RegistryParts, Settings};
pub use registry_items::{PullTimeExclusion, PullTimeExclusionPage};
pub use repositories::{DescribedPage, NewRepository};
pub use request_id::RequestId;
pub use scanning::{
    RegistryScanning, RepositoryFilter, RepositoryScanning, ScanFrequency, ScanType, ScanningRule,
    Signing, SigningRule,
};
pub use storage_class::{ClassFilter, MovedImage};
pub use summary::{ReplicationSummary, SummaryFilter, SummaryOf};
pub use templates::{Template, TemplateChange, TemplatePage};
pub use throttling::{Operation, RATE_MAX, Throttling, ThrottlingMetrics};
pub use undelete::{DeletedPage, RestoredImage};
pub use upload::{BodyStream, UploadChunk, UploadState};
pub use usage::{Amount, ClassAmounts, RegistryUsage};
pub use watch::{Watch, WatchEvent};
pub use webhooks::{
    Courier, EventKind, Failing, Message, NoCourier, Undelivered, WebhookInfo, WebhookMetrics,
    WebhookSpec, Webhooks,
};
