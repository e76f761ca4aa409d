//! What tags pointed to is remembered, and a tag goes back to it, at any node.

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use entrepot_access::Principal;
use entrepot_metadata::limits::GONE_TAG_KEPT_MS;
use entrepot_oci::{Digest, Reference};
use entrepot_proto::environment::Clock;
use entrepot_service::{
    Caller, Cause, Change, Destination, Mutability, MutabilityMode, RepositoryChange, RestoredTag,
    RuleInfo, RuleOptions, ServiceError, TagCondition, TagHistories, TagMove, TagRestoration,
};
use tokio::time::timeout;

use crate::audit_lines::Lines;
use crate::cluster::{Cluster, EAST, Node, Plan, WEST, app, region, root, tag};
use crate::content::{DEADLINE, content, eventually};

const NAME: &str = "v1";

/// A clock that goes when it is told to.
#[derive(Debug)]
struct Set(AtomicI64);

impl Clock for Set {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct World {
    cluster: Cluster,
    clock: Arc<Set>,
}

// === impl World ===

impl World {
    async fn new(regions: &[(&str, u64)]) -> Self {
        let clock = Arc::new(Set(AtomicI64::new(0)));
        let plan = Plan::new(regions).cluster_clock(&clock);
        let cluster = plan.start().await.with_account().await;
        Self { cluster, clock }
    }

    fn at(&self, now_ms: i64) -> &Node {
        self.clock.0.store(now_ms, Ordering::Relaxed);
        self.cluster.node(1)
    }

    async fn push(&self, at_ms: i64, seed: u64) -> Digest {
        let node = self.at(at_ms);
        node.push_image(NAME, from_ref(&content(seed, 100))).await
    }

    async fn delete(&self, at_ms: i64, reference: &Reference) {
        let (who, app, condition) = (root(), app(), TagCondition::None);
        let registry = &self.at(at_ms).registry;
        let deleted = registry.delete_manifest(&who, &app, reference, condition);
        deleted.await.unwrap();
    }
}

fn wanted(at_ms: i64) -> TagRestoration {
    TagRestoration {
        repository: app(),
        tag: NAME.parse().unwrap(),
        at_ms,
        dry_run: false,
    }
}

fn dry(at_ms: i64) -> TagRestoration {
    TagRestoration {
        dry_run: true,
        ..wanted(at_ms)
    }
}

async fn restore(node: &Node, wanted: TagRestoration) -> Result<RestoredTag, ServiceError> {
    node.registry.restore_tag(&root(), &wanted).await
}

/// The newest first, in pages of two.
async fn history(node: &Node) -> Vec<TagMove> {
    let (who, app, tag) = (root(), app(), NAME.parse().unwrap());
    let mut moves: Vec<TagMove> = Vec::new();
    loop {
        let before = moves.last().map(|last| last.number);
        let page = node
            .registry
            .tag_history(&who, &app, &tag, before, Some(2))
            .await
            .unwrap();
        moves.extend(page.moves);
        if !page.more {
            return moves;
        }
    }
}

#[tokio::test]
async fn a_tag_goes_back_to_what_it_was_and_says_who_did() {
    let world = World::new(&[(EAST, 2)]).await;
    let other = world.cluster.node(2);
    let one = world.push(1_000, 1).await;
    let two = world.push(2_000, 2).await;
    world.delete(3_000, &tag(NAME)).await;
    world.at(4_000);
    for (at_ms, text) in [
        (999, "nothing is known"),
        (3_500, "there was no tag"),
        (400_000, "not come yet"),
    ] {
        let refused = restore(other, wanted(at_ms)).await.unwrap_err();
        assert!(refused.to_string().contains(text), "{refused}");
    }
    let back = RestoredTag {
        digest: one,
        previous: None,
        image_restored: false,
    };
    assert_eq!(restore(other, dry(1_500)).await, Ok(back.clone()));
    assert_eq!(other.tagged(NAME).await, None);
    assert_eq!(restore(other, wanted(1_500)).await, Ok(back.clone()));
    assert_eq!(world.cluster.node(1).tagged(NAME).await, Some(one));
    // Whoever heard no answer asks again.
    let again = RestoredTag {
        previous: Some(one),
        ..back
    };
    assert_eq!(restore(other, wanted(1_500)).await, Ok(again));
    let moves = history(world.cluster.node(1)).await;
    let arn = root().principal.arn();
    assert!(moves.iter().all(|it| it.by == arn));
    let moves = moves.into_iter();
    let moves: Vec<_> = moves
        .map(|it| (it.at_ms, it.from, it.to, it.cause))
        .collect();
    let expected = [
        (4_000, None, Some(one), Cause::Restore),
        (3_000, Some(two), None, Cause::Client),
        (2_000, Some(one), Some(two), Cause::Push),
        (1_000, None, Some(one), Cause::Push),
    ];
    assert_eq!(moves, expected);
    world.cluster.check(EAST);
}

#[tokio::test]
async fn an_image_comes_back_for_its_tag_unless_it_has_gone_for_good() {
    let world = World::new(&[(EAST, 1)]).await;
    let one = world.push(1_000, 1).await;
    let two = world.push(2_000, 2).await;
    world.delete(3_000, &Reference::Digest(one)).await;
    let node = world.at(4_000);
    let back = RestoredTag {
        digest: one,
        previous: Some(two),
        image_restored: true,
    };
    assert_eq!(restore(node, dry(1_000)).await, Ok(back.clone()));
    let (who, app) = (root(), app());
    let listed = async || {
        let listed = node.registry.deleted_images(&who, &app, None, None).await;
        listed.unwrap().images.len()
    };
    assert_eq!(listed().await, 1);
    assert_eq!(restore(node, wanted(1_000)).await, Ok(back));
    assert_eq!(listed().await, 0);
    assert_eq!(node.tagged(NAME).await, Some(one));

    world.delete(5_000, &Reference::Digest(two)).await;
    let purged = node.registry.purge_image(&who, &app, &two).await;
    purged.unwrap();
    for wanted in [dry(2_000), wanted(2_000)] {
        let gone = restore(node, wanted).await.unwrap_err();
        assert!(matches!(&gone, ServiceError::NotFound(_)), "{gone}");
        assert!(gone.to_string().contains("gone for good"), "{gone}");
    }
    assert_eq!(node.tagged(NAME).await, Some(one));
    world.cluster.check(EAST);
}

#[tokio::test]
async fn a_tag_that_may_not_move_stays_and_may_come_back() {
    let world = World::new(&[(EAST, 1)]).await;
    let one = world.push(1_000, 1).await;
    let two = world.push(2_000, 2).await;
    let (who, app) = (root(), app());
    let immutable = RepositoryChange {
        mutability: Some(Mutability {
            mode: MutabilityMode::Immutable,
            filters: Vec::new(),
        }),
        ..RepositoryChange::default()
    };
    let node = world.at(3_000);
    let set = node.registry.put_repository_settings(&who, &app, immutable);
    set.await.unwrap();
    world.delete(3_000, &Reference::Digest(one)).await;
    for wanted in [dry(1_000), wanted(1_000)] {
        let fixed = restore(node, wanted).await;
        assert!(matches!(fixed, Err(ServiceError::TagImmutable(_))));
    }
    // Nothing came back for it.
    let listed = node.registry.deleted_images(&who, &app, None, None).await;
    assert_eq!(listed.unwrap().images.len(), 1);
    world.delete(4_000, &tag(NAME)).await;
    world.at(5_000);
    let back = restore(node, wanted(2_000)).await.unwrap();
    assert_eq!((back.digest, back.previous), (two, None));
    assert_eq!(node.tagged(NAME).await, Some(two));
}

#[tokio::test]
async fn whoever_may_not_push_moves_no_tag() {
    let world = World::new(&[(EAST, 1)]).await;
    world.push(1_000, 1).await;
    let node = world.at(2_000);
    let stranger = Caller {
        account: root().account,
        ..Caller::of(Principal::root("210987654321".parse().unwrap()))
    };
    for wanted in [dry(1_000), wanted(1_000)] {
        let denied = node.registry.restore_tag(&stranger, &wanted).await;
        assert!(matches!(denied, Err(ServiceError::Denied(_))));
    }
    let (app, tag) = (app(), NAME.parse().unwrap());
    let denied = node.registry.tag_history(&stranger, &app, &tag, None, None);
    assert!(matches!(denied.await, Err(ServiceError::Denied(_))));
}

#[tokio::test]
async fn a_tag_that_is_set_back_is_copied_like_a_push() {
    let mut world = World::new(&[(EAST, 1), (WEST, 1)]).await;
    world.cluster.replicate(EAST, WEST).await;
    world.cluster.start_outbox();
    let one = world.push(1_000, 1).await;
    let west = world.cluster.node(2);
    let points_to = async |digest| {
        eventually("the tag is there", async || {
            west.tagged(NAME).await == Some(digest)
        })
        .await;
    };
    points_to(one).await;
    let two = world.push(2_000, 2).await;
    points_to(two).await;
    world.at(3_000);
    let node = world.cluster.node(1);
    restore(node, wanted(1_000)).await.unwrap();
    points_to(one).await;
    let moves = history(west).await;
    assert_eq!(moves.len(), 3);
    for it in &moves {
        assert_eq!((&it.by[..], it.cause), (EAST, Cause::Replication));
    }
    world.cluster.check(WEST);
}

#[tokio::test]
async fn a_tag_that_is_set_back_is_in_the_audit_log_though_a_destination_lacks_it() {
    let world = World::new(&[(EAST, 1), (WEST, 1)]).await;
    let one = world.push(1_000, 1).await;
    world.push(2_000, 2).await;
    let node = world.at(3_000);
    let own = Destination::new(&region(WEST), &root().account.account());
    let rule = RuleInfo {
        options: RuleOptions {
            synchronous: true,
            synchronous_timeout_ms: 200,
            ..RuleOptions::default()
        },
        ..RuleInfo::new("both", vec![own])
    };
    node.registry.put_rule(&root(), &rule).await.unwrap();
    let lines = Lines::default();
    let logged = tracing::subscriber::set_default(lines.clone());
    // Nobody works on the tasks.
    let late = restore(node, wanted(1_000)).await;
    let Err(ServiceError::NotReplicated(_)) = late else {
        panic!("{late:?}");
    };
    assert_eq!(node.tagged(NAME).await, Some(one));
    // It is there already: nothing is set back.
    restore(node, wanted(1_000)).await.unwrap();
    drop(logged);
    let lines = lines.all();
    let of_it = lines.iter().filter(|it| it.contains("entrepot:RestoreTag"));
    assert_eq!(of_it.count(), 1, "{lines:?}");
}

#[tokio::test]
async fn whoever_watches_is_told_of_a_tag_that_is_set_back() {
    let world = World::new(&[(EAST, 2)]).await;
    let one = world.push(1_000, 1).await;
    let two = world.push(2_000, 2).await;
    let (who, app, other) = (root(), app(), world.cluster.node(2));
    let watch = other.registry.watch_repository(&who, &app, None, None);
    let mut watch = watch.await.unwrap();
    let mut next = async || {
        let next = timeout(DEADLINE, watch.next()).await;
        next.expect("in time").expect("not the end").unwrap()
    };
    assert!(next().await.changes.is_empty());
    restore(world.at(3_000), wanted(1_000)).await.unwrap();
    let moved = Change::TagMoved {
        tag: NAME.parse().unwrap(),
        digest: one,
        previous: Some(two),
        source_region: None,
    };
    assert_eq!(next().await.changes, [moved]);
}

#[tokio::test]
async fn a_tag_that_is_set_back_brings_its_image_out_of_the_archive() {
    let world = World::new(&[(EAST, 1)]).await;
    let one = world.push(1_000, 1).await;
    world.push(2_000, 2).await;
    let (who, app, node) = (root(), app(), world.at(3_000));
    let archived = Reference::Digest(one);
    let set = node.registry.set_storage_class(&who, &app, &archived, true);
    set.await.unwrap();
    restore(node, wanted(1_000)).await.unwrap();
    assert_eq!(node.tagged(NAME).await, Some(one));
    world.cluster.check(EAST);
}

#[tokio::test]
async fn what_a_deleted_tag_pointed_to_is_forgotten_after_a_time() {
    let world = World::new(&[(EAST, 2)]).await;
    world.push(1_000, 1).await;
    world.delete(2_000, &tag(NAME)).await;
    let round = async || {
        for node in world.cluster.nodes() {
            let histories = TagHistories::new(node.registry.clone());
            histories.round().await.unwrap();
        }
        history(world.cluster.node(1)).await.len()
    };
    world.at(1_999 + GONE_TAG_KEPT_MS);
    assert_eq!(round().await, 2);
    world.at(2_000 + GONE_TAG_KEPT_MS);
    assert_eq!(round().await, 0);
    world.cluster.check(EAST);
}
