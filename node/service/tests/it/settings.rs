//! The settings of registries and repositories, and what they mean to a push.

use std::slice::from_ref;

use entrepot_oci::RepositoryName;
use entrepot_service::{
    Caller, ManifestPush, Principal, RegistryChange, RepositoryChange, ServiceError,
};

use crate::cluster::{Cluster, EAST, Node, Plan, WEST, app, region, root, tag};
use crate::content::{body, chunk, content, image, index, is_unavailable, sha256, variant};
use crate::lag::Behind;

/// Whether pushes make repositories, from now on.
async fn set_creation(node: &Node, on: bool) {
    let change = RegistryChange {
        create_on_push: Some(on),
        ..RegistryChange::default()
    };
    let changed = node.registry.put_registry_settings(&root(), change).await;
    assert_eq!(changed.unwrap().settings.create_on_push, on);
}

async fn creation(node: &Node, who: &Caller) -> bool {
    let info = node.registry.registry_info(who).await.unwrap();
    info.settings.create_on_push
}

async fn one_node() -> Cluster {
    Plan::new(&[(EAST, 1)]).start().await
}

fn other() -> RepositoryName {
    "team/other".parse().unwrap()
}

#[tokio::test]
async fn settings_are_those_of_one_registry_in_one_region() {
    let cluster = Plan::new(&[(EAST, 2), (WEST, 1)]).start().await;
    let stranger = Caller::of(Principal::root("210987654321".parse().unwrap()));
    let info = cluster.node(3).registry.registry_info(&root()).await;
    let info = info.unwrap();
    assert_eq!(
        (info.account, info.region),
        (root().principal.account, region(WEST))
    );
    for node in cluster.nodes() {
        assert!(creation(node, &root()).await);
    }
    set_creation(cluster.node(1), false).await;
    assert!(!creation(cluster.node(2), &root()).await);
    assert!(creation(cluster.node(3), &root()).await);
    assert!(creation(cluster.node(1), &stranger).await);
    // Nothing is given: nothing changes.
    let change = RegistryChange::default();
    let registry = &cluster.node(2).registry;
    let changed = registry.put_registry_settings(&root(), change).await;
    assert!(!changed.unwrap().settings.create_on_push);
    set_creation(cluster.node(2), true).await;
    assert!(creation(cluster.node(1), &root()).await);
}

#[tokio::test]
async fn with_creation_switched_off_a_push_needs_its_repository() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let config = content(1, 100);
    let digest = node.push(&config).await;
    set_creation(node, false).await;
    let registry = &node.registry;
    let (who, other) = (root(), other());
    let refused = ServiceError::CreationOff(other.clone());

    let opened = registry.open_upload(&who, &other, None).await;
    assert_eq!(opened, Err(refused.clone()));
    let pushed = registry
        .push_blob(&who, &other, digest, None, body(&config))
        .await;
    assert_eq!(pushed, Err(refused.clone()));
    let mounted = registry
        .mount_blob(&who, &other, Some(&app()), &digest)
        .await;
    assert_eq!(mounted, Err(refused.clone()));
    let manifest = image(&[(digest, 100)]);
    let put = registry
        .put_manifest(
            &who,
            &other,
            ManifestPush::new(&tag("v1"), manifest.clone()),
        )
        .await;
    assert_eq!(put, Err(refused.clone()));
    // What to do about it is said.
    let said = refused.to_string();
    assert!(
        said.contains("`entrepot repository create team/other`"),
        "{said}"
    );
    // A pull has nothing to do with it.
    let stat = registry.stat_blob(&who, &other, &digest).await;
    assert_eq!(stat, Err(ServiceError::NameUnknown(other)));
    // The one that exists goes on.
    node.push(&content(2, 100)).await;
    node.put_manifest("v1", &manifest).await;
}

#[tokio::test]
async fn a_session_outlives_no_repository_that_may_not_be_made() {
    let cluster = one_node().await;
    let registry = &cluster.node(1).registry;
    let opened = registry.open_upload(&root(), &other(), None).await.unwrap();
    set_creation(cluster.node(1), false).await;
    let config = content(1, 100);
    let finished = registry
        .finish_upload(
            &root(),
            &other(),
            &opened.session,
            chunk(None, None, body(&config)),
            sha256(&config),
        )
        .await;
    assert_eq!(finished, Err(ServiceError::CreationOff(other())));
    assert_eq!(cluster.node(1).known(&sha256(&config)), None);
}

#[tokio::test]
async fn a_repository_that_was_made_by_hand_takes_pushes() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    set_creation(node, false).await;
    let create = async || node.registry.create_repository(&root(), &app()).await;
    assert_eq!(create().await, Ok(true));
    let listed = node.registry.list_images(&root(), &app(), None, None).await;
    assert!(listed.unwrap().images.is_empty());
    let digest = node.push_image("v1", &[content(1, 100)]).await;
    // The same again is fine, and empties nothing.
    assert_eq!(create().await, Ok(false));
    assert_eq!(node.tagged("v1").await, Some(digest));
}

#[tokio::test]
async fn a_setting_counts_at_once_on_a_node_that_lags_behind() {
    let behind = Behind::new().await;
    let there = behind.cluster.node(1);
    let here = behind.cluster.node(2);
    let open = async || {
        let opened = here.registry.open_upload(&root(), &app(), None).await;
        opened.map(drop)
    };
    assert_eq!(open().await, Ok(()));
    set_creation(there, false).await;
    assert_eq!(open().await, Err(ServiceError::CreationOff(app())));
    set_creation(there, true).await;
    assert_eq!(open().await, Ok(()));
    set_creation(there, false).await;
    let created = there.registry.create_repository(&root(), &app()).await;
    assert_eq!(created, Ok(true));
    assert_eq!(open().await, Ok(()));
}

#[tokio::test]
async fn without_a_quorum_nothing_is_said_about_a_repository_that_may_be_there() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    node.push_image("v1", from_ref(&content(1, 100))).await;
    let metadata = &cluster.metadata;
    metadata.set_available(&crate::cluster::group(EAST), false);
    let opened = node.registry.open_upload(&root(), &other(), None).await;
    assert!(is_unavailable(&opened), "{opened:?}");
    // An upload to one that is known can begin.
    let opened = node.registry.open_upload(&root(), &app(), None).await;
    assert!(opened.is_ok(), "{opened:?}");
}

/// Whether indexes may be sparse, or no change; what holds then.
async fn set_sparse(node: &Node, sparse_indexes: Option<bool>) -> Result<bool, ServiceError> {
    let change = RepositoryChange {
        sparse_indexes,
        ..RepositoryChange::default()
    };
    let (who, app) = (root(), app());
    let changed = node.registry.put_repository_settings(&who, &app, change);
    changed.await.map(|info| info.settings.sparse_indexes)
}

async fn sparse(node: &Node) -> Result<bool, ServiceError> {
    let info = node.registry.repository_info(&root(), &app()).await?;
    assert_eq!(info.name, app());
    Ok(info.settings.sparse_indexes)
}

#[tokio::test]
async fn a_sparse_index_is_taken_where_its_repository_takes_them() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let (node, other) = (cluster.node(1), cluster.node(2));
    let config = node.push(&content(1, 100)).await;
    let [present, absent] = [1, 2].map(|number| variant((config, 100), number));
    node.put_manifest("present", &present).await;
    let parent = index(&[present, absent.clone()]);
    let (who, app) = (root(), app());
    let put = async || {
        let (tag, content) = (tag("all"), parent.clone());
        let put = node
            .registry
            .put_manifest(&who, &app, ManifestPush::new(&tag, content));
        put.await.map(|put| put.digest)
    };
    let unknown = ServiceError::ManifestBlobsUnknown(vec![sha256(&absent)]);
    assert_eq!(put().await, Err(unknown));
    assert_eq!(set_sparse(other, Some(true)).await, Ok(true));
    assert_eq!(set_sparse(other, None).await, Ok(true));
    assert_eq!(sparse(node).await, Ok(true));
    assert_eq!(put().await, Ok(sha256(&parent)));
    assert_eq!(node.tagged("all").await, Some(sha256(&parent)));
    let reference = tag(&sha256(&absent).to_string());
    let found = node.registry.get_manifest(&who, &app, &reference).await;
    assert_eq!(
        found,
        Err(ServiceError::ManifestUnknown(reference.to_string()))
    );
    assert_eq!(set_sparse(other, Some(false)).await, Ok(false));
    assert_eq!(sparse(node).await, Ok(false));
    cluster.check(EAST);
}

#[tokio::test]
async fn an_unknown_repository_has_no_settings() {
    let cluster = one_node().await;
    let unknown = Err(ServiceError::NameUnknown(app()));
    assert_eq!(sparse(cluster.node(1)).await, unknown);
    assert_eq!(set_sparse(cluster.node(1), Some(true)).await, unknown);
}
