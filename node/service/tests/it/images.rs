//! Manifests, tags, mounts and what is refused.

use std::slice::from_ref;

use bytes::Bytes;
use entrepot_oci::media_type::{DOCKER_MANIFEST, OCI_MANIFEST};
use entrepot_oci::{MANIFEST_BYTES_MAX, Reference, RepositoryName};
use entrepot_service::{BlobInfo, Destination, ManifestPush, RuleInfo, ServiceError, TagCondition};

use crate::cluster::{Cluster, EAST, Plan, WEST, app, region, root, tag};
use crate::content::{content, image, index, sha256, variant};

async fn one_node() -> Cluster {
    Plan::new(&[(EAST, 1)]).start().await
}

fn other() -> RepositoryName {
    "team/other".parse().unwrap()
}

#[tokio::test]
async fn a_manifest_is_kept_byte_for_byte_under_its_digest_and_its_tag() {
    let cluster = Plan::new(&[(EAST, 3)]).start().await;
    let config = content(1, 100);
    let digest = cluster.node(1).push_image("v1", from_ref(&config)).await;
    let manifest = image(&[(sha256(&config), 100)]);
    assert_eq!(digest, sha256(&manifest));
    for node in cluster.nodes() {
        for reference in [tag("v1"), Reference::Digest(digest)] {
            let found = node
                .registry
                .get_manifest(&root(), &app(), &reference)
                .await
                .unwrap();
            assert_eq!((found.digest, found.content), (digest, manifest.clone()));
            assert_eq!(found.media_type, entrepot_oci::media_type::OCI_MANIFEST);
        }
    }
    // The same again is the same.
    assert_eq!(cluster.node(2).put_manifest("v1", &manifest).await, digest);
    cluster.check(EAST);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_taken_says_why() {
    let cluster = one_node().await;
    let registry = &cluster.node(1).registry;
    let put = async |name: &str, content: &Bytes| {
        registry
            .put_manifest(
                &root(),
                &app(),
                ManifestPush::new(&tag(name), content.clone()),
            )
            .await
            .map(|put| put.digest)
    };
    let large = Bytes::from(vec![b' '; MANIFEST_BYTES_MAX + 1]);
    let max = MANIFEST_BYTES_MAX;
    assert_eq!(
        put("v1", &large).await,
        Err(ServiceError::ManifestTooLarge { max })
    );
    let nonsense = put("v1", &Bytes::from_static(b"nonsense")).await;
    let Err(ServiceError::ManifestInvalid(text)) = nonsense else {
        panic!("{nonsense:?}");
    };
    // What is wrong, and where.
    assert!(text.contains("line 1 column"), "{text}");

    let config = content(1, 100);
    let manifest = image(&[(sha256(&config), 100)]);
    let unknown = Err(ServiceError::ManifestBlobsUnknown(vec![sha256(&config)]));
    assert_eq!(put("v1", &manifest).await, unknown);
    let parent = index(from_ref(&manifest));
    let unknown = Err(ServiceError::ManifestBlobsUnknown(vec![sha256(&manifest)]));
    assert_eq!(put("v1", &parent).await, unknown);
    cluster.node(1).push(&config).await;
    let wrong = put(&sha256(b"other").to_string(), &manifest).await;
    assert!(
        matches!(wrong, Err(ServiceError::DigestInvalid(_))),
        "{wrong:?}"
    );
    // Nothing of all that was stored.
    let found = registry.get_manifest(&root(), &app(), &tag("v1")).await;
    assert_eq!(found, Err(ServiceError::ManifestUnknown("v1".to_owned())));
    assert_eq!(put("v1", &manifest).await, Ok(sha256(&manifest)));
}

/// What every client would refuse once it has pulled it.
#[tokio::test]
async fn what_is_here_has_to_be_what_is_said_of_it() {
    let cluster = one_node().await;
    let (config, layer) = (content(1, 100), content(2, 9_000));
    let (config, layer) = (
        (cluster.node(1).push(&config).await, 100),
        (cluster.node(1).push(&layer).await, 9_000),
    );
    let registry = &cluster.node(1).registry;
    let put = async |content: Bytes, declared: Option<&'static str>| {
        let push = ManifestPush {
            content_type: declared.map(|text| text.parse().unwrap()),
            ..ManifestPush::new(&tag("v1"), content)
        };
        registry.put_manifest(&root(), &app(), push).await
    };
    let refused = async |content: Bytes, declared, what: &str| {
        let refused = put(content, declared).await;
        assert!(
            matches!(&refused, Err(ServiceError::ManifestInvalid(text)) if text.contains(what)),
            "{refused:?}"
        );
    };
    let wrong_config = image(&[(config.0, 101), layer]);
    refused(wrong_config, None, "has 100 bytes, not 101").await;
    let wrong_layer = image(&[config, (layer.0, 8_999)]);
    refused(wrong_layer, None, "has 9000 bytes, not 8999").await;

    let image = image(&[config, layer]);
    put(image.clone(), None).await.unwrap();
    let parent = index(from_ref(&image));
    let text = std::str::from_utf8(&parent).unwrap();
    let size = format!("\"size\":{}", image.len());
    let wrong_size = text.replace(&size, "\"size\":7");
    refused(wrong_size.into(), None, "bytes, not 7").await;
    let wrong_type = text.replace(OCI_MANIFEST, DOCKER_MANIFEST);
    refused(wrong_type.into(), None, "is of type").await;
    put(parent, None).await.unwrap();

    // Bytes that do not say what they are, are what they were first.
    let written = format!("\"mediaType\":\"{OCI_MANIFEST}\",\"config\"");
    let text = std::str::from_utf8(&image).unwrap();
    let silent = Bytes::from(text.replace(&written, "\"config\""));
    for declared in [Some(DOCKER_MANIFEST), Some(DOCKER_MANIFEST), None] {
        put(silent.clone(), declared).await.unwrap();
    }
    refused(silent, Some(OCI_MANIFEST), "has these bytes as").await;
    cluster.check(EAST);
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_what_is_in_use_stays() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let registry = &node.registry;
    let config = content(1, 100);
    let digest = node.push_image("v1", from_ref(&config)).await;
    let manifest = image(&[(sha256(&config), 100)]);
    node.put_manifest("v2", &manifest).await;
    let parent = node.put_manifest("all", &index(&[manifest])).await;
    let delete = async |name: &str| {
        registry
            .delete_manifest(&root(), &app(), &tag(name), TagCondition::None)
            .await
    };
    let digest_text = digest.to_string();

    assert!(matches!(
        delete(&digest_text).await,
        Err(ServiceError::Referenced(_))
    ));
    let blob = registry
        .delete_blob(&root(), &app(), &sha256(&config))
        .await;
    assert!(matches!(blob, Err(ServiceError::Referenced(_))), "{blob:?}");
    assert_eq!(delete(&parent.to_string()).await, Ok(()));
    assert_eq!(node.tagged("all").await, None);

    assert_eq!(delete("v1").await, Ok(()));
    assert_eq!(
        delete("v1").await,
        Err(ServiceError::ManifestUnknown("v1".to_owned()))
    );
    assert_eq!(node.tagged("v2").await, Some(digest));
    assert_eq!(delete(&digest_text).await, Ok(()));
    assert_eq!(node.tagged("v2").await, None);
    assert_eq!(
        delete(&digest_text).await,
        Err(ServiceError::ManifestUnknown(digest_text.clone()))
    );

    // As long as the image can be restored.
    let blob = sha256(&config);
    let held = ServiceError::Held {
        blob,
        image: digest_text.clone(),
    };
    let kept = registry.delete_blob(&root(), &app(), &blob).await;
    assert_eq!(kept, Err(held));
    let purged = registry.purge_image(&root(), &app(), &digest).await;
    assert_eq!(purged, Ok(()));
    assert_eq!(registry.delete_blob(&root(), &app(), &blob).await, Ok(()));
    let again = registry.delete_blob(&root(), &app(), &blob).await;
    assert_eq!(again, Err(ServiceError::BlobUnknown(blob)));
    let stat = registry.stat_blob(&root(), &app(), &blob).await;
    assert_eq!(stat, Err(ServiceError::BlobUnknown(blob)));
    cluster.check(EAST);
}

#[tokio::test]
async fn tags_come_in_pages() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let config = content(1, 100);
    node.push_image("a", from_ref(&config)).await;
    let manifest = image(&[(sha256(&config), 100)]);
    for name in ["b", "c", "d"] {
        node.put_manifest(name, &manifest).await;
    }
    let page = async |after: Option<&str>, limit: usize| {
        let page = node
            .registry
            .list_tags(&root(), &app(), after, limit)
            .await
            .unwrap();
        let tags: Vec<String> = page.tags.iter().map(ToString::to_string).collect();
        (tags.join(" "), page.more)
    };
    assert_eq!(page(None, 3).await, ("a b c".to_owned(), true));
    assert_eq!(page(Some("c"), 3).await, ("d".to_owned(), false));
    assert_eq!(page(Some("bb"), 2).await, ("c d".to_owned(), false));
    assert_eq!(page(Some("z"), 2).await, (String::new(), false));
    let unknown = node.registry.list_tags(&root(), &other(), None, 3).await;
    assert_eq!(unknown, Err(ServiceError::NameUnknown(other())));
}

#[tokio::test]
async fn a_blob_is_mounted_where_it_may_be() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let content = content(1, 100);
    let digest = node.push(&content).await;
    let mount = async |from: Option<RepositoryName>, digest| {
        node.registry
            .mount_blob(&root(), &other(), from.as_ref(), &digest)
            .await
    };
    let nowhere = "team/none".parse().ok();
    assert_eq!(mount(Some(app()), sha256(b"unknown")).await, Ok(None));
    assert_eq!(mount(None, sha256(b"unknown")).await, Ok(None));
    // It is elsewhere, but the client wants it from there.
    assert_eq!(mount(nowhere, digest).await, Ok(None));
    let unknown = node.registry.stat_blob(&root(), &other(), &digest).await;
    assert_eq!(unknown, Err(ServiceError::NameUnknown(other())));
    let size = 100;
    assert_eq!(
        mount(Some(app()), digest).await,
        Ok(Some(BlobInfo { digest, size }))
    );
    let (_, stream) = node
        .registry
        .open_blob(&root(), &other(), &digest, None)
        .await
        .unwrap();
    assert_eq!(crate::content::read(stream).await.unwrap(), content);
    cluster.check(EAST);
}

#[tokio::test]
async fn a_blob_is_mounted_from_wherever_it_is() {
    let cluster = Plan::new(&[(EAST, 2)]).start().await;
    let content = content(1, 7000);
    let digest = cluster.node(1).push(&content).await;
    let mount = async |to: &str| {
        let to: RepositoryName = to.parse().unwrap();
        let registry = &cluster.node(2).registry;
        registry.mount_blob(&root(), &to, None, &digest).await
    };
    let mounted = Ok(Some(BlobInfo { digest, size: 7000 }));
    assert_eq!(mount("team/other").await, mounted);
    // Where it is already, too.
    assert_eq!(mount("team/other").await, mounted);
    let unlink = async |name: RepositoryName| {
        let registry = &cluster.node(1).registry;
        registry.delete_blob(&root(), &name, &digest).await.unwrap();
    };
    unlink(app()).await;
    assert_eq!(mount("team/third").await, mounted);
    unlink(other()).await;
    unlink("team/third".parse().unwrap()).await;
    // A file that no repository has is not there, for whoever could name it.
    assert_eq!(mount("team/fourth").await, Ok(None));
    assert!(cluster.node(1).holds(&digest).await);
    cluster.check(EAST);
}

#[tokio::test]
async fn a_tag_that_moves_all_the_time_is_always_there() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let node = cluster.node(1);
    let config = node.push(&content(1, 100)).await;
    node.put_manifest("v", &variant((config, 100), 0)).await;
    let registry = node.registry.clone();
    let moving = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            for number in 0..2_000 {
                let [old, new] = [number, number + 1].map(|number| variant((config, 100), number));
                registry
                    .put_manifest(&root(), &app(), ManifestPush::new(&tag("v"), new))
                    .await
                    .unwrap();
                let old = tag(&sha256(&old).to_string());
                let _ = registry
                    .delete_manifest(&root(), &app(), &old, TagCondition::None)
                    .await;
            }
        });
    });
    while !moving.is_finished() {
        assert!(node.tagged("v").await.is_some());
        tokio::task::yield_now().await;
    }
    moving.await.unwrap();
}

#[tokio::test]
async fn rules_are_checked_listed_and_removed() {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    let registry = &cluster.node(1).registry;
    let to = |name: &str| Destination::new(&region(name), &root().principal.account);
    let rule = |id: &str, destination: &str| RuleInfo {
        prefixes: vec!["team/".to_owned()],
        ..RuleInfo::new(id, vec![to(destination)])
    };
    let put = async |rule: &RuleInfo| registry.put_rule(&root(), rule).await;
    for destination in [EAST, "mars-1"] {
        let refused = put(&rule("r", destination)).await;
        assert!(
            matches!(refused, Err(ServiceError::Invalid(_))),
            "{refused:?}"
        );
    }
    assert!(matches!(
        put(&rule("no spaces", WEST)).await,
        Err(ServiceError::Invalid(_))
    ));
    assert_eq!(put(&rule("r", WEST)).await, Ok(false));
    assert_eq!(put(&rule("r", WEST)).await, Ok(true));
    let rules = registry.list_rules(&root()).await.unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(
        (rules[0].id.as_str(), &rules[0].destinations[..]),
        ("r", &[to(WEST)][..])
    );
    assert_eq!(registry.delete_rule(&root(), "r").await, Ok(()));
    let again = registry.delete_rule(&root(), "r").await;
    assert!(matches!(again, Err(ServiceError::NotFound(_))), "{again:?}");
}

/// What could not be replicated is not taken.
#[tokio::test]
async fn an_image_of_too_many_manifests_is_refused() {
    let cluster = one_node().await;
    let node = cluster.node(1);
    let config = content(1, 10);
    node.push(&config).await;
    let many = |range: std::ops::Range<usize>| -> Vec<Bytes> {
        range
            .map(|number| variant((sha256(&config), 10), number))
            .collect()
    };
    let images = many(0..101);
    for manifest in &images {
        node.put_manifest(&sha256(manifest).to_string(), manifest)
            .await;
    }
    // Each of all, in another order.
    let mut inner = Vec::new();
    for number in 0..100 {
        let mut images = images.clone();
        images.rotate_left(number);
        inner.push(index(&images));
    }
    for manifest in &inner {
        node.put_manifest(&sha256(manifest).to_string(), manifest)
            .await;
    }
    let push = async |name: &str, content| {
        let push = ManifestPush::new(&tag(name), content);
        node.registry.put_manifest(&root(), &app(), push).await
    };
    let Err(ServiceError::ManifestInvalid(text)) = push("all", index(&inner)).await else {
        panic!("taken");
    };
    assert!(text.contains("at most 10000 manifests"), "{text}");
    push("most", index(&inner[..98])).await.unwrap();
}
