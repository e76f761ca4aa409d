//! Watches: every change once and in order, from any index that is remembered,
//! at any node, and an end that says where to go on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_metadata::Metadata;
use entrepot_metadata::command::{
    CreateAccessKey, CreateRepository, DeleteEntity, DetachPolicy, NewAccessKey, PutManifest,
    SetAccessKeyState, SetAccountState,
};
use entrepot_metadata::limits::{ENVELOPES_KEPT, TAGS_PER_PUSH_MAX};
use entrepot_metadata::query::{AccessKeyState, EntityKind};
use entrepot_oci::{Digest, RepositoryName, media_type};
use entrepot_service::{
    AccountState, Caller, Change, Registry, ServiceError, TagCondition, Watch, WatchEvent,
};
use tokio::time::timeout;

use crate::authorize::world::{World, first, other};
use crate::cluster::{Cluster, EAST, Node, Plan, app, clock, group, root, tag};
use crate::content::{DEADLINE, sha256};

async fn nodes(count: u64) -> Cluster {
    let cluster = Plan::new(&[(EAST, count)]).start().await;
    let cluster = cluster.with_account().await;
    create(&cluster, &app()).await;
    cluster
}

async fn create(cluster: &Cluster, repository: &RepositoryName) {
    let command = CreateRepository::new(&root().account, repository, 1).into();
    let created = cluster.metadata.propose(&group(EAST), command).await;
    created.unwrap().into_result().unwrap();
}

/// A manifest of nothing, under these tags; the log index of its push.
async fn put(cluster: &Cluster, repository: &RepositoryName, number: u64, tags: &[&str]) -> u64 {
    let content = number.to_string();
    let command = PutManifest {
        account: root().account.to_string(),
        repository: repository.to_string(),
        digest: digest(number).to_string(),
        media_type: media_type::OCI_MANIFEST.to_owned(),
        content: Bytes::from(content),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..PutManifest::default()
    };
    let response = cluster.metadata.propose(&group(EAST), command.into()).await;
    let response = response.unwrap();
    let index = response.index;
    response.into_result().unwrap();
    index
}

fn digest(number: u64) -> Digest {
    sha256(number.to_string().as_bytes())
}

fn pushed(number: u64) -> Change {
    Change::ManifestPut {
        digest: digest(number),
        media_type: media_type::OCI_MANIFEST.parse().unwrap(),
        artifact_type: None,
        subject: None,
    }
}

fn moved(name: &str, number: u64, previous: Option<u64>) -> Change {
    Change::TagMoved {
        tag: name.parse().unwrap(),
        digest: digest(number),
        previous: previous.map(digest),
        source_region: None,
    }
}

async fn watch(node: &Node, after: Option<u64>) -> Result<Watch, ServiceError> {
    let registry: &Arc<Registry> = &node.registry;
    registry
        .watch_repository(&root(), &app(), after, None)
        .await
}

/// A watch whose first message has been heard, and what that says.
async fn opened(node: &Node, after: Option<u64>) -> (Watch, u64) {
    let mut watch = watch(node, after).await.unwrap();
    let first = next(&mut watch).await.unwrap();
    assert!(first.changes.is_empty());
    (watch, first.index)
}

async fn next(watch: &mut Watch) -> Result<WatchEvent, ServiceError> {
    let next = timeout(DEADLINE, watch.next()).await;
    next.expect("in time").expect("not the end")
}

/// What comes next, which has to be a change.
async fn changes(watch: &mut Watch) -> (u64, Vec<Change>) {
    let event = next(watch).await.unwrap();
    assert!(!event.changes.is_empty());
    (event.index, event.changes)
}

#[tokio::test]
async fn every_change_is_told_once_and_in_order_at_any_node() {
    let cluster = nodes(2).await;
    let (mut here, start) = opened(cluster.node(1), None).await;
    let (mut there, _) = opened(cluster.node(2), None).await;
    let first = put(&cluster, &app(), 1, &["v1", "latest"]).await;
    // No change at all, and one of another repository.
    put(&cluster, &app(), 1, &["v1"]).await;
    let other: RepositoryName = "team/other".parse().unwrap();
    create(&cluster, &other).await;
    put(&cluster, &other, 1, &["v1"]).await;
    let second = put(&cluster, &app(), 2, &["latest"]).await;
    for reference in ["v1", &digest(1).to_string()] {
        let registry = &cluster.node(1).registry;
        let deleted = registry
            .delete_manifest(&root(), &app(), &tag(reference), TagCondition::None)
            .await;
        deleted.unwrap();
    }
    let expected = [
        (
            first,
            vec![pushed(1), moved("latest", 1, None), moved("v1", 1, None)],
        ),
        (second, vec![pushed(2), moved("latest", 2, Some(1))]),
        (
            second + 1,
            vec![Change::TagDeleted {
                tag: "v1".parse().unwrap(),
                previous: Some(digest(1)),
            }],
        ),
        (
            second + 2,
            vec![Change::ManifestDeleted { digest: digest(1) }],
        ),
    ];
    assert_eq!(start + 1, first);
    for watch in [&mut here, &mut there] {
        for expected in &expected {
            assert_eq!(changes(watch).await, *expected);
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_from_any_index_that_is_remembered() {
    let cluster = nodes(2).await;
    let mut indexes = Vec::new();
    for number in 0..10 {
        indexes.push(put(&cluster, &app(), number, &[]).await);
    }
    let mut watches = Vec::new();
    for (from, after) in indexes.iter().enumerate() {
        let (mut watch, begins) = opened(cluster.node(2), Some(*after)).await;
        assert_eq!(begins, *after);
        for (number, index) in (0..).zip(&indexes).skip(from + 1) {
            assert_eq!(changes(&mut watch).await, (*index, vec![pushed(number)]));
        }
        watches.push(watch);
    }
    // What comes while they are open follows what they read from the state.
    let index = put(&cluster, &app(), 10, &[]).await;
    for mut watch in watches {
        assert_eq!(changes(&mut watch).await, (index, vec![pushed(10)]));
    }
}

#[tokio::test]
async fn pushes_while_a_watch_opens_are_neither_lost_nor_told_twice() {
    const PUSHES: u64 = 300;
    let cluster = nodes(1).await;
    let start = put(&cluster, &app(), 0, &[]).await;
    let pushes = async {
        for number in 1..=PUSHES {
            put(&cluster, &app(), number, &[]).await;
            tokio::task::yield_now().await;
        }
    };
    let watches = async {
        for _ in 0..50 {
            let (mut watch, _) = opened(cluster.node(1), Some(start)).await;
            for number in 1..=10 {
                assert_eq!(changes(&mut watch).await.1, [pushed(number)]);
            }
        }
        let (mut watch, _) = opened(cluster.node(1), Some(start)).await;
        for number in 1..=PUSHES {
            assert_eq!(changes(&mut watch).await.1, [pushed(number)]);
        }
    };
    tokio::join!(pushes, watches);
}

#[tokio::test]
async fn what_is_forgotten_or_yet_to_come_is_out_of_range() {
    let cluster = nodes(1).await;
    let node = cluster.node(1);
    let index = put(&cluster, &app(), 1, &[]).await;
    let refused = watch(node, Some(index + 1)).await.unwrap_err();
    let expected = ServiceError::WatchOutOfRange {
        after: index + 1,
        oldest: 0,
        newest: index,
    };
    assert_eq!(refused, expected);

    for number in 0..ENVELOPES_KEPT {
        create(&cluster, &format!("team/r{}", number % 7).parse().unwrap()).await;
    }
    let newest = index + ENVELOPES_KEPT;
    let refused = watch(node, Some(index - 1)).await.unwrap_err();
    let expected = ServiceError::WatchOutOfRange {
        after: index - 1,
        oldest: index,
        newest,
    };
    assert_eq!(refused, expected);
    // The oldest that will do, but for what comes until it is read.
    let (mut late, _) = opened(node, Some(index)).await;
    put(&cluster, &app(), 2, &[]).await;
    let refused = next(&mut late).await.unwrap_err();
    assert!(
        matches!(refused, ServiceError::WatchOutOfRange { after, .. } if after == index),
        "{refused:?}"
    );
}

#[tokio::test]
async fn whoever_reads_too_slowly_is_told_where_to_go_on() {
    let cluster = nodes(1).await;
    let node = cluster.node(1);
    let (mut slow, start) = opened(node, None).await;
    let (mut quick, _) = opened(node, None).await;
    let first = put(&cluster, &app(), 0, &[]).await;
    for watch in [&mut slow, &mut quick] {
        assert_eq!(changes(watch).await.0, first);
    }
    let names: Vec<String> = (0..TAGS_PER_PUSH_MAX).map(|it| format!("t{it}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for number in 1..=20 {
        put(&cluster, &app(), number, &names).await;
        assert_eq!(changes(&mut quick).await.1.len(), 1 + names.len());
    }

    let expected = ServiceError::WatchTooSlow {
        resume_after: first,
    };
    assert_eq!(next(&mut slow).await, Err(expected));
    assert!(slow.next().await.is_none());
    assert_eq!(first, start + 1);
    let (mut again, _) = opened(node, Some(first)).await;
    for number in 1..=20 {
        assert_eq!(changes(&mut again).await.1[0], pushed(number));
    }
}

#[tokio::test]
async fn a_quiet_watch_hears_how_far_the_log_has_got_and_ends_in_time() {
    let cluster = nodes(1).await;
    let (mut watch, start) = opened(cluster.node(1), None).await;
    for number in 0..3 {
        create(&cluster, &format!("team/r{number}").parse().unwrap()).await;
    }
    tokio::time::pause();
    let mut heard = Vec::new();
    while let Some(event) = watch.next().await {
        let event = event.unwrap();
        assert!(event.changes.is_empty());
        heard.push(event.index);
    }
    assert!(heard.len() >= 300, "{}", heard.len());
    assert!(heard.iter().all(|index| *index == start + 3), "{heard:?}");
}

#[tokio::test]
async fn watches_end_when_the_node_stops() {
    let cluster = nodes(1).await;
    let node = cluster.node(1);
    let (mut open, _) = opened(node, None).await;
    let waiting = tokio::spawn(async move { open.next().await });
    tokio::task::yield_now().await;
    node.registry.end_watches();
    let ended = timeout(Duration::from_secs(10), waiting).await.unwrap();
    let ended = ended.unwrap().unwrap();
    assert!(matches!(ended, Err(ServiceError::Unavailable { .. })));
    let refused = watch(node, None).await;
    assert!(matches!(refused, Err(ServiceError::Unavailable { .. })));
}

#[tokio::test]
async fn a_watch_is_of_a_repository_that_exists_and_of_the_right_log() {
    let cluster = nodes(1).await;
    let registry = &cluster.node(1).registry;
    let other: RepositoryName = "team/other".parse().unwrap();
    let watch = async |repository: &RepositoryName, log: &str| {
        registry
            .watch_repository(&root(), repository, Some(0), Some(log))
            .await
            .map(drop)
    };
    let log = registry.log();
    assert_eq!(log, group(EAST).to_string());
    assert_eq!(watch(&app(), &log).await, Ok(()));
    assert_eq!(
        watch(&other, &log).await,
        Err(ServiceError::NameUnknown(other))
    );
    assert_eq!(
        watch(&app(), "region/mars-1/0").await,
        Err(ServiceError::WatchOtherLog { log })
    );
}

#[tokio::test]
async fn a_node_takes_so_many_watches_and_more_when_some_have_gone() {
    let cluster = nodes(1).await;
    let node = cluster.node(1);
    let mut open = Vec::new();
    while open.len() < 1_000 {
        open.push(watch(node, None).await.unwrap());
    }
    let refused = watch(node, None).await;
    assert!(matches!(refused, Err(ServiceError::Unavailable { .. })));
    open.truncate(10);
    let (mut one_more, _) = opened(node, None).await;
    put(&cluster, &app(), 1, &[]).await;
    assert_eq!(changes(&mut one_more).await.1, [pushed(1)]);
}

/// Ends a watch, of whoever `who` is; within the time that is promised.
async fn ends(world: &World, who: &Caller, change: impl Future<Output = ()>) -> ServiceError {
    const PROMISED: Duration = Duration::from_secs(5);
    let registry = world.registry();
    let watch = registry.watch_repository(who, &app(), None, None).await;
    let mut watch = watch.unwrap();
    assert!(next(&mut watch).await.is_ok());
    change.await;
    let ended = timeout(PROMISED, watch.next()).await;
    let ended = ended.expect("in time").expect("why it ends");
    let error = ended.unwrap_err();
    assert!(watch.next().await.is_none());
    error
}

#[tokio::test]
async fn a_watch_ends_with_its_callers_token() {
    let world = World::new().await;
    let mut ann = world.admin(&first(), "ann").await;
    ann.proof.expires_ms = Some(clock().now_ms() + 300);
    let ended = ends(&world, &ann, async {}).await;
    assert_eq!(ended, ServiceError::TokenExpired);
}

#[tokio::test]
async fn a_watch_ends_with_its_callers_key_user_and_account() {
    let world = World::new().await;
    let key = NewAccessKey::new("AKIAANN", vec![1; 60]);
    let (ann, bob) = (
        world.admin(&first(), "ann").await.with_key("AKIAANN"),
        world.admin(&first(), "bob").await,
    );
    world
        .global(CreateAccessKey::new(&first(), "ann", key, 1))
        .await;
    let inactive = SetAccessKeyState::new(&first(), "ann", "AKIAANN", AccessKeyState::Inactive);
    let ended = ends(&world, &ann, world.global(inactive)).await;
    assert_eq!(ended, ServiceError::TokenInvalid);

    let gone = async {
        world
            .global(DetachPolicy {
                account: first().to_string(),
                kind: EntityKind::User.into(),
                name: "bob".to_owned(),
                policy_arn: "arn:aws:iam::aws:policy/AdministratorAccess".to_owned(),
            })
            .await;
        world
            .global(DeleteEntity {
                account: first().to_string(),
                kind: EntityKind::User.into(),
                name: "bob".to_owned(),
            })
            .await;
    };
    let ended = ends(&world, &bob, gone).await;
    assert_eq!(ended, ServiceError::TokenInvalid);

    let boss = world.admin(&other(), "boss").await;
    let disabled = SetAccountState::new(&other(), AccountState::Disabled);
    let ended = ends(&world, &boss, world.global(disabled)).await;
    assert_eq!(ended, ServiceError::TokenInvalid);
}
