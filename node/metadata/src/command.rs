//! What Raft carries: envelopes with one command each.
//!
//! Owns the wire form of every command. The proposer has checked what a
//! command says about the outside world (a manifest's bytes hash to its
//! digest, a blob is durable on its holders); what it says about the state is
//! checked again when it is applied, which alone is authoritative.
//!
//! Fields and commands are only ever added, under new tags. A node that does
//! not know a command refuses it, so a new one, or a new field, may only be
//! proposed once every node of the group understands it.

mod accounts;
mod backfills;
mod collection;
mod deletion;
mod following;
mod held;
mod history;
mod identity;
mod members;
mod new;
mod public;
mod pulls;
mod replication;
mod settings;
mod storage_class;
mod trust;
mod undelete;

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

pub use self::accounts::{
    CreateAccessKey, DeleteAccessKey, NewAccessKey, SetAccessKeyState, SetAccountState,
};
pub use self::backfills::{StartBackfill, StepBackfill, StopBackfill};
pub use self::collection::{
    BeginCollection, CollectBlobs, CollectFiles, CollectLinks, CollectedBlob, ConfirmCollected,
    ForgetCollected, OrphanFile, UnusedLink,
};
pub use self::deletion::DeleteRepository;
pub use self::following::{EndSettingsTask, PutReplicaSettings};
pub use self::held::CountHeld;
pub use self::history::{ForgetTags, ForgottenTag};
pub use self::identity::{
    AttachPolicy, CreateEntity, CreatePolicy, CreatePolicyVersion, DeleteEntity,
    DeleteInlinePolicy, DeletePolicy, DeletePolicyVersion, DetachPolicy, PutInlinePolicy, RoleSpec,
    SetBoundary, SetDefaultPolicyVersion, SetGroupMember, TagEntity, UpdateEntity, UpdateRole,
};
pub use self::members::{
    AddMember, AddRegion, FormCluster, MemberSpec, RemoveMember, RemoveRegion, SetMemberState,
    UpdateMember,
};
pub use self::pulls::{Pull, RecordPulls};
pub use self::replication::{DeleteReplica, DeniedTask, SettleReplicas};
pub use self::settings::{
    CreationTemplate, DeleteRegistryItem, PutRegistryItem, PutRepositoryText, ReplaceRules,
    RepositorySpec, RuleSpec, TagRepository,
};
pub use self::storage_class::SetStorageClass;
pub use self::trust::{CreateJoinToken, Join, PutAuthority, RecordCertificate, RevokeCertificates};
pub use self::undelete::{Author, ExpireDeleted, ExpiredImage, RestoreImage, UNDELETE_LEVEL};
use crate::limits::ENVELOPE_ID_BYTES;
use crate::records::Origin;
use crate::records::rules::{DestinationRecord, RuleOptions};
use crate::records::settings::{ItemKind, MutabilityRecord};

/// What this version's state machine understands. Whoever adds a command, or a
/// member to one that changes what it does, raises this and has
/// [`Command::level`] say so: a copy that applied it without understanding all of
/// it would differ from the others for ever.
pub const LEVEL: u32 = 9;

/// From which on the metadata keeps blobs of more than
/// [`INLINE_BYTES_MAX_FIRST`](crate::limits::INLINE_BYTES_MAX_FIRST).
pub const LONG_INLINE_LEVEL: u32 = 9;

/// From which on a registry may have quotas.
pub const QUOTAS_LEVEL: u32 = 9;

/// One command and the id under which it is applied at most once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// 16 bytes, random, drawn by the proposer; retries keep it.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    #[prost(
        oneof = "Command",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 30, 31, 32, \
                33, 34, 40, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 100, 101, 102, 103, 104, 120, 121, 122, 140, 141, 142, 150, 151, \
                160, 170, 171, 172, 173, 174, 175, 180, 181, 185, 187, 189"
    )]
    pub command: Option<Command>,
    /// Log index up to which the proposer's copy was applied when it drew the id:
    /// no entry with the id is at or before it.
    #[prost(uint64, optional, tag = "64")]
    pub known_index: Option<u64>,
    /// What a state machine has to understand to apply it; 0: what all do.
    #[prost(uint32, tag = "65")]
    pub level: u32,
}

/// An envelope, as far as every version can read it.
#[derive(Clone, PartialEq, prost::Message)]
struct Levelled {
    #[prost(uint32, tag = "65")]
    level: u32,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Command {
    #[prost(message, tag = "2")]
    CreateAccount(CreateAccount),
    #[prost(message, tag = "3")]
    CreateRepository(CreateRepository),
    #[prost(message, tag = "4")]
    LinkBlob(LinkBlob),
    #[prost(message, tag = "5")]
    MountBlob(MountBlob),
    #[prost(message, tag = "6")]
    UnlinkBlob(UnlinkBlob),
    #[prost(message, tag = "7")]
    PutManifest(PutManifest),
    #[prost(message, tag = "8")]
    DeleteManifest(DeleteManifest),
    #[prost(message, tag = "9")]
    DeleteTag(DeleteTag),
    #[prost(message, tag = "10")]
    PutRule(PutRule),
    #[prost(message, tag = "11")]
    DeleteRule(DeleteRule),
    #[prost(message, tag = "12")]
    EndTask(EndTask),
    #[prost(message, tag = "13")]
    PutRegistrySettings(PutRegistrySettings),
    #[prost(message, tag = "14")]
    PutRepositorySettings(PutRepositorySettings),
    #[prost(message, tag = "15")]
    FormCluster(FormCluster),
    #[prost(message, tag = "16")]
    AddMember(AddMember),
    #[prost(message, tag = "17")]
    SetMemberState(SetMemberState),
    #[prost(message, tag = "18")]
    UpdateMember(UpdateMember),
    #[prost(message, tag = "19")]
    RemoveMember(RemoveMember),
    #[prost(message, tag = "20")]
    AddRegion(AddRegion),
    #[prost(message, tag = "21")]
    RemoveRegion(RemoveRegion),
    #[prost(message, tag = "30")]
    PutAuthority(PutAuthority),
    #[prost(message, tag = "31")]
    CreateJoinToken(CreateJoinToken),
    #[prost(message, tag = "32")]
    Join(Join),
    #[prost(message, tag = "33")]
    RecordCertificate(RecordCertificate),
    #[prost(message, tag = "34")]
    RevokeCertificates(RevokeCertificates),
    #[prost(message, tag = "40")]
    DeleteRepository(DeleteRepository),
    #[prost(message, tag = "70")]
    SetAccountState(SetAccountState),
    #[prost(message, tag = "71")]
    CreateAccessKey(CreateAccessKey),
    #[prost(message, tag = "72")]
    SetAccessKeyState(SetAccessKeyState),
    #[prost(message, tag = "73")]
    DeleteAccessKey(DeleteAccessKey),
    #[prost(message, tag = "74")]
    CreateEntity(CreateEntity),
    #[prost(message, tag = "75")]
    DeleteEntity(DeleteEntity),
    #[prost(message, tag = "76")]
    UpdateRole(UpdateRole),
    #[prost(message, tag = "77")]
    PutInlinePolicy(PutInlinePolicy),
    #[prost(message, tag = "78")]
    DeleteInlinePolicy(DeleteInlinePolicy),
    #[prost(message, tag = "79")]
    AttachPolicy(AttachPolicy),
    #[prost(message, tag = "80")]
    DetachPolicy(DetachPolicy),
    #[prost(message, tag = "81")]
    SetBoundary(SetBoundary),
    #[prost(message, tag = "82")]
    TagEntity(TagEntity),
    #[prost(message, tag = "83")]
    SetGroupMember(SetGroupMember),
    #[prost(message, tag = "84")]
    CreatePolicy(CreatePolicy),
    #[prost(message, tag = "85")]
    CreatePolicyVersion(CreatePolicyVersion),
    #[prost(message, tag = "86")]
    SetDefaultPolicyVersion(SetDefaultPolicyVersion),
    #[prost(message, tag = "87")]
    DeletePolicyVersion(DeletePolicyVersion),
    #[prost(message, tag = "88")]
    DeletePolicy(DeletePolicy),
    #[prost(message, tag = "89")]
    UpdateEntity(UpdateEntity),
    #[prost(message, tag = "100")]
    TagRepository(TagRepository),
    #[prost(message, tag = "101")]
    PutRepositoryText(PutRepositoryText),
    #[prost(message, tag = "102")]
    PutRegistryItem(PutRegistryItem),
    #[prost(message, tag = "103")]
    DeleteRegistryItem(DeleteRegistryItem),
    #[prost(message, tag = "104")]
    ReplaceRules(ReplaceRules),
    #[prost(message, tag = "120")]
    RetryTasks(RetryTasks),
    #[prost(message, tag = "121")]
    DeleteReplica(DeleteReplica),
    #[prost(message, tag = "122")]
    SettleReplicas(SettleReplicas),
    #[prost(message, tag = "140")]
    StartBackfill(StartBackfill),
    #[prost(message, tag = "141")]
    StopBackfill(StopBackfill),
    #[prost(message, tag = "142")]
    StepBackfill(StepBackfill),
    #[prost(message, tag = "150")]
    PutReplicaSettings(PutReplicaSettings),
    #[prost(message, tag = "151")]
    EndSettingsTask(EndSettingsTask),
    #[prost(message, tag = "160")]
    RecordPulls(RecordPulls),
    #[prost(message, tag = "170")]
    BeginCollection(BeginCollection),
    #[prost(message, tag = "171")]
    CollectLinks(CollectLinks),
    #[prost(message, tag = "172")]
    CollectBlobs(CollectBlobs),
    #[prost(message, tag = "173")]
    CollectFiles(CollectFiles),
    #[prost(message, tag = "174")]
    ConfirmCollected(ConfirmCollected),
    #[prost(message, tag = "175")]
    ForgetCollected(ForgetCollected),
    #[prost(message, tag = "180")]
    RestoreImage(RestoreImage),
    #[prost(message, tag = "181")]
    ExpireDeleted(ExpireDeleted),
    #[prost(message, tag = "189")]
    CountHeld(CountHeld),
    #[prost(message, tag = "187")]
    SetStorageClass(SetStorageClass),
    #[prost(message, tag = "185")]
    ForgetTags(ForgetTags),
}

/// Makes the cluster's first account, `AccountExists` when there is any; or one
/// more, if it is `additional`. Belongs into the `global` group.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct CreateAccount {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub root_user: String,
    /// PHC string.
    #[prost(string, tag = "3")]
    pub password_hash: String,
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
    /// Not the first one: `AccountExists` when there is one of that number. Its
    /// root user needs no password.
    #[prost(bool, tag = "5")]
    pub additional: bool,
    /// For people.
    #[prost(string, tag = "6")]
    pub name: String,
    /// The root user's first access key.
    #[prost(message, optional, tag = "7")]
    pub root_key: Option<NewAccessKey>,
}

/// Makes a repository; one that exists is fine.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CreateRepository {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(int64, tag = "3")]
    pub at_ms: i64,
    /// What it is to have if it is made; unset: the defaults.
    #[prost(message, optional, tag = "4")]
    pub spec: Option<RepositorySpec>,
    /// `RepositoryExists` if it does.
    #[prost(bool, tag = "5")]
    pub must_be_new: bool,
}

/// A durable blob becomes part of a repository.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LinkBlob {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// BLAKE3 of the content, 32 bytes.
    #[prost(bytes = "bytes", tag = "5")]
    pub root: Bytes,
    /// Ids of the nodes that have a durable copy; at least one, unless `content`
    /// is given.
    #[prost(uint64, repeated, tag = "6")]
    pub holders: Vec<u64>,
    #[prost(int64, tag = "7")]
    pub at_ms: i64,
    /// Make the repository if it does not exist, else `RepositoryUnknown`.
    #[prost(bool, tag = "8")]
    pub create_repository: bool,
    /// All of a small blob, which the metadata is to keep. At most
    /// `INLINE_BYTES_MAX`; the proposer has held it against the digest.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub content: Option<Bytes>,
    /// Log index that each of the holders had applied when it looked for collections
    /// of the blob, before it put its copy in place; `CollectedMeanwhile` if there was
    /// another one since.
    #[prost(uint64, optional, tag = "10")]
    pub seen: Option<u64>,
    /// Nothing is said of copies: the blob is one that the region has, else
    /// `BlobsUnknown`.
    #[prost(bool, tag = "11")]
    pub must_be_known: bool,
    /// It comes with an image of another registry: counted, and not refused because
    /// of its bytes.
    #[prost(bool, tag = "30")]
    pub is_replica: bool,
}

/// A blob of one repository becomes part of another of the same account.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MountBlob {
    #[prost(string, tag = "1")]
    pub account: String,
    /// The repository that has it; `BlobsUnknown` if it does not.
    #[prost(string, tag = "2")]
    pub from: String,
    #[prost(string, tag = "3")]
    pub repository: String,
    #[prost(string, tag = "4")]
    pub digest: String,
    #[prost(int64, tag = "5")]
    pub at_ms: i64,
    #[prost(bool, tag = "6")]
    pub create_repository: bool,
}

/// A blob leaves a repository; `BlobReferenced` while a manifest names it.
/// What is known of the blob itself stays: other repositories may have it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UnlinkBlob {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
}

/// Stores a manifest, moves tags to it and enqueues the copies that the
/// registry's rules ask for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutManifest {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    #[prost(string, tag = "4")]
    pub media_type: String,
    /// The manifest's own bytes.
    #[prost(bytes = "bytes", tag = "5")]
    pub content: Bytes,
    /// What the referrers API shows: the manifest's own, else its config's
    /// media type (OCI distribution 1.1, "Listing Referrers").
    #[prost(string, optional, tag = "6")]
    pub artifact_type: Option<String>,
    /// Digest; need not exist.
    #[prost(string, optional, tag = "7")]
    pub subject: Option<String>,
    /// Digests of config and layers, each linked in the repository.
    #[prost(string, repeated, tag = "8")]
    pub blobs: Vec<String>,
    /// Digests of manifests, each stored in the repository unless that takes
    /// sparse indexes.
    #[prost(string, repeated, tag = "9")]
    pub children: Vec<String>,
    /// Bytes of config and layers.
    #[prost(uint64, tag = "10")]
    pub size: u64,
    /// Tags to move here; none: stored by digest alone.
    #[prost(string, repeated, tag = "11")]
    pub tags: Vec<String>,
    #[prost(int64, tag = "12")]
    pub at_ms: i64,
    #[prost(bool, tag = "13")]
    pub create_repository: bool,
    /// Set on a replica: orders its tags among the pushes of that source, and
    /// no rule copies it any further.
    #[prost(message, optional, tag = "14")]
    pub origin: Option<Origin>,
    /// What each of `tags`, of which there has to be one, must be like before;
    /// `TagNotAsExpected` when one of them is not. Unset: anything.
    #[prost(message, optional, tag = "15")]
    pub condition: Option<TagCondition>,
    /// Only on a replica: those of `children` that its source does not have.
    /// It is taken without them, whatever the repository's settings are.
    #[prost(string, repeated, tag = "16")]
    pub absent: Vec<String>,
    /// Only on a replica: it is refused if its source has deleted the image since,
    /// and remembered for the deletions that come later.
    #[prost(bool, tag = "17")]
    pub ordered: bool,
    /// Set: it is remembered of each tag that it moves.
    #[prost(message, optional, tag = "35")]
    pub author: Option<Author>,
}

/// What a tag must be like for a command to change anything.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagCondition {
    #[prost(oneof = "TagState", tags = "1, 2, 3")]
    pub expected: Option<TagState>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum TagState {
    /// It points to this digest.
    #[prost(string, tag = "1")]
    Is(String),
    /// It points to something.
    #[prost(message, tag = "2")]
    Present(Blank),
    /// There is no such tag.
    #[prost(message, tag = "3")]
    Absent(Blank),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Blank {}

/// Removes a manifest with its tags and tasks; `ManifestReferenced` while an
/// index of the repository names it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteManifest {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Of the tasks that copy the deletion.
    #[prost(int64, tag = "4")]
    pub at_ms: i64,
    /// Only if it is still this.
    #[prost(message, optional, tag = "5")]
    pub expected: Option<ImageState>,
    /// No rule copies the deletion.
    #[prost(bool, tag = "6")]
    pub here_only: bool,
    /// Set: the image can be restored for a while.
    #[prost(message, optional, tag = "20")]
    pub author: Option<Author>,
}

/// An image as somebody has seen it, who decided that it should go.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ImageState {
    /// Log index of its first push: `ManifestUnknown` if that is another one.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// All of its tags, sorted: `TagNotAsExpected` if it has one more or less.
    #[prost(string, repeated, tag = "2")]
    pub tags: Vec<String>,
    /// Since when it is in the archive, if it is: `ManifestUnknown` if not since then.
    #[prost(int64, optional, tag = "25")]
    pub archived_at_ms: Option<i64>,
}

/// Removes a tag; copies of its manifest that are under way go on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteTag {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub tag: String,
    /// What the tag must be like; `TagNotAsExpected` when it is not. Unset: it
    /// has to be there, `TagUnknown` when it is not.
    #[prost(message, optional, tag = "4")]
    pub condition: Option<TagCondition>,
    /// The manifest goes as well if that was its last tag, unless an index names
    /// it. Else it stays.
    #[prost(bool, tag = "5")]
    pub with_manifest: bool,
    /// Of the tasks that copy the deletion.
    #[prost(int64, tag = "6")]
    pub at_ms: i64,
    /// Set: the deletion is remembered, and a manifest that goes as well can be restored
    /// for a while.
    #[prost(message, optional, tag = "20")]
    pub author: Option<Author>,
}

/// Makes a replication rule, or replaces the one of that id. That the
/// destination is another region of the cluster is for the proposer to check.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRule {
    #[prost(string, tag = "1")]
    pub account: String,
    /// 1 to 128 of `[a-zA-Z0-9._-]`.
    #[prost(string, tag = "2")]
    pub id: String,
    /// Prefixes of repository names; none: every repository.
    #[prost(string, repeated, tag = "3")]
    pub prefixes: Vec<String>,
    /// The one destination of a rule that every version can apply; else empty.
    #[prost(string, tag = "4")]
    pub destination_region: String,
    #[prost(int64, tag = "5")]
    pub at_ms: i64,
    /// None: `destination_region`, in the registry's own account.
    #[prost(message, repeated, tag = "6")]
    pub destinations: Vec<DestinationRecord>,
    #[prost(message, optional, tag = "7")]
    pub options: Option<RuleOptions>,
}

/// Removes a rule and the open tasks that no other rule asks for.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRule {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub id: String,
}

/// A task was done, or will never be.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EndTask {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(string, tag = "3")]
    pub digest: String,
    /// Empty: pushed without a tag.
    #[prost(string, tag = "4")]
    pub tag: String,
    /// Its name among the destinations of the account's registry.
    #[prost(string, tag = "5")]
    pub destination: String,
    /// Of the task that was worked on: a newer one of the same key goes on.
    #[prost(uint64, tag = "6")]
    pub sequence: u64,
    /// Set: FAILED for this reason, else COMPLETE.
    #[prost(string, optional, tag = "7")]
    pub failed_reason: Option<String>,
    #[prost(int64, tag = "8")]
    pub at_ms: i64,
    /// It failed because the destination's account does not allow it: it can be
    /// opened again by `RetryTasks`.
    #[prost(bool, tag = "9")]
    pub denied: bool,
}

/// Opens the copies, or the deletions, of a repository that its destination had
/// denied: those among the first of its denied tasks, or among the first behind one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RetryTasks {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    /// As in `EndTask`.
    #[prost(string, tag = "3")]
    pub destination: String,
    #[prost(bool, tag = "4")]
    pub deletions: bool,
    /// None: from the first on.
    #[prost(message, optional, tag = "5")]
    pub after: Option<DeniedTask>,
}

/// Changes a registry's settings: those that are given, and no others.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRegistrySettings {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(bool, optional, tag = "2")]
    pub create_on_push: Option<bool>,
    /// What the registry has is counted from this on, and bounded.
    #[prost(message, optional, tag = "10")]
    pub quotas: Option<QuotasChange>,
    /// An operator of the cluster says so: what is set is what the registry may set
    /// by itself from then on.
    #[prost(bool, tag = "11")]
    pub is_granted: bool,
    /// How long images can be restored that are deleted from now on; 0: not at all.
    #[prost(uint64, optional, tag = "20")]
    pub undelete_window_ms: Option<u64>,
}

/// The most that there may be of each; 0: the default, or as much as is granted.
/// Unset: as before.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct QuotasChange {
    #[prost(uint64, optional, tag = "1")]
    pub repositories: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub images: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub tags: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub layer_parts: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub layer_bytes: Option<u64>,
    /// Of the registry, and of a repository.
    #[prost(uint64, optional, tag = "30")]
    pub bytes: Option<u64>,
    #[prost(uint64, optional, tag = "31")]
    pub repository_bytes: Option<u64>,
    /// Images of the registry.
    #[prost(uint64, optional, tag = "32")]
    pub registry_images: Option<u64>,
}

/// Changes a repository's settings: those that are given, and no others.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRepositorySettings {
    #[prost(string, tag = "1")]
    pub account: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    #[prost(bool, optional, tag = "3")]
    pub sparse_indexes: Option<bool>,
    #[prost(message, optional, tag = "4")]
    pub mutability: Option<MutabilityRecord>,
    #[prost(bool, optional, tag = "5")]
    pub scan_on_push: Option<bool>,
    /// The most that it may have; 0: what any repository of the registry may.
    #[prost(uint64, optional, tag = "30")]
    pub bytes_max: Option<u64>,
    #[prost(uint64, optional, tag = "31")]
    pub images_max: Option<u64>,
}

// === impl Envelope ===

impl Envelope {
    pub fn new(id: [u8; ENVELOPE_ID_BYTES], command: Command) -> Self {
        Self {
            id: Bytes::copy_from_slice(&id),
            level: command.level(),
            command: Some(command),
            known_index: None,
        }
    }

    /// Whether this version can apply `envelope`, as far as that can be told
    /// without decoding all of it. What is no envelope at all, it can: the state
    /// machine refuses it.
    pub fn is_understood(envelope: &[u8]) -> bool {
        Self::level_of(envelope) <= LEVEL
    }

    /// What a state machine has to understand to apply `envelope`; 0 of what is
    /// none.
    pub fn level_of(envelope: &[u8]) -> u32 {
        Levelled::decode(envelope).map_or(0, |it| it.level)
    }

    /// `index`: up to which the proposer's copy is applied.
    #[must_use]
    pub fn known_at(self, index: u64) -> Self {
        Self {
            known_index: Some(index),
            ..self
        }
    }

    /// What is proposed to Raft, and what `apply` takes.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }
}

// === impl Command ===

impl Command {
    /// The [`LEVEL`] that brought it; 0: it was always there. It is proposed only
    /// once every node of the cluster understands it.
    pub fn level(&self) -> u32 {
        if self.is_of_public_registry() {
            return public::LEVEL;
        }
        match self {
            Self::DeleteRepository(_) => 2,
            Self::LinkBlob(command) if command.seen.is_some() || command.must_be_known => 9,
            Self::LinkBlob(command) if command.is_replica => QUOTAS_LEVEL,
            Self::LinkBlob(command) if command.is_long() => LONG_INLINE_LEVEL,
            Self::CreateAccount(command) if command.is_first() => 0,
            Self::CreateRepository(command) if command.is_plain() => 0,
            Self::PutRepositorySettings(command) if command.is_plain() => 0,
            Self::PutRepositorySettings(command) if command.has_quotas() => QUOTAS_LEVEL,
            Self::CountHeld(_) => QUOTAS_LEVEL,
            Self::CreateAccount(_)
            | Self::SetAccountState(_)
            | Self::CreateAccessKey(_)
            | Self::SetAccessKeyState(_)
            | Self::DeleteAccessKey(_) => 3,
            Self::UpdateEntity(_) => 8,
            Self::CreateEntity(command) if !command.attached.is_empty() => 8,
            Self::CreateEntity(_)
            | Self::DeleteEntity(_)
            | Self::UpdateRole(_)
            | Self::PutInlinePolicy(_)
            | Self::DeleteInlinePolicy(_)
            | Self::AttachPolicy(_)
            | Self::DetachPolicy(_)
            | Self::SetBoundary(_)
            | Self::TagEntity(_)
            | Self::SetGroupMember(_)
            | Self::CreatePolicy(_)
            | Self::CreatePolicyVersion(_)
            | Self::SetDefaultPolicyVersion(_)
            | Self::DeletePolicyVersion(_)
            | Self::DeletePolicy(_) => 4,
            // Nodes that are older make repositories without it.
            Self::PutRegistryItem(command) if command.kind().is_of_level_9() => 9,
            Self::DeleteRegistryItem(command) if command.kind().is_of_level_9() => 9,
            Self::PutRegistryItem(command) if command.kind() == ItemKind::CreationTemplate => 7,
            Self::PutRule(command) if !command.is_plain() => 9,
            Self::ReplaceRules(command) if !command.is_plain() => 9,
            Self::ReplaceRules(_) => 7,
            Self::EndTask(command) if command.denied || command.destination.contains('/') => 9,
            Self::PutManifest(command) if !command.is_plain() => 9,
            Self::RetryTasks(_)
            | Self::DeleteReplica(_)
            | Self::SettleReplicas(_)
            | Self::StartBackfill(_)
            | Self::StopBackfill(_)
            | Self::StepBackfill(_)
            | Self::PutReplicaSettings(_)
            | Self::EndSettingsTask(_)
            | Self::RecordPulls(_)
            | Self::BeginCollection(_)
            | Self::CollectLinks(_)
            | Self::CollectBlobs(_)
            | Self::CollectFiles(_)
            | Self::ConfirmCollected(_)
            | Self::ForgetCollected(_)
            | Self::RestoreImage(_)
            | Self::ExpireDeleted(_)
            | Self::ForgetTags(_)
            | Self::SetStorageClass(_) => 9,
            Self::TagRepository(command) if command.distinct => 9,
            Self::DeleteManifest(command) if !command.is_plain() => 9,
            Self::DeleteTag(command) if command.author.is_some() => UNDELETE_LEVEL,
            Self::PutRegistrySettings(command) if command.undelete_window_ms.is_some() => {
                UNDELETE_LEVEL
            }
            Self::PutRepositoryText(command) if !command.is_of_first_kinds() => 9,
            Self::PutRegistrySettings(command) if command.quotas.is_some() => QUOTAS_LEVEL,
            Self::CreateRepository(_)
            | Self::PutRepositorySettings(_)
            | Self::TagRepository(_)
            | Self::PutRepositoryText(_)
            | Self::PutRegistryItem(_)
            | Self::DeleteRegistryItem(_) => 5,
            Self::DeleteTag(command) if command.with_manifest => 6,
            _ => 0,
        }
    }

    /// For logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateAccount(_) => "create_account",
            Self::CreateRepository(_) => "create_repository",
            Self::LinkBlob(_) => "link_blob",
            Self::MountBlob(_) => "mount_blob",
            Self::UnlinkBlob(_) => "unlink_blob",
            Self::PutManifest(_) => "put_manifest",
            Self::DeleteManifest(_) => "delete_manifest",
            Self::DeleteTag(_) => "delete_tag",
            Self::PutRule(_) => "put_rule",
            Self::DeleteRule(_) => "delete_rule",
            Self::EndTask(_) => "end_task",
            Self::PutRegistrySettings(_) => "put_registry_settings",
            Self::PutRepositorySettings(_) => "put_repository_settings",
            Self::FormCluster(_) => "form_cluster",
            Self::AddMember(_) => "add_member",
            Self::SetMemberState(_) => "set_member_state",
            Self::UpdateMember(_) => "update_member",
            Self::RemoveMember(_) => "remove_member",
            Self::AddRegion(_) => "add_region",
            Self::RemoveRegion(_) => "remove_region",
            Self::PutAuthority(_) => "put_authority",
            Self::CreateJoinToken(_) => "create_join_token",
            Self::Join(_) => "join",
            Self::RecordCertificate(_) => "record_certificate",
            Self::RevokeCertificates(_) => "revoke_certificates",
            Self::DeleteRepository(_) => "delete_repository",
            Self::SetAccountState(_) => "set_account_state",
            Self::CreateAccessKey(_) => "create_access_key",
            Self::SetAccessKeyState(_) => "set_access_key_state",
            Self::DeleteAccessKey(_) => "delete_access_key",
            Self::CreateEntity(_) => "create_entity",
            Self::DeleteEntity(_) => "delete_entity",
            Self::UpdateRole(_) => "update_role",
            Self::PutInlinePolicy(_) => "put_inline_policy",
            Self::DeleteInlinePolicy(_) => "delete_inline_policy",
            Self::AttachPolicy(_) => "attach_policy",
            Self::DetachPolicy(_) => "detach_policy",
            Self::SetBoundary(_) => "set_boundary",
            Self::TagEntity(_) => "tag_entity",
            Self::SetGroupMember(_) => "set_group_member",
            Self::CreatePolicy(_) => "create_policy",
            Self::CreatePolicyVersion(_) => "create_policy_version",
            Self::SetDefaultPolicyVersion(_) => "set_default_policy_version",
            Self::DeletePolicyVersion(_) => "delete_policy_version",
            Self::DeletePolicy(_) => "delete_policy",
            Self::UpdateEntity(_) => "update_entity",
            Self::TagRepository(_) => "tag_repository",
            Self::PutRepositoryText(_) => "put_repository_text",
            Self::PutRegistryItem(_) => "put_registry_item",
            Self::DeleteRegistryItem(_) => "delete_registry_item",
            Self::ReplaceRules(_) => "replace_rules",
            Self::RetryTasks(_) => "retry_tasks",
            Self::DeleteReplica(_) => "delete_replica",
            Self::SettleReplicas(_) => "settle_replicas",
            Self::StartBackfill(_) => "start_backfill",
            Self::StopBackfill(_) => "stop_backfill",
            Self::StepBackfill(_) => "step_backfill",
            Self::PutReplicaSettings(_) => "put_replica_settings",
            Self::EndSettingsTask(_) => "end_settings_task",
            Self::RecordPulls(_) => "record_pulls",
            Self::BeginCollection(_) => "begin_collection",
            Self::CollectLinks(_) => "collect_links",
            Self::CollectBlobs(_) => "collect_blobs",
            Self::CollectFiles(_) => "collect_files",
            Self::ConfirmCollected(_) => "confirm_collected",
            Self::ForgetCollected(_) => "forget_collected",
            Self::RestoreImage(_) => "restore_image",
            Self::ExpireDeleted(_) => "expire_deleted",
            Self::CountHeld(_) => "count_held",
            Self::SetStorageClass(_) => "set_storage_class",
            Self::ForgetTags(_) => "forget_tags",
        }
    }
}

macro_rules! into_command {
    ($($name:ident),+ $(,)?) => {
        $(impl From<$name> for Command {
            fn from(command: $name) -> Self {
                Self::$name(command)
            }
        })+
    };
}

into_command!(
    CreateAccount,
    CreateRepository,
    LinkBlob,
    MountBlob,
    UnlinkBlob,
    PutManifest,
    DeleteManifest,
    DeleteTag,
    PutRule,
    DeleteRule,
    EndTask,
    PutRegistrySettings,
    PutRepositorySettings,
    FormCluster,
    AddMember,
    SetMemberState,
    UpdateMember,
    RemoveMember,
    AddRegion,
    RemoveRegion,
    PutAuthority,
    CreateJoinToken,
    Join,
    RecordCertificate,
    RevokeCertificates,
    DeleteRepository,
    SetAccountState,
    CreateAccessKey,
    SetAccessKeyState,
    DeleteAccessKey,
    CreateEntity,
    DeleteEntity,
    UpdateRole,
    PutInlinePolicy,
    DeleteInlinePolicy,
    AttachPolicy,
    DetachPolicy,
    SetBoundary,
    TagEntity,
    SetGroupMember,
    CreatePolicy,
    CreatePolicyVersion,
    SetDefaultPolicyVersion,
    DeletePolicyVersion,
    DeletePolicy,
    UpdateEntity,
    TagRepository,
    PutRepositoryText,
    PutRegistryItem,
    DeleteRegistryItem,
    ReplaceRules,
    RetryTasks,
    DeleteReplica,
    SettleReplicas,
    StartBackfill,
    StopBackfill,
    StepBackfill,
    PutReplicaSettings,
    EndSettingsTask,
    RecordPulls,
    BeginCollection,
    CollectLinks,
    CollectBlobs,
    CollectFiles,
    ConfirmCollected,
    ForgetCollected,
    RestoreImage,
    ExpireDeleted,
    CountHeld,
    SetStorageClass,
    ForgetTags,
);

// === impl CreateAccount ===

impl CreateAccount {
    /// Every version can apply it.
    fn is_first(&self) -> bool {
        !self.additional && self.name.is_empty() && self.root_key.is_none()
    }
}

impl CreateRepository {
    /// Every version can apply it.
    fn is_plain(&self) -> bool {
        self.spec.is_none() && !self.must_be_new
    }
}

impl PutManifest {
    /// Every version can apply it.
    fn is_plain(&self) -> bool {
        !self.ordered && self.author.is_none() && self.origin.as_ref().is_none_or(Origin::is_plain)
    }
}

impl DeleteManifest {
    /// Every version can apply it.
    fn is_plain(&self) -> bool {
        self.expected.is_none() && !self.here_only && self.author.is_none()
    }
}

impl PutRule {
    /// Every version can apply it.
    fn is_plain(&self) -> bool {
        self.destinations.is_empty() && self.options.is_none()
    }
}

impl PutRepositorySettings {
    /// Every version can apply it.
    fn is_plain(&self) -> bool {
        self.mutability.is_none() && self.scan_on_push.is_none() && !self.has_quotas()
    }

    fn has_quotas(&self) -> bool {
        self.bytes_max.is_some() || self.images_max.is_some()
    }
}

impl fmt::Debug for CreateAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The hash has no business in a log.
        f.debug_struct("CreateAccount")
            .field("account", &self.account)
            .field("root_user", &self.root_user)
            .field("at_ms", &self.at_ms)
            .field("additional", &self.additional)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
