//! The archive: what is in it is listed, described and counted, and given to nobody
//! until it comes back.

use std::slice::from_ref;

use bytes::Bytes;
use entrepot_oci::{Digest, Reference, media_type};
use entrepot_service::{
    ClassFilter, ImageDeletionRequest, LifecycleMetrics, Lifecycles, ServiceError, WantedReferrers,
};
use serde_json::json;

use crate::cluster::{EAST, Node, Plan, WEST, app, root, tag};
use crate::content::{content, eventually, image, index, sha256};

async fn set(node: &Node, reference: &Reference, archive: bool) -> Result<u64, ServiceError> {
    let (who, app) = (root(), app());
    let set = node
        .registry
        .set_storage_class(&who, &app, reference, archive);
    set.await.map(|set| {
        assert_eq!(set.image.is_archived, archive);
        assert!(!set.left);
        set.moved
    })
}

async fn pull(node: &Node, reference: &Reference) -> Result<Digest, ServiceError> {
    let found = node.registry.get_manifest(&root(), &app(), reference).await;
    found.map(|found| found.digest)
}

fn referrer_of(subject: &Digest, config: &Digest) -> Bytes {
    let (kind, config_kind) = (media_type::OCI_MANIFEST, media_type::OCI_CONFIG);
    json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config_kind, "digest": config.to_string(), "size": 50},
        "layers": [],
        "subject": {"mediaType": kind, "digest": subject.to_string(), "size": 7},
    })
    .to_string()
    .into()
}

#[tokio::test]
async fn an_archived_image_is_known_and_given_by_no_node() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let node = cluster.node(1);
    let layer = content(1, 100);
    let digest = node.push_image("v1", from_ref(&layer)).await;
    let names = [tag("v1"), Reference::Digest(digest)];
    assert_eq!(set(node, &names[0], true).await, Ok(1));
    assert_eq!(set(cluster.node(2), &names[1], true).await, Ok(0));
    for node in cluster.nodes() {
        for name in &names {
            let refused = Err(ServiceError::ImageArchived(name.to_string()));
            assert_eq!(pull(node, name).await, refused);
        }
        let (who, app) = (root(), app());
        let info = node.registry.image_info(&who, &app, &names[0]).await;
        let info = info.unwrap();
        assert!(info.is_archived && info.last_archived_at_ms.is_some());
        let layer = sha256(&layer);
        let is_archived = node.registry.is_layer_archived(&who, &app, &layer);
        assert!(is_archived.await.unwrap());
        let presigned = node.registry.presign_layer(&who, &app, &layer).await;
        assert!(matches!(presigned, Err(ServiceError::ImageArchived(_))));
    }
    assert_eq!(set(cluster.node(3), &names[0], false).await, Ok(1));
    for node in cluster.nodes() {
        for name in &names {
            assert_eq!(pull(node, name).await, Ok(digest));
        }
    }
    let unknown = set(node, &tag("v2"), true).await;
    assert_eq!(unknown, Err(ServiceError::ManifestUnknown("v2".to_owned())));
    cluster.check(EAST);
}

#[tokio::test]
async fn a_deleted_image_keeps_no_layer_out_of_the_archive() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let node = cluster.node(1);
    let layer = content(1, 100);
    node.push_image("v1", from_ref(&layer)).await;
    let both = [layer.clone(), content(2, 100)];
    node.push_image("v2", &both).await;
    let (who, app, digest) = (root(), app(), sha256(&layer));
    let is_archived = async || {
        let asked = node.registry.is_layer_archived(&who, &app, &digest);
        asked.await.unwrap()
    };
    assert_eq!(set(node, &tag("v1"), true).await, Ok(1));
    assert!(!is_archived().await);
    for (name, archived) in [("v2", true), ("v1", false)] {
        let request = ImageDeletionRequest {
            repository: app.clone(),
            reference: tag(name),
            with_children: false,
            dry_run: false,
        };
        node.registry.remove_image(&who, &request).await.unwrap();
        assert_eq!(is_archived().await, archived);
    }
}

#[tokio::test]
async fn a_push_brings_an_image_back() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let (node, other) = (cluster.node(1), cluster.node(2));
    let layer = content(1, 100);
    let digest = node.push_image("v1", from_ref(&layer)).await;
    let manifest = image(&[(sha256(&layer), 100)]);
    let parent = index(from_ref(&manifest));
    let parent_digest = node.put_manifest("all", &parent).await;
    // An index that can be pulled can be pulled as a whole.
    let child = Reference::Digest(digest);
    assert!(matches!(
        set(node, &child, true).await,
        Err(ServiceError::Referenced(_))
    ));
    // Its manifest has a tag: it stays.
    assert_eq!(set(node, &tag("all"), true).await, Ok(1));
    assert_eq!(pull(other, &child).await, Ok(digest));
    assert_eq!(set(node, &child, true).await, Ok(1));
    assert_eq!(other.put_manifest("all", &parent).await, parent_digest);
    assert_eq!(pull(node, &tag("all")).await, Ok(parent_digest));
    assert_eq!(pull(node, &tag("v1")).await, Ok(digest));
    cluster.check(EAST);
}

#[tokio::test]
async fn referrers_in_the_archive_are_shown_to_who_asks_for_them() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let node = cluster.node(1);
    let subject = node.push_image("v1", &[content(1, 100)]).await;
    let signature = content(2, 50);
    node.push(&signature).await;
    let signature = referrer_of(&subject, &sha256(&signature));
    let signature = node.put_manifest("sig", &signature).await;
    let shown = async |class| {
        let wanted = WantedReferrers { types: &[], class };
        let page = node
            .registry
            .referrers_in(&root(), &app(), &subject, wanted, None, 10)
            .await
            .unwrap();
        let digests: Vec<Digest> = page.referrers.iter().map(|it| it.digest).collect();
        (digests, page.archived.contains(&signature))
    };
    assert_eq!(shown(ClassFilter::Standard).await, (vec![signature], false));
    assert_eq!(set(node, &tag("v1"), true).await, Ok(2));
    assert_eq!(shown(ClassFilter::Standard).await, (vec![], false));
    assert_eq!(shown(ClassFilter::Archive).await, (vec![signature], true));
    assert_eq!(shown(ClassFilter::Any).await, (vec![signature], true));
    cluster.check(EAST);
}

#[tokio::test]
async fn usage_keeps_the_classes_apart() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let node = cluster.node(1);
    let (shared, own) = (content(1, 10_000), content(2, 500));
    node.push_image("v1", from_ref(&shared)).await;
    node.push_image("v2", &[shared, own]).await;
    let before = node.registry.usage(&root()).await.unwrap().total;
    assert_eq!(before.archive.images, 0);
    set(node, &tag("v2"), true).await.unwrap();
    let one = node.registry.usage(&root()).await.unwrap().total;
    assert_eq!((one.standard.images, one.archive.images), (1, 1));
    // What both have is kept for the one that can be pulled.
    assert!((500..10_000).contains(&one.archive.unique_bytes), "{one:?}");
    assert!(one.standard.unique_bytes > 10_000, "{one:?}");
    set(node, &tag("v1"), true).await.unwrap();
    let both = node.registry.usage(&root()).await.unwrap().total;
    assert_eq!(both.standard.unique_bytes, 0);
    assert_eq!(both.archive, before.standard);
}

#[tokio::test]
async fn a_lifecycle_policy_puts_images_into_the_archive() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let (node, other) = (cluster.node(1), cluster.node(2));
    for seed in 1..4 {
        let name = format!("v{seed}");
        node.push_image(&name, &[content(seed, 100)]).await;
    }
    let policy = json!({"rules": [{"rulePriority": 1, "selection":
        {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
        "action": {"type": "transition", "targetStorageClass": "archive"}}]});
    node.registry
        .put_lifecycle_policy(&root(), &app(), &policy.to_string())
        .await
        .unwrap();
    let run = async |node: &Node| {
        let lifecycles = Lifecycles::new(node.registry.clone(), LifecycleMetrics::default());
        let account = root().account;
        lifecycles.evaluate(&account, &app()).await.unwrap()
    };
    let done = run(other).await;
    assert_eq!((done.images, done.expired, done.archived), (3, 0, 2));
    for (name, is_there) in [("v1", false), ("v2", false), ("v3", true)] {
        assert_eq!(pull(node, &tag(name)).await.is_ok(), is_there, "{name}");
    }
    // What is there is not counted any more, and not put there again.
    let again = run(node).await;
    assert_eq!((again.images, again.archived), (3, 0));
    // What comes back is the newest.
    assert_eq!(set(node, &tag("v1"), false).await, Ok(1));
    let done = run(node).await;
    assert_eq!(done.archived, 1);
    assert!(pull(node, &tag("v1")).await.is_ok());
    assert!(pull(node, &tag("v3")).await.is_err());
    cluster.check(EAST);
}

#[tokio::test]
async fn what_comes_back_is_copied_and_what_goes_is_not() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    cluster.replicate(EAST, WEST).await;
    cluster.start_outbox();
    let (here, there) = (cluster.node(1), cluster.node(2));
    here.push_image("v1", &[content(1, 100)]).await;
    let is_there = async || pull(there, &tag("v1")).await.is_ok();
    eventually("it arrives", is_there).await;
    assert_eq!(set(here, &tag("v1"), true).await, Ok(1));
    assert!(is_there().await);
    assert_eq!(set(there, &tag("v1"), true).await, Ok(1));
    assert!(!is_there().await);
    assert_eq!(set(here, &tag("v1"), false).await, Ok(1));
    eventually("it comes back there", is_there).await;
    cluster.check(EAST);
    cluster.check(WEST);
}
