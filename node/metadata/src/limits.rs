//! Every bound of the state machine, in one place.
//!
//! A limit decides what is refused, so that changing one changes what replicas
//! compute: all nodes of a group have to agree on it.

/// Log entries for which the ids of applied envelopes are remembered. An entry
/// that comes later than that after its proposer drew the id is refused: whether
/// the id was applied before is not known then.
pub const ENVELOPES_KEPT: u64 = 65_536;

/// Changes to repositories that are remembered of one entry; of a larger one it
/// is noted that there was more.
pub const CHANGES_PER_ENTRY_MAX: usize = 1_000;

/// Bytes of an envelope's id.
pub const ENVELOPE_ID_BYTES: usize = 16;

/// Replication rules of one registry, as in ECR.
pub const RULES_MAX: usize = 10;

/// Destinations of all rules of one registry, as in ECR.
pub const DESTINATIONS_MAX: usize = 25;

/// Referrers that follow one push to its destinations.
pub const FOLLOWERS_MAX: usize = 1_000;

/// Tasks that one entry may enqueue: for each destination those of the push's tags
/// and of what follows it.
pub const TASKS_PER_ENTRY_MAX: usize = DESTINATIONS_MAX * (TAGS_PER_PUSH_MAX + FOLLOWERS_MAX);

/// Open tasks, and denied ones, beyond which it is not told which of them is the
/// oldest.
pub const SETTLED_LOOK_MAX: usize = 10_000;

/// Records of replicas that are gone and that one command removes.
pub const SETTLED_AT_ONCE_MAX: usize = 1_000;

/// Names of one repository at one destination that are remembered with a task.
pub const NAMES_MAX: usize = 16;

/// Tags of an image that are looked at when it is deleted, and manifests of an
/// index.
pub const DELETED_WITH_MAX: usize = 1_000;
/// Backfills of one registry that are under way, as in ECR, and those that are
/// remembered with them.
pub const BACKFILLS_MAX: usize = 10;
pub const BACKFILLS_KEPT_MAX: usize = 1_000;

/// How long a backfill is remembered after its end, as in ECR: 90 days.
pub const BACKFILL_KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1_000;

/// Images and tags that one step of a backfill asks for, those of it that wait for
/// their end at a time, and the things that it reads to find them.
pub const BACKFILL_STEP_TASKS: usize = 200;
pub const BACKFILL_WAITING_MAX: u64 = 2_000;
pub const BACKFILL_LOOK_MAX: usize = 2_000;

/// What one step removes of a backfill that ended long ago.
pub const BACKFILL_FORGOTTEN_MAX: usize = 2_000;

/// Bytes of a backfill's id: a UUID.
pub const BACKFILL_ID_BYTES: usize = 36;

/// Denied tasks of a repository that are looked at at a time, and opened again.
pub const RETRIED_MAX: usize = 1_000;

/// How far up a chain of subjects it is looked whether one of them is copied.
pub const SUBJECTS_MAX: usize = 8;

/// Patterns of one kind in one rule, and the bytes of one.
pub const PATTERNS_MAX: usize = 100;
pub const PATTERN_BYTES_MAX: usize = 256;

/// Time windows of one rule, and its groups of regions near each other.
pub const WINDOWS_MAX: usize = 50;
pub const NEAR_GROUPS_MAX: usize = 20;

/// Minutes of a day.
pub const WINDOW_MINUTES_MAX: u32 = 24 * 60;

/// How long a push waits for the destinations of a synchronous rule, by default
/// and at most.
pub const SYNCHRONOUS_TIMEOUT_MS: u64 = 30_000;
pub const SYNCHRONOUS_TIMEOUT_MS_MAX: u64 = 600_000;

/// The longest time within which copies may have to be there, a week.
pub const OBJECTIVE_WITHIN_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// Name prefixes of one rule, as in ECR.
pub const PREFIXES_MAX: usize = 100;

/// Bytes of one name prefix: a repository name's.
pub const PREFIX_BYTES_MAX: usize = 256;

/// Bytes of a rule's id.
pub const RULE_ID_BYTES_MAX: usize = 128;

/// Tags that one push may set.
pub const TAGS_PER_PUSH_MAX: usize = 100;

/// Blobs and children, together, of one manifest.
pub const REFERENCES_MAX: usize = 8_192;

/// Manifests of one image: an index, and all that it names, through other
/// indexes too, each time that it does. An index alone may name 4,096.
pub const IMAGE_MANIFESTS_MAX: usize = 10_000;

/// Digests that one refusal names; the rest are left out.
pub const DIGESTS_REPORTED_MAX: usize = 100;

/// Bytes of the largest blob that is kept in the metadata: as much as any file
/// takes at least, and what an archive adds to a file of that size. Such a blob
/// is durable with the command that links it, on every node of its region, and
/// needs no file, no sync and no copy of its own.
pub const INLINE_BYTES_MAX: usize = 6 * 1024;

/// The same below [`LONG_INLINE_LEVEL`](crate::command::LONG_INLINE_LEVEL).
pub const INLINE_BYTES_MAX_FIRST: usize = 4 * 1024;

/// Things that one command collects, confirms or forgets, and records that it looks
/// through.
pub const COLLECTED_AT_ONCE_MAX: usize = 1_000;

/// A link that nothing names lives on when it is asked for again so long after it
/// was last: an hour.
pub const RELINKED_AFTER_MS: i64 = 60 * 60 * 1_000;

/// Nodes that one command may name as holders of a blob.
pub const HOLDERS_MAX: usize = 64;

/// Nodes of a cluster that are not removed.
pub const MEMBERS_ACTIVE_MAX: usize = 256;

/// Records of nodes, those of removed ones too.
pub const MEMBERS_MAX: usize = 10_000;

/// Regions of a cluster.
pub const REGIONS_MAX: usize = 64;

/// Bytes of a node's address: a host name of 253, a colon and a port.
pub const ADDRESS_BYTES_MAX: usize = 259;

/// Bytes of the id of a data folder.
pub const FOLDER_ID_BYTES: usize = 16;

/// Bytes of a SHA-256 or BLAKE3 hash: of a join token, of a node's public key.
pub const HASH_BYTES: usize = 32;

/// Bytes of a certificate's serial number.
pub const SERIAL_BYTES: usize = 16;

/// Bytes of the authority's certificate, and of its sealed key.
pub const AUTHORITY_BYTES_MAX: usize = 8 * 1024;

/// Join tokens that are remembered: those that are open, were used, or expired
/// within the last day.
pub const JOIN_TOKENS_MAX: usize = 1_000;

/// Certificates of one node that have not long expired.
pub const CERTIFICATES_PER_NODE_MAX: usize = 1_000;

/// Bytes of why a task failed; longer texts are cut.
pub const REASON_BYTES_MAX: usize = 1_024;

/// Bytes of an account's root user name.
pub const ROOT_USER_BYTES_MAX: usize = 128;

/// Bytes of a password hash (PHC string).
pub const PASSWORD_HASH_BYTES_MAX: usize = 1_024;

/// Accounts of a cluster.
pub const ACCOUNTS_MAX: usize = 10_000;

/// Bytes of an account's name.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 128;

/// Bytes of an access key's id, as in IAM.
pub const ACCESS_KEY_ID_BYTES_MAX: usize = 128;

/// Bytes of an access key's secret when it is sealed.
pub const SEALED_SECRET_BYTES_MAX: usize = 512;

/// Access keys of the root user or of a user, as in IAM.
pub const ACCESS_KEYS_MAX: usize = 2;

/// Users, groups, roles and managed policies of an account, as in IAM.
pub const USERS_MAX: usize = 5_000;
pub const GROUPS_MAX: usize = 300;
pub const ROLES_MAX: usize = 1_000;
pub const POLICIES_MAX: usize = 1_500;

/// Groups of one user, as in IAM.
pub const GROUPS_PER_USER_MAX: usize = 10;

/// Managed policies of one user, group or role, as in IAM.
pub const ATTACHED_MAX: usize = 10;

/// Versions of one managed policy, as in IAM.
pub const POLICY_VERSIONS_MAX: usize = 5;

/// Characters of documents, without white space, as in IAM: of a managed policy,
/// of who may assume a role, and of all inline policies of one user, group or
/// role.
pub const MANAGED_POLICY_CHARS_MAX: usize = 6_144;
pub const TRUST_POLICY_CHARS_MAX: usize = 2_048;
pub const INLINE_USER_CHARS_MAX: usize = 2_048;
pub const INLINE_GROUP_CHARS_MAX: usize = 5_120;
pub const INLINE_ROLE_CHARS_MAX: usize = 10_240;

/// Inline policies of one user, group or role; IAM bounds their size alone.
pub const INLINE_POLICIES_MAX: usize = 100;

/// Bytes of one document, with its white space.
pub const POLICY_DOCUMENT_BYTES_MAX: usize = 32 * 1024;

/// Bytes of a managed policy's ARN, as in IAM.
pub const POLICY_ARN_BYTES_MAX: usize = 2_048;

/// Bytes of the path of a user, group, role or policy, as in IAM.
pub const PATH_BYTES_MAX: usize = 512;

/// Bytes of an id such as `AIDA...`, as in IAM.
pub const IDENTITY_ID_BYTES_MAX: usize = 128;

/// Characters of a role's or policy's description, as in IAM.
pub const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// Tags of a user, role or policy, and the characters of one, as in IAM.
pub const IDENTITY_TAGS_MAX: usize = 50;
pub const TAG_KEY_CHARS_MAX: usize = 128;
pub const TAG_VALUE_CHARS_MAX: usize = 256;

/// Seconds that a session of a role may last at most, as in IAM.
pub const SESSION_S_MIN: u32 = 3_600;
pub const SESSION_S_MAX: u32 = 43_200;

/// Exclusion filters of a repository's tag mutability, and the bytes of one, as
/// in ECR.
pub const MUTABILITY_FILTERS_MAX: usize = 5;
pub const MUTABILITY_FILTER_BYTES_MAX: usize = 128;

/// Resource tags of a repository, as in ECR.
pub const RESOURCE_TAGS_MAX: usize = 50;

/// What a refusal calls them.
pub const RESOURCE_TAGS: &str = "tags of a repository";

/// Bytes of a repository's policy and of its lifecycle policy, as in ECR.
pub const POLICY_TEXT_BYTES_MAX: usize = 10_240;
pub const LIFECYCLE_TEXT_BYTES_MAX: usize = 30_720;

/// Bytes of what an evaluation of a lifecycle policy did.
pub const LIFECYCLE_RUN_BYTES_MAX: usize = 1_024;

/// Bytes of the catalog data of a public repository: what ECR takes, as JSON at its
/// longest.
pub const CATALOG_TEXT_BYTES_MAX: usize = 384 * 1024;

/// Bytes of the name of a repository's key, as in ECR.
pub const KMS_KEY_BYTES_MAX: usize = 2_048;

/// Of one registry: creation templates, pull through cache rules (as in ECR), and
/// principals whose pulls do not count (as in ECR).
pub const CREATION_TEMPLATES_MAX: usize = 1_000;
pub const CACHE_RULES_MAX: usize = 50;

/// Webhooks of one registry.
pub const WEBHOOKS_MAX: usize = 20;

/// Bytes of a webhook's name.
pub const WEBHOOK_NAME_BYTES_MAX: usize = 64;

/// Identity providers of an account (IAM).
pub const IDENTITY_PROVIDERS_MAX: usize = 100;
pub const PULL_TIME_EXCLUSIONS_MAX: usize = 100;

/// Bytes of the name of something that a registry has: an ARN.
pub const ITEM_NAME_BYTES_MAX: usize = 2_048;

/// Bytes of something that a registry has: a template with both policies.
pub const ITEM_BODY_BYTES_MAX: usize = 64 * 1024;

/// Open tasks that one change of the rules looks at for tasks to drop, oldest
/// first: the batch of one entry has to stay of a bearable size.
pub const SWEEP_TASKS_MAX: usize = 50_000;

/// What a registry may have unless it is set otherwise, as in ECR.
pub const REPOSITORIES_MAX: u64 = 100_000;
pub const IMAGES_PER_REPOSITORY_MAX: u64 = 100_000;
pub const TAGS_PER_IMAGE_MAX: u64 = 1_000;
pub const LAYER_PARTS_MAX: u64 = 4_200;
pub const LAYER_BYTES_MAX: u64 = 52_000 * 1024 * 1024;

/// The same of a public registry, as in ECR Public.
pub const PUBLIC_REPOSITORIES_MAX: u64 = 10_000;
pub const PUBLIC_IMAGES_PER_REPOSITORY_MAX: u64 = 10_000;
pub const PUBLIC_LAYER_PARTS_MAX: u64 = 1_000;
pub const PUBLIC_LAYER_BYTES_MAX: u64 = 10_000 * 1024 * 1024;

/// The most that a quota can be set to: far more than one group carries.
pub const QUOTA_MAX: u64 = 1 << 48;

/// The largest quota of an image's tags: they go with it in one command.
pub const QUOTA_TAGS_MAX: u64 = 10_000;

/// The largest quota of a layer's bytes: a TiB.
pub const QUOTA_LAYER_BYTES_MAX: u64 = 1 << 40;

/// The largest quota of the bytes of a repository or a registry: an EiB.
pub const QUOTA_BYTES_MAX: u64 = 1 << 60;

/// What a quota is that nobody has set and that is none by default.
pub const UNBOUNDED: u64 = u64::MAX;

/// Things that were there before anybody counted and that one command counts.
pub const COUNT_STEP: usize = 1_000;

/// Images that one command puts into the archive, or brings back: as many as one
/// image has, and what refers to it.
pub const ARCHIVED_AT_ONCE_MAX: u64 = IMAGE_MANIFESTS_MAX as u64 + ARCHIVE_REFERRERS_MAX as u64;

/// Manifests that are looked at for that, whether they go along or not.
pub const ARCHIVE_LOOKS_MAX: usize = 20_000;

/// Referrers that go into the archive with an image, or come back with it.
pub const ARCHIVE_REFERRERS_MAX: usize = 1_000;

/// Indexes that name a manifest and are looked at, whether they are in the archive;
/// one that more of them name stays out of it.
pub const ARCHIVE_PARENTS_MAX: usize = 100;

/// Tags of an image up to which looking at them is as good as a count.
pub const TAGS_UNCOUNTED_MAX: usize = 16;

/// Pairs that one step of a repository's deletion removes, and those of one more
/// manifest: the batch of one entry has to stay of a bearable size.
pub const DELETION_STEP_PAIRS: usize = 2_000;

/// Manifests that such a step reads at a time: each may name as much as
/// [`REFERENCES_MAX`].
pub const DELETION_MANIFESTS_PAGE: usize = 50;

/// How long deleted images can be restored unless it is set otherwise, and the most
/// that can be set: 7 days and a year.
pub const UNDELETE_WINDOW_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
pub const UNDELETE_WINDOW_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;

/// Tags that are remembered of a deleted image: as many as an image has unless its
/// registry's quota was raised.
pub const DELETED_TAGS_MAX: usize = 1_000;

/// What the deleted images of one repository may take that can be restored; those that
/// were deleted first go for good beyond that. Each takes what its manifest and its tags
/// do, and [`KEPT_IMAGE_BYTES`] for what else is noted with it: a GiB, which is room for
/// all the images that a repository may have by default, if their manifests are of
/// 6 KiB.
pub const KEPT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
pub const KEPT_IMAGE_BYTES: u64 = 4 * 1024;

/// How far beyond [`KEPT_BYTES_MAX`] a repository may be for a while: one deletion lets
/// go what [`DELETION_STEP_PAIRS`] are about, and a large image may bring more than many
/// small ones take. The next ones let go of the rest. Beyond the excess as much goes as
/// comes, however many pairs that are: those of some thousand small images.
pub const KEPT_EXCESS_MAX: u64 = 64 * 1024 * 1024;

/// Images that one command restores: an index and its manifests.
pub const RESTORED_AT_ONCE_MAX: usize = 1_000;

/// Deleted images that one command looks at to let them go; of these it lets go as
/// many as [`DELETION_STEP_PAIRS`] are about.
pub const EXPIRED_AT_ONCE_MAX: usize = 1_000;

/// Moves of one tag that are remembered.
pub const TAG_MOVES_MAX: u64 = 100;

/// How long they are remembered of a tag that was deleted: 90 days.
pub const GONE_TAG_KEPT_MS: i64 = 90 * 24 * 60 * 60 * 1_000;

/// Deleted tags of one repository whose moves are remembered; beyond that, those that
/// went first are forgotten before that time.
pub const GONE_TAGS_MAX: u64 = 10_000;

/// How many pairs of those that are too many go for each tag that a command moves: more
/// than the three that a move may bring, so that they become no more.
pub const GONE_TAG_PAIRS: usize = 4;

/// Deleted tags that one command looks at to forget their moves; of these it forgets as
/// many as [`DELETION_STEP_PAIRS`] are about.
pub const FORGOTTEN_AT_ONCE_MAX: usize = 1_000;

/// Bytes of the name of who asked for a change: an ARN's.
pub const AUTHOR_BYTES_MAX: usize = 2_048;

/// Pulls that one command records.
pub const PULLS_PER_COMMAND_MAX: usize = 500;

/// Pairs read at a time where a whole range is wanted.
pub const SCAN_PAGE: usize = 1_000;
