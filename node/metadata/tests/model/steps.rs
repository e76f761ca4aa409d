//! Histories: what is proposed, in a world of two accounts, two repositories,
//! a few blobs, manifests, tags, regions and rules.

use bytes::Bytes;
use entrepot_metadata::Command;
use entrepot_metadata::command::{
    BeginCollection, Blank, CreateAccount, CreateRepository, DeleteManifest, DeleteReplica,
    DeleteRepository, DeleteRule, DeleteTag, EndTask, LinkBlob, MountBlob, PutManifest,
    PutRegistrySettings, PutRepositorySettings, PutRule, ReplaceRules, RetryTasks, RuleSpec,
    SetStorageClass, TagCondition, TagState, UnlinkBlob,
};
use entrepot_metadata::limits::{ENVELOPES_KEPT, RELINKED_AFTER_MS};
use entrepot_metadata::records::Origin;
use entrepot_metadata::records::rules::{DestinationRecord, RuleOptions};
use entrepot_metadata::records::settings::{MutabilityMode, MutabilityRecord};
use entrepot_oci::{Algorithm, Digest};
use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use crate::{quotas, undelete};

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few at a time")]
pub(crate) enum Step {
    Propose {
        command: Command,
        /// Log entries before this one that were none of the machine's.
        skipped: u64,
    },
    /// Ends one of the tasks there are, whichever that is.
    EndTask {
        which: usize,
        /// As a worker that started on an older one of that key.
        stale: bool,
        command: EndTask,
    },
    /// Deletes a repository, or one of that name that was there before.
    DeleteRepository {
        stale: bool,
        command: DeleteRepository,
    },
    /// Collects what the state takes for unused since then, or for without links.
    Collect {
        cutoff_ms: Option<i64>,
        nodes: Vec<u64>,
    },
    /// Lets deleted images go whose time is over then, or now.
    Expire { cutoff_ms: i64, now: bool },
    /// Forgets deleted tags that went then, or before.
    Forget { cutoff_ms: i64 },
    /// Proposes an earlier envelope again.
    Repeat { back: usize },
}

// === impl Step ===

impl Step {
    pub(crate) fn skipped(&self) -> u64 {
        match self {
            Self::Propose { skipped, .. } => *skipped,
            Self::EndTask { .. }
            | Self::DeleteRepository { .. }
            | Self::Collect { .. }
            | Self::Expire { .. }
            | Self::Forget { .. }
            | Self::Repeat { .. } => 0,
        }
    }
}

pub(crate) fn history(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    // A prelude without which most commands would be refused.
    let prelude = [
        create_repository("aa"),
        link("aa", 1),
        link("aa", 2),
        link("ab/c", 1),
    ];
    vec(step(), 0..steps).prop_map(move |steps| {
        let prelude = prelude.iter().map(|command| Step::Propose {
            command: command.clone(),
            skipped: 0,
        });
        prelude.chain(steps).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    // A whole turn of the ring makes an envelope meet another in its slot.
    let skipped = prop_oneof![
        30 => Just(0),
        5 => 1_u64..4,
        1 => Just(ENVELOPES_KEPT - 1),
        1 => 0..ENVELOPES_KEPT,
    ];
    let end = (
        0_usize..8,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        at(),
    )
        .prop_map(|(which, stale, failed, denied, at_ms)| Step::EndTask {
            which,
            stale,
            command: EndTask {
                failed_reason: failed.then(|| "denied".to_owned()),
                at_ms,
                denied,
                ..EndTask::default()
            },
        });
    let delete = (account(), repository(), any::<bool>(), any::<bool>()).prop_map(
        |(account, repository, force, stale)| Step::DeleteRepository {
            stale,
            command: DeleteRepository {
                account,
                repository,
                force,
                ..DeleteRepository::default()
            },
        },
    );
    prop_oneof![
        20 => (command(), skipped).prop_map(|(command, skipped)| Step::Propose { command, skipped }),
        3 => end,
        1 => delete,
        3 => (proptest::option::of(prop_oneof![linked_at(), Just(i64::MAX)]), vec(0_u64..5, 0..3))
            .prop_map(|(cutoff_ms, nodes)| Step::Collect { cutoff_ms, nodes }),
        1 => (undelete::at(), proptest::bool::weighted(0.2))
            .prop_map(|(cutoff_ms, now)| Step::Expire { cutoff_ms, now }),
        1 => undelete::at().prop_map(|cutoff_ms| Step::Forget { cutoff_ms }),
        2 => (0_usize..20).prop_map(|back| Step::Repeat { back }),
    ]
}

fn command() -> BoxedStrategy<Command> {
    prop_oneof![
        1 => (account(), at()).prop_map(|(account, at_ms)| {
            CreateAccount {
                account,
                root_user: "root".to_owned(),
                password_hash: "$".to_owned(),
                at_ms,
                ..CreateAccount::default()
            }
            .into()
        }),
        1 => (account(), any::<Option<bool>>(), quotas::change(), undelete::window()).prop_map(
            |(account, create_on_push, quotas, undelete_window_ms)| {
                PutRegistrySettings {
                    account,
                    create_on_push,
                    quotas,
                    is_granted: false,
                    undelete_window_ms,
                }
                .into()
            }
        ),
        1 => (account(), repository(), at()).prop_map(|(account, repository, at_ms)| {
            CreateRepository { account, repository, at_ms, ..CreateRepository::default() }.into()
        }),
        2 => (account(), repository(), any::<Option<bool>>(), mutability()).prop_map(
            |(account, repository, sparse_indexes, mutability)| {
                PutRepositorySettings {
                    account,
                    repository,
                    sparse_indexes,
                    mutability,
                    ..PutRepositorySettings::default()
                }
                .into()
            }
        ),
        4 => blob_command(),
        1 => Just(BeginCollection {}.into()),
        10 => push().prop_map(Into::into),
        4 => (account(), repository(), manifest(), undelete::author()).prop_map(
            |(account, repository, digest, author)| {
                DeleteManifest {
                    account,
                    repository,
                    digest,
                    at_ms: 1,
                    expected: None,
                    here_only: false,
                    author,
                }
                .into()
            }
        ),
        2 => (account(), repository(), tag(), condition(), any::<bool>(), undelete::author())
            .prop_map(|(account, repository, tag, condition, with_manifest, author)| {
                DeleteTag { account, repository, tag, condition, with_manifest, at_ms: 1, author }
                    .into()
            }),
        3 => undelete::restore(account(), repository(), manifest()),
        5 => (account(), repository(), manifest(), proptest::bool::weighted(0.7), at()).prop_map(
            |(account, repository, digest, archive, at_ms)| {
                SetStorageClass { account, repository, digest, archive, at_ms, expected: None }
                    .into()
            }
        ),
        3 => rule_command(),
        3 => (
            (account(), repository(), manifest()),
            proptest::option::of(tag()),
            origin(),
            undelete::author(),
        )
            .prop_map(|((account, repository, digest), tag, origin, author)| {
                DeleteReplica {
                    account,
                    repository,
                    digest,
                    tag: tag.unwrap_or_default(),
                    origin: Some(origin),
                    at_ms: 1,
                    author,
                }
                .into()
            }),
        1 => (account(), repository(), destination(), any::<bool>()).prop_map(
            |(account, repository, to, deletions)| {
            let destination = if to.account == account {
                to.region
            } else {
                format!("{}/{}", to.region, to.account)
            };
            RetryTasks { account, repository, destination, deletions, after: None }.into()
        }),
    ]
    .boxed()
}

fn blob_command() -> BoxedStrategy<Command> {
    let link = (
        account(),
        repository(),
        0_u8..4,
        0_u64..20,
        vec(0_u64..5, 1..4),
        any::<bool>(),
        (0_u8..3, seen(), linked_at(), proptest::bool::weighted(0.1)),
    );
    prop_oneof![
        3 => link.prop_map(|(account, repository, number, odd, mut holders, create_repository, how)| {
            let (place, seen, at_ms, must_be_known) = how;
            let size = if odd == 0 { 7 } else { 100 };
            // In files, in the metadata, or first in the one and then the other.
            let content = (place > 0).then(|| Bytes::from(vec![number; size]));
            if place == 1 {
                holders.clear();
            }
            LinkBlob {
                account,
                repository,
                digest: digest(number),
                // Rarely another size than the one that is known.
                size: size as u64,
                root: Bytes::from(vec![number; 32]),
                holders,
                at_ms,
                create_repository,
                content,
                seen,
                must_be_known,
                ..LinkBlob::default()
            }
            .into()
        }),
        2 => (account(), repository(), repository(), blob(), any::<bool>()).prop_map(
            |(account, from, repository, digest, create_repository)| {
                MountBlob { account, from, repository, digest, at_ms: 2, create_repository }.into()
            }
        ),
        1 => (account(), repository(), blob()).prop_map(|(account, repository, digest)| {
            UnlinkBlob { account, repository, digest }.into()
        }),
    ]
    .boxed()
}

fn push() -> impl Strategy<Value = PutManifest> {
    let names = (account(), repository(), manifest(), vec(tag(), 0..3));
    let subject = proptest::option::weighted(0.3, manifest());
    let references = (vec(1_u8..4, 0..3), vec(manifest(), 0..2), subject);
    let origin = (origin(), vec(manifest(), 0..2), any::<bool>());
    let origin = proptest::option::weighted(0.3, origin);
    let how = (
        origin,
        condition(),
        at(),
        (any::<bool>(), undelete::author()),
    );
    (names, references, how).prop_map(|((account, repository, digest, tags), references, how)| {
        let (blobs, children, subject) = references;
        let (origin, condition, at_ms, (create_repository, author)) = how;
        let (origin, absent, ordered) = match origin {
            Some((origin, absent, ordered)) => (Some(origin), absent, ordered),
            None => (None, Vec::new(), false),
        };
        PutManifest {
            account,
            repository,
            digest,
            media_type: entrepot_oci::media_type::OCI_MANIFEST.to_owned(),
            content: Bytes::from(at_ms.to_string()),
            artifact_type: None,
            subject,
            blobs: blobs.into_iter().map(crate::steps::digest).collect(),
            children,
            size: 9,
            tags,
            at_ms,
            create_repository,
            origin,
            condition,
            absent,
            ordered,
            author,
        }
    })
}

/// What copies were looked at: mostly with all that is known by now.
fn seen() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![5 => Just(Some(u64::MAX)), 1 => Just(Some(20)), 1 => Just(None)]
}

/// Some ask for a link so late that it is as good as new.
fn linked_at() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1_i64..4, 1 => Just(2 * RELINKED_AFTER_MS)]
}

/// Mostly nothing is said; of two modes, some tags are excluded.
fn mutability() -> impl Strategy<Value = Option<MutabilityRecord>> {
    let modes = vec![
        (MutabilityMode::Mutable, ""),
        (MutabilityMode::Immutable, ""),
        (MutabilityMode::ImmutableWithExclusion, "v*"),
        (MutabilityMode::MutableWithExclusion, "v1*"),
    ];
    let record = select(modes).prop_map(|(mode, filter)| MutabilityRecord {
        mode: mode.into(),
        filters: Some(filter.to_owned())
            .filter(|filter| !filter.is_empty())
            .into_iter()
            .collect(),
    });
    proptest::option::weighted(0.5, record)
}

/// Mostly none; else often one that the few tags there are happen to meet.
fn condition() -> impl Strategy<Value = Option<TagCondition>> {
    let expected = prop_oneof![
        4 => manifest().prop_map(|digest| Some(TagState::Is(digest))),
        2 => Just(Some(TagState::Present(Blank {}))),
        2 => Just(Some(TagState::Absent(Blank {}))),
        // As a newer version may send it.
        1 => Just(None),
    ];
    proptest::option::weighted(0.3, expected.prop_map(|expected| TagCondition { expected }))
}

fn rule_command() -> BoxedStrategy<Command> {
    let id = || select(vec!["x", "y", "z"]).prop_map(str::to_owned);
    let prefix = || select(vec!["a", "aa", "ab/", "aaa"]).prop_map(str::to_owned);
    // In the one way that every version understands, or in the other.
    let to = || {
        prop_oneof![
            2 => region().prop_map(|region| (region, Vec::new())),
            1 => vec(destination(), 1..4).prop_map(|many| (String::new(), many)),
        ]
    };
    let spec = || {
        (
            id(),
            vec(prefix(), 0..3),
            to(),
            proptest::option::of(options()),
        )
            .prop_map(
                |(id, prefixes, (destination_region, destinations), options)| RuleSpec {
                    id,
                    prefixes,
                    destination_region,
                    destinations,
                    options,
                },
            )
    };
    prop_oneof![
        3 => (account(), spec(), at()).prop_map(|(account, spec, at_ms)| {
            PutRule::of(&account.parse().unwrap(), spec, at_ms).into()
        }),
        1 => (account(), id()).prop_map(|(account, id)| DeleteRule { account, id }.into()),
        1 => (account(), vec(spec(), 0..3), at()).prop_map(|(account, mut rules, at_ms)| {
            rules.sort_by(|a, b| a.id.cmp(&b.id));
            rules.dedup_by(|a, b| a.id == b.id);
            let document = Bytes::from_static(b"{}");
            ReplaceRules { account, rules, document, at_ms }.into()
        }),
    ]
    .boxed()
}

// === names ===

pub(crate) const ACCOUNTS: [&str; 2] = ["111111111111", "222222222222"];

fn account() -> impl Strategy<Value = String> {
    prop_oneof![9 => Just(ACCOUNTS[0]), 1 => Just(ACCOUNTS[1])].prop_map(str::to_owned)
}

fn repository() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("aa"), 1 => Just("ab/c")].prop_map(str::to_owned)
}

fn tag() -> impl Strategy<Value = String> {
    select(vec!["v1", "v1.0", "w"]).prop_map(str::to_owned)
}

fn region() -> impl Strategy<Value = String> {
    select(vec!["r1", "r2"]).prop_map(str::to_owned)
}

/// Of a repository of either account, named or not where it need not be.
fn origin() -> impl Strategy<Value = Origin> {
    let account = select(vec!["", ACCOUNTS[0], ACCOUNTS[1]]);
    let repository = select(vec!["", "aa", "ab/c"]);
    (region(), account, repository, 1_u64..6).prop_map(|(region, account, repository, sequence)| {
        Origin {
            region,
            sequence,
            account: account.to_owned(),
            repository: repository.to_owned(),
        }
    })
}

fn destination() -> impl Strategy<Value = DestinationRecord> {
    (region(), select(ACCOUNTS.to_vec())).prop_map(|(region, account)| DestinationRecord {
        region,
        account: account.to_owned(),
    })
}

fn options() -> impl Strategy<Value = RuleOptions> {
    let wildcard = || vec(select(vec!["a*", "*c", "aa"]).prop_map(str::to_owned), 0..2);
    let tags = || vec(select(vec!["v*", "*0", "w"]).prop_map(str::to_owned), 0..2);
    let images = (tags(), tags(), any::<bool>());
    (wildcard(), wildcard(), 0_u32..2, images).prop_map(
        |(repositories, repositories_excluded, priority, images)| {
            let (tags, tags_excluded, deletions) = images;
            RuleOptions {
                repositories,
                repositories_excluded,
                tags,
                tags_excluded,
                deletions,
                priority,
                ..RuleOptions::default()
            }
        },
    )
}

fn blob() -> impl Strategy<Value = String> {
    (0_u8..4).prop_map(digest)
}

fn manifest() -> impl Strategy<Value = String> {
    (10_u8..14).prop_map(digest)
}

fn at() -> impl Strategy<Value = i64> {
    0_i64..1_000
}

pub(crate) fn digest(number: u8) -> String {
    // Both algorithms, which have keys of different lengths.
    let algorithm = if number.is_multiple_of(3) {
        Algorithm::Sha512
    } else {
        Algorithm::Sha256
    };
    Digest::of(algorithm, &[number]).to_string()
}

// === the prelude ===

fn create_repository(repository: &str) -> Command {
    CreateRepository {
        account: ACCOUNTS[0].to_owned(),
        repository: repository.to_owned(),
        at_ms: 0,
        ..CreateRepository::default()
    }
    .into()
}

fn link(repository: &str, number: u8) -> Command {
    LinkBlob {
        account: ACCOUNTS[0].to_owned(),
        repository: repository.to_owned(),
        digest: digest(number),
        size: 100,
        root: Bytes::from(vec![number; 32]),
        holders: vec![1],
        at_ms: 1,
        create_repository: true,
        ..LinkBlob::default()
    }
    .into()
}
