//! What a command is answered.
//!
//! Owns the wire form: the leader answers a forwarding node with it, and it is
//! stored with the envelope's id for retries. A refusal is an answer like any
//! other: it was decided by every replica alike, and repeating the command
//! under the same id repeats it.

mod undelete;

use prost::Message as _;

pub use self::undelete::{DeletedExpired, ImageRestored};
use crate::records::identity::EntityKind;
use crate::records::members::MemberState;

/// The outcome of a command, and where in the log it was decided.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// Log index at which the command was applied first.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(
        oneof = "Outcome",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 21, 30, 50, 180, 181, 187"
    )]
    pub outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Outcome {
    /// `CreateAccount`, `UnlinkBlob`, `DeleteTag`, `PutRegistrySettings`,
    /// `PutRepositorySettings`, and all of a member or a region but what follows.
    #[prost(message, tag = "2")]
    Done(Done),
    #[prost(message, tag = "3")]
    Refused(Refusal),
    #[prost(message, tag = "4")]
    RepositoryPut(RepositoryPut),
    /// `LinkBlob`, `MountBlob`.
    #[prost(message, tag = "5")]
    BlobLinked(BlobLinked),
    #[prost(message, tag = "6")]
    ManifestPut(ManifestPut),
    #[prost(message, tag = "7")]
    ManifestDeleted(ManifestDeleted),
    /// `PutRule`, `DeleteRule`.
    #[prost(message, tag = "8")]
    RulesChanged(RulesChanged),
    #[prost(message, tag = "9")]
    TaskEnded(TaskEnded),
    #[prost(message, tag = "10")]
    ClusterFormed(ClusterFormed),
    /// `AddMember`, `Join`.
    #[prost(message, tag = "11")]
    MemberAdded(MemberAdded),
    #[prost(message, tag = "20")]
    CertificatesRevoked(CertificatesRevoked),
    #[prost(message, tag = "30")]
    RepositoryDeleted(RepositoryDeleted),
    #[prost(message, tag = "21")]
    PolicyVersionMade(PolicyVersionMade),
    /// `BeginCollection`, `CollectLinks`, `CollectBlobs`, `CollectFiles`.
    #[prost(message, tag = "50")]
    Collected(Collected),
    #[prost(message, tag = "180")]
    ImageRestored(ImageRestored),
    #[prost(message, tag = "181")]
    DeletedExpired(DeletedExpired),
    #[prost(message, tag = "187")]
    StorageClassSet(StorageClassSet),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Done {}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RepositoryPut {
    /// False: it was there already.
    #[prost(bool, tag = "1")]
    pub created: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BlobLinked {
    /// False: the repository had it already.
    #[prost(bool, tag = "1")]
    pub created: bool,
    #[prost(bool, tag = "2")]
    pub repository_created: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ManifestPut {
    /// False: the repository had it already.
    #[prost(bool, tag = "1")]
    pub created: bool,
    #[prost(bool, tag = "2")]
    pub repository_created: bool,
    /// Tags of a replica that stay where a newer push of its source put them.
    #[prost(string, repeated, tag = "3")]
    pub tags_kept: Vec<String>,
    /// Tasks enqueued.
    #[prost(uint32, tag = "4")]
    pub tasks: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ManifestDeleted {
    /// Tags that went with it.
    #[prost(string, repeated, tag = "1")]
    pub tags: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RulesChanged {
    /// `PutRule`: a rule of that id was replaced.
    #[prost(bool, tag = "1")]
    pub replaced: bool,
    /// Open tasks that no rule asks for any more.
    #[prost(uint64, tag = "2")]
    pub tasks_dropped: u64,
    /// Too many tasks are open to look at all of them in one command. The
    /// workers meet the others in time, see `query::destinations`.
    #[prost(bool, tag = "3")]
    pub tasks_left: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TaskEnded {
    /// False: no open task of that key has that sequence (ended already,
    /// dropped, or asked for anew by a later push).
    #[prost(bool, tag = "1")]
    pub ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ClusterFormed {
    /// False: it was formed before.
    #[prost(bool, tag = "1")]
    pub formed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MemberAdded {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(bool, tag = "2")]
    pub region_created: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CertificatesRevoked {
    /// How many were good before.
    #[prost(uint32, tag = "1")]
    pub revoked: u32,
}

/// What one step of a repository's deletion removed.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RepositoryDeleted {
    #[prost(uint64, tag = "1")]
    pub manifests: u64,
    #[prost(uint64, tag = "2")]
    pub tags: u64,
    /// Another step is needed. False: the repository is gone, or was before.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PolicyVersionMade {
    #[prost(uint64, tag = "1")]
    pub version: u64,
}

/// What a command has collected of what it named.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Collected {
    #[prost(uint64, tag = "1")]
    pub links: u64,
    #[prost(uint64, tag = "2")]
    pub blobs: u64,
    /// Of those blobs.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
    /// There is more to look through.
    #[prost(bool, tag = "4")]
    pub more: bool,
}

/// What went into the archive with an image, or came back with it.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StorageClassSet {
    /// Itself and others; 0: it was there.
    #[prost(uint64, tag = "1")]
    pub images: u64,
    /// There were so many that some may have stayed where they were.
    #[prost(bool, tag = "2")]
    pub left: bool,
}

/// The wire form of [`Refused`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refusal {
    #[prost(
        oneof = "Refused",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, \
                24, 40, 41, 42, 43, 44, 45, 46, 60, 61, 70, 71, 72, 73, 74, 75, 76, 77, 90, 91, 92, 93, 110, 120, 121, 122, 123, 124, 140, 180, 181, 182, 183, 184"
    )]
    pub reason: Option<Refused>,
}

/// Why a command changed nothing.
#[derive(Clone, PartialEq, Eq, prost::Oneof, thiserror::Error)]
pub enum Refused {
    /// Not a command, or one that no node of this version can make sense of.
    #[error("invalid command: {0}")]
    #[prost(string, tag = "1")]
    Invalid(String),
    #[error("account {0} exists")]
    #[prost(string, tag = "2")]
    AccountExists(String),
    #[error("repository {0} is unknown")]
    #[prost(string, tag = "3")]
    RepositoryUnknown(String),
    /// Not linked in the repository.
    #[error("blobs unknown to the repository: {0}")]
    #[prost(message, tag = "4")]
    BlobsUnknown(Digests),
    /// Children that the repository does not have.
    #[error("manifests unknown to the repository: {0}")]
    #[prost(message, tag = "5")]
    ManifestsUnknown(Digests),
    /// The digest that was to be deleted.
    #[error("manifest {0} is unknown")]
    #[prost(string, tag = "6")]
    ManifestUnknown(String),
    #[error("tag {0} is unknown")]
    #[prost(string, tag = "7")]
    TagUnknown(String),
    #[error("rule {0} is unknown")]
    #[prost(string, tag = "8")]
    RuleUnknown(String),
    /// The registry has as many rules as it may, which is this number.
    #[error("a registry has at most {0} replication rules")]
    #[prost(uint32, tag = "9")]
    RuleLimit(u32),
    #[error("{0}")]
    #[prost(message, tag = "10")]
    BlobReferenced(Referenced),
    #[error("{0}")]
    #[prost(message, tag = "11")]
    ManifestReferenced(Referenced),
    /// The digest that was to be linked.
    #[error("blob {0} is known with another size or root")]
    #[prost(string, tag = "12")]
    BlobMismatch(String),
    /// The first tag, in order, that a condition did not hold for.
    #[error("{0}")]
    #[prost(message, tag = "13")]
    TagNotAsExpected(TagFound),
    /// Of an entry at this log index. Never seen by who proposes in time.
    #[error("the command came so late, at {0}, that it may have been carried out before")]
    #[prost(uint64, tag = "14")]
    Late(u64),
    #[error("the cluster is not formed yet")]
    #[prost(message, tag = "15")]
    ClusterNotFormed(Done),
    #[error("node {0} is unknown")]
    #[prost(uint64, tag = "16")]
    MemberUnknown(u64),
    #[error("{0}")]
    #[prost(message, tag = "17")]
    AddressInUse(AddressInUse),
    #[error("{0}")]
    #[prost(message, tag = "18")]
    MemberInState(MemberInState),
    /// The node that has the folder, or another one.
    #[error("node {0} has another data folder")]
    #[prost(uint64, tag = "19")]
    FolderDiffers(u64),
    #[error("a cluster has at most {0} nodes")]
    #[prost(uint32, tag = "20")]
    MemberLimit(u32),
    #[error("node {0} is the last one of the cluster")]
    #[prost(uint64, tag = "21")]
    LastMember(u64),
    #[error("region {0} is unknown")]
    #[prost(string, tag = "22")]
    RegionUnknown(String),
    #[error("region {0} has nodes")]
    #[prost(string, tag = "23")]
    RegionInUse(String),
    #[error("a cluster has at most {0} regions")]
    #[prost(uint32, tag = "24")]
    RegionLimit(u32),
    #[error("the cluster has another certificate authority")]
    #[prost(message, tag = "40")]
    AuthorityExists(Done),
    #[error("the join token is not known to this cluster")]
    #[prost(message, tag = "41")]
    TokenUnknown(Done),
    #[error("the join token was used by node {0}")]
    #[prost(uint64, tag = "42")]
    TokenUsed(u64),
    /// When, in ms since 1970.
    #[error("the join token has expired")]
    #[prost(int64, tag = "43")]
    TokenExpired(i64),
    #[error("the join token is for nodes of region {0}")]
    #[prost(string, tag = "44")]
    TokenRegion(String),
    #[error("a cluster remembers at most {0} join tokens")]
    #[prost(uint32, tag = "45")]
    TokenLimit(u32),
    #[error("the certificates of node {0} were revoked")]
    #[prost(uint64, tag = "46")]
    NodeRevoked(u64),
    #[error("repository {0} has images")]
    #[prost(string, tag = "60")]
    RepositoryNotEmpty(String),
    /// It takes nothing any more.
    #[error("repository {0} is being deleted")]
    #[prost(string, tag = "61")]
    RepositoryDeleting(String),
    #[error("account {0} is unknown")]
    #[prost(string, tag = "70")]
    AccountUnknown(String),
    /// It cannot be disabled.
    #[error("account {0} is the cluster's first, which its operators use")]
    #[prost(string, tag = "71")]
    FirstAccount(String),
    #[error("a cluster has at most {0} accounts")]
    #[prost(uint32, tag = "72")]
    AccountLimit(u32),
    #[error("{0} exists")]
    #[prost(message, tag = "73")]
    EntityExists(Entity),
    #[error("{0} is unknown")]
    #[prost(message, tag = "74")]
    NoSuchEntity(Entity),
    #[error("{0}")]
    #[prost(message, tag = "75")]
    EntityLimit(EntityLimit),
    /// Why, as IAM says it.
    #[error("{0}")]
    #[prost(string, tag = "76")]
    DeleteConflict(String),
    /// A service's role.
    #[error("{0} can be changed by its service alone")]
    #[prost(message, tag = "77")]
    Unmodifiable(Entity),
    #[error("repository {0} exists")]
    #[prost(string, tag = "90")]
    RepositoryExists(String),
    /// The first tag, in order, that is elsewhere and may not move.
    #[error("{0}")]
    #[prost(message, tag = "91")]
    TagImmutable(TagFixed),
    #[error("{0} exists")]
    #[prost(message, tag = "92")]
    ItemExists(Item),
    #[error("{0} is unknown")]
    #[prost(message, tag = "93")]
    ItemUnknown(Item),
    #[error("{0}")]
    #[prost(message, tag = "110")]
    QuotaReached(QuotaReached),
    /// Of the registry, or of one of its rules.
    #[error("{0} is no destination of the registry's replication rules")]
    #[prost(string, tag = "120")]
    DestinationUnknown(String),
    /// To that region.
    #[error("a backfill to region {0} is under way")]
    #[prost(string, tag = "121")]
    BackfillRunning(String),
    #[error("a registry has at most {0} backfills under way")]
    #[prost(uint32, tag = "122")]
    BackfillLimit(u32),
    #[error("backfill {0} is unknown")]
    #[prost(string, tag = "123")]
    BackfillUnknown(String),
    #[error("backfill {0} is over")]
    #[prost(string, tag = "124")]
    BackfillOver(String),
    /// The digest that was to be linked: its copies may be gone.
    #[error("blob {0} was collected meanwhile")]
    #[prost(string, tag = "140")]
    CollectedMeanwhile(String),
    /// The digest that was to be restored.
    #[error("image {0} is not deleted")]
    #[prost(string, tag = "180")]
    NotDeleted(String),
    /// It never was, or has gone for good.
    #[error("no deleted image {0} can be restored here")]
    #[prost(string, tag = "181")]
    DeletedUnknown(String),
    #[error("the time in which image {0} could be restored is over")]
    #[prost(string, tag = "182")]
    WindowPassed(String),
    /// Manifests of the index that was to be restored.
    #[error("manifests that it needs have gone for good: {0}")]
    #[prost(message, tag = "183")]
    ChildrenGone(Digests),
    #[error("it needs more than {0} manifests that are deleted: restore those first")]
    #[prost(uint32, tag = "184")]
    RestoreTooLarge(u32),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Digests {
    /// Sorted; at most `limits::DIGESTS_REPORTED_MAX`.
    #[prost(string, repeated, tag = "1")]
    pub digests: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Referenced {
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Digest of one manifest that names it.
    #[prost(string, tag = "2")]
    pub by: String,
}

/// What a tag was found to be.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagFound {
    #[prost(string, tag = "1")]
    pub tag: String,
    /// What it points to; unset: there is no such tag.
    #[prost(string, optional, tag = "2")]
    pub digest: Option<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AddressInUse {
    #[prost(string, tag = "1")]
    pub address: String,
    /// Whose it is.
    #[prost(uint64, tag = "2")]
    pub node: u64,
}

/// A node is not in a state in which it could do what was asked.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MemberInState {
    #[prost(uint64, tag = "1")]
    pub node: u64,
    #[prost(enumeration = "MemberState", tag = "2")]
    pub state: i32,
}

/// One of an account's identities, or what belongs to one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entity {
    #[prost(enumeration = "EntityKind", tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub name: String,
}

/// There may be no more of something.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EntityLimit {
    /// IAM's name of the quota, such as `AccessKeysPerUser`.
    #[prost(string, tag = "1")]
    pub quota: String,
    #[prost(uint32, tag = "2")]
    pub max: u32,
}

/// A registry has as much of something as it may.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QuotaReached {
    #[prost(string, tag = "1")]
    pub account: String,
    /// Empty: the repositories themselves are as many as there may be, or `kind` says
    /// what of the registry is.
    #[prost(string, tag = "2")]
    pub repository: String,
    /// Of the image that would have too many tags; empty: the repository's images
    /// are as many as there may be.
    #[prost(string, tag = "3")]
    pub digest: String,
    #[prost(uint64, tag = "4")]
    pub max: u64,
    #[prost(enumeration = "QuotaKind", tag = "30")]
    pub kind: i32,
    /// How much there is, and how much would come; of `Number`, 0.
    #[prost(uint64, tag = "31")]
    pub held: u64,
    #[prost(uint64, tag = "32")]
    pub more: u64,
}

/// Of what there is as much as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum QuotaKind {
    /// Repositories, images of a repository or tags of an image, as the other members
    /// say.
    Number = 0,
    RepositoryBytes = 1,
    RegistryBytes = 2,
    RegistryImages = 3,
}

/// A tag that may not move, and where it is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TagFixed {
    #[prost(string, tag = "1")]
    pub tag: String,
    #[prost(string, tag = "2")]
    pub repository: String,
    /// What it points to.
    #[prost(string, tag = "3")]
    pub digest: String,
}

/// What a registry or a repository has, or has not.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Item {
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Empty for what there is one of.
    #[prost(string, tag = "2")]
    pub name: String,
}

// === impl Response ===

impl Response {
    pub fn new(index: u64, outcome: Outcome) -> Self {
        Self {
            index,
            outcome: Some(outcome),
        }
    }

    /// # Errors
    /// Why the command was refused.
    pub fn into_result(self) -> Result<Outcome, Refused> {
        match self.outcome {
            Some(Outcome::Refused(refusal)) => Err(refusal.into_reason()),
            Some(outcome) => Ok(outcome),
            // Written by a newer node; whatever it was, it was not refused.
            None => Ok(Outcome::Done(Done {})),
        }
    }

    /// The reason of a refusal.
    pub fn refused(&self) -> Option<&Refused> {
        match &self.outcome {
            Some(Outcome::Refused(refusal)) => refusal.reason.as_ref(),
            _ => None,
        }
    }

    pub fn to_bytes(&self) -> bytes::Bytes {
        bytes::Bytes::from(self.encode_to_vec())
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        Self::decode(bytes)
    }
}

// === impl Refusal ===

impl Refusal {
    pub fn into_reason(self) -> Refused {
        self.reason
            .unwrap_or_else(|| Refused::Invalid("a reason of a newer version".to_owned()))
    }
}

impl From<Refused> for Outcome {
    fn from(reason: Refused) -> Self {
        Self::Refused(Refusal {
            reason: Some(reason),
        })
    }
}

// === impl TagFixed, Item ===

impl std::fmt::Display for TagFixed {
    /// As ECR says it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "The image tag '{}' already exists in the '{}' repository and cannot be overwritten \
             because the repository is immutable.",
            self.tag, self.repository
        )
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        Ok(())
    }
}

// === impl Entity, EntityLimit ===

impl Entity {
    pub fn new(kind: EntityKind, name: &str) -> Self {
        Self {
            kind: kind.into(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = EntityKind::try_from(self.kind).map_or("entity", EntityKind::name);
        write!(f, "{kind} {}", self.name)
    }
}

impl EntityLimit {
    pub fn new(quota: &str, max: usize) -> Self {
        Self {
            quota: quota.to_owned(),
            max: u32::try_from(max).unwrap_or(u32::MAX),
        }
    }
}

impl std::fmt::Display for EntityLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot exceed quota for {}: {}", self.quota, self.max)
    }
}

// === impl QuotaReached ===

impl std::fmt::Display for QuotaReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            account,
            repository,
            digest,
            max,
            held,
            more,
            kind: _,
        } = self;
        f.write_str("The operation did not succeed because it would have exceeded a quota: ")?;
        let registry = format_args!("the registry with id '{account}'");
        match self.kind() {
            QuotaKind::Number => {}
            QuotaKind::RegistryBytes => {
                return write!(
                    f,
                    "{registry} may have at most {max} bytes; it has {held}, and {more} more do \
                     not fit"
                );
            }
            QuotaKind::RepositoryBytes => {
                return write!(
                    f,
                    "the repository with name '{repository}' in {registry} may have at most {max} \
                     bytes; it has {held}, and {more} more do not fit"
                );
            }
            QuotaKind::RegistryImages => {
                return write!(f, "{registry} may have at most {max} images in all");
            }
        }
        if repository.is_empty() {
            let has = "may have at most";
            return write!(
                f,
                "the registry with id '{account}' {has} {max} repositories"
            );
        }
        if digest.is_empty() {
            return write!(
                f,
                "the repository with name '{repository}' in the registry with id '{account}' may \
                 have at most {max} images"
            );
        }
        write!(
            f,
            "the image with digest '{digest}' in the repository with name '{repository}' in the \
             registry with id '{account}' may have at most {max} tags"
        )
    }
}

// === impl AddressInUse, MemberInState ===

impl std::fmt::Display for AddressInUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the address {} is node {}'s", self.address, self.node)
    }
}

impl std::fmt::Display for MemberInState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = MemberState::try_from(self.state).map_or("in an unknown state", |it| it.name());
        write!(f, "node {} is {state}", self.node)
    }
}

// === impl Digests, Referenced, TagFound ===

impl std::fmt::Display for Digests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.digests.join(", "))
    }
}

impl std::fmt::Display for Referenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is referenced by manifest {}", self.digest, self.by)
    }
}

impl std::fmt::Display for TagFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "tag {} points to {digest}", self.tag),
            None => write!(f, "tag {} does not exist", self.tag),
        }
    }
}
