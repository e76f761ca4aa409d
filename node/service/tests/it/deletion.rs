//! Repositories are deleted: by one request or many, and by whoever goes on.

use entrepot_metadata::command::{DeleteRepository, PutManifest};
use entrepot_metadata::query;
use entrepot_metadata::response::Outcome;
use entrepot_oci::{Digest, Manifest};
use entrepot_service::{QuotasChange, RegistryChange, RepositoryDeletion, ServiceError};

use crate::cluster::{Cluster, EAST, Node, Plan, WEST, app, group, root, tag};
use crate::content::{content, eventually};

async fn delete(
    node: &Node,
    force: bool,
    goes_on: bool,
) -> Result<RepositoryDeletion, ServiceError> {
    let (who, app) = (root(), app());
    let deleted = node.registry.delete_repository(&who, &app, force, goes_on);
    deleted.await
}

/// Pushes an image to a region, of more tags than one step of a deletion removes.
async fn push_tags(node: &Node, region: &str) -> Digest {
    let change = RegistryChange {
        quotas: Some(QuotasChange {
            tags: Some(5_000),
            ..QuotasChange::default()
        }),
        ..RegistryChange::default()
    };
    let changed = node.registry.put_registry_settings(&root(), change).await;
    changed.unwrap();
    let digest = node.push_image("v1", &[content(1, 10_000)]).await;
    let (who, app, v1) = (root(), app(), tag("v1"));
    let found = node.registry.get_manifest(&who, &app, &v1).await;
    let content = found.unwrap().content;
    let parsed = Manifest::parse(&content, None).unwrap();
    for hundred in 0..11 {
        let tags = (0..100).map(|number| format!("t{hundred}-{number}"));
        let command = PutManifest {
            tags: tags.collect(),
            ..PutManifest::new(&who.account, &app, &digest, &parsed, content.clone(), 1)
        };
        let put = node.metadata.propose(&group(region), command.into()).await;
        put.unwrap().into_result().unwrap();
    }
    digest
}

/// Two nodes of one region with such an image.
async fn with_tags() -> (Cluster, Digest) {
    let cluster = Plan::new(&[(EAST, 2)]).start().await.with_account().await;
    let digest = push_tags(cluster.node(1), EAST).await;
    (cluster, digest)
}

/// As a node leaves it that stops after the first step.
async fn begin(node: &Node) {
    let view = node.metadata.view(&group(EAST)).unwrap();
    let (account, name) = (root().account, app());
    let found = query::repository(view.as_ref(), &account, &name).unwrap();
    let command = DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account, &name, found.unwrap().index)
    };
    let step = node.metadata.propose(&group(EAST), command.into()).await;
    let outcome = step.unwrap().into_result().unwrap();
    assert!(matches!(outcome, Outcome::RepositoryDeleted(step) if step.more));
}

#[tokio::test]
async fn one_with_images_takes_force_and_can_be_made_anew() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await.with_account().await;
    let node = cluster.node(1);
    let digest = node.push_image("v1", &[content(1, 10_000)]).await;
    let refused = delete(cluster.node(2), false, false).await;
    assert_eq!(refused, Err(ServiceError::RepositoryNotEmpty(app())));
    assert_eq!(node.tagged("v1").await, Some(digest));

    let expected = RepositoryDeletion {
        manifests: 1,
        tags: 1,
        more: false,
    };
    assert_eq!(delete(cluster.node(2), true, false).await, Ok(expected));
    let unknown = Err(ServiceError::NameUnknown(app()));
    assert_eq!(delete(node, true, false).await, unknown);
    let info = node.registry.repository_info(&root(), &app()).await;
    assert_eq!(info.map(drop), Err(ServiceError::NameUnknown(app())));
    assert_eq!(node.tagged("v1").await, None);
    cluster.check(EAST);

    // The bytes are still there, and are sent again all the same.
    assert_eq!(node.push_image("v1", &[content(1, 10_000)]).await, digest);
    assert_eq!(cluster.node(2).tagged("v1").await, Some(digest));
    cluster.check(EAST);
}

#[tokio::test]
async fn an_empty_one_goes_without_force() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await.with_account().await;
    let node = cluster.node(1);
    // A blob that no image names is no image.
    node.push(&content(1, 10_000)).await;
    assert_eq!(
        delete(node, false, false).await,
        Ok(RepositoryDeletion::default())
    );
    cluster.check(EAST);
}

#[tokio::test]
async fn a_large_one_takes_several_steps_of_one_request() {
    let (cluster, digest) = with_tags().await;
    let deleted = delete(cluster.node(2), true, false).await.unwrap();
    assert_eq!(
        (deleted.manifests, deleted.tags, deleted.more),
        (1, 1_101, false)
    );
    assert_eq!(cluster.node(1).known(&digest), None);
    cluster.check(EAST);
}

#[tokio::test]
async fn an_interrupted_deletion_takes_no_push_and_is_finished_by_whoever_asks() {
    let (cluster, _) = with_tags().await;
    let (node, other) = (cluster.node(1), cluster.node(2));
    begin(node).await;
    cluster.check(EAST);
    let info = other.registry.repository_info(&root(), &app()).await;
    assert!(info.unwrap().deleting);
    let deleting = ServiceError::RepositoryDeleting(app());
    let opened = other.registry.open_upload(&root(), &app(), None).await;
    assert_eq!(opened.map(drop), Err(deleting.clone()));
    let created = other.registry.create_repository(&root(), &app()).await;
    assert_eq!(created, Err(deleting));
    // It was forced once: nobody has to say so again.
    let deleted = delete(other, false, false).await.unwrap();
    assert_eq!((deleted.manifests, deleted.more), (1, false));
    let opened = node.registry.open_upload(&root(), &app(), None).await;
    assert!(opened.is_ok(), "{opened:?}");
    cluster.check(EAST);
}

#[tokio::test]
async fn who_goes_on_leaves_alone_what_was_made_since() {
    let (cluster, _) = with_tags().await;
    let node = cluster.node(1);
    begin(node).await;
    assert!(!delete(cluster.node(2), true, true).await.unwrap().more);
    let digest = node.push_image("v1", &[content(2, 100)]).await;
    assert_eq!(
        delete(node, true, true).await,
        Ok(RepositoryDeletion::default())
    );
    assert_eq!(node.tagged("v1").await, Some(digest));
}

#[tokio::test]
async fn a_replica_waits_until_the_repository_is_gone() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)])
        .start()
        .await
        .with_account()
        .await;
    cluster.start_health();
    cluster.start_outbox();
    cluster.replicate(WEST, EAST).await;
    let (east, west) = (cluster.first_of(EAST), cluster.first_of(WEST));
    push_tags(east, EAST).await;
    begin(east).await;
    let digest = west.push_image("copied", &[content(3, 10_000)]).await;
    eventually("the task is tried", async || {
        !cluster.tasks(WEST).await.is_empty()
    })
    .await;
    assert!(!delete(east, false, false).await.unwrap().more);
    eventually("the image arrives", async || {
        east.tagged("copied").await == Some(digest)
    })
    .await;
    cluster.check(EAST);
}
