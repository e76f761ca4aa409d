//! Uploads that are refused, or that meet a disk, a peer or a metadata group that
//! fails: nothing is half there, and what can go on goes on.

use entrepot_blobs::{Fault, Operation};
use entrepot_oci::Reference;
use entrepot_service::ServiceError;

use super::{append, one_region, open};
use crate::cluster::{EAST, app, root};
use crate::content::{KIB, MIB, body, chunk, content, empty, never, sha256, written_until_broken};
use crate::network::Link;

#[tokio::test]
async fn a_small_blob_of_another_digest_is_refused_and_its_upload_ends() {
    let cluster = one_region().await;
    let (said, sent) = (content(5, 100), content(6, 100));
    let session = open(&cluster).await;
    let finish = async || {
        let registry = &cluster.node(1).registry;
        let bytes = chunk(None, None, body(&sent));
        registry
            .finish_upload(&root(), &app(), &session, bytes, sha256(&said))
            .await
    };
    let refused = finish().await.unwrap_err();
    assert!(
        matches!(refused, ServiceError::DigestInvalid(_)),
        "{refused:?}"
    );
    assert_eq!(finish().await, Err(ServiceError::UploadUnknown));
    assert_eq!(cluster.node(1).known(&sha256(&said)), None);
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_anywhere() {
    let cluster = one_region().await;
    let registry = &cluster.node(1).registry;
    for size in [10, 3 * MIB] {
        let content = content(8, size);
        let digest = sha256(b"something else");
        let refused = registry
            .push_blob(&root(), &app(), digest, None, body(&content))
            .await;
        assert!(
            matches!(refused, Err(ServiceError::DigestInvalid(_))),
            "{refused:?}"
        );
        let stat = registry.stat_blob(&root(), &app(), &digest).await;
        assert_eq!(stat, Err(ServiceError::NameUnknown(app())));
    }
    cluster.keeps_nothing().await;
}

#[tokio::test]
async fn a_full_disk_ends_the_upload_with_a_clear_error() {
    // In the middle, and when the last piece is written.
    for (capacity, size) in [(MIB, 3 * MIB), (6999, 7000)] {
        let cluster = one_region().await;
        cluster.node(1).memory.set_capacity_bytes(capacity as u64);
        let registry = &cluster.node(1).registry;
        let session = open(&cluster).await;
        let refused = append(&cluster, &session, 0, body(&content(12, size))).await;
        assert_eq!(refused, Err(ServiceError::Full));
        let state = registry.upload_state(&root(), &app(), &session).await;
        assert_eq!(state, Err(ServiceError::UploadUnknown));
        cluster.keeps_nothing().await;
    }
}

#[tokio::test]
async fn what_never_fits_is_refused_before_its_first_byte() {
    let cluster = one_region().await;
    cluster.node(1).memory.set_capacity_bytes(20 * MIB as u64);
    let session = open(&cluster).await;
    let append = async |through: u64, length: u64| {
        let registry = &cluster.node(through).registry;
        let bytes = chunk(None, Some(length), never());
        registry
            .append_upload(&root(), &app(), &session, bytes)
            .await
    };
    let max = 52_000 * MIB as u64;
    assert_eq!(
        append(1, max + 1).await,
        Err(ServiceError::BlobTooLarge { max })
    );
    assert_eq!(append(1, 21 * MIB as u64).await, Err(ServiceError::Full));
    let registry = &cluster.node(1).registry;
    let (digest, length) = (sha256(b"never"), Some(100 << 30));
    let refused = registry
        .push_blob(&root(), &app(), digest, length, never())
        .await;
    assert_eq!(refused, Err(ServiceError::BlobTooLarge { max }));

    // The upload goes on with what fits, and up to its limit in all.
    let content = content(19, MIB);
    let bytes = chunk(None, Some(MIB as u64), body(&content));
    let state = registry
        .append_upload(&root(), &app(), &session, bytes)
        .await;
    assert_eq!(state.unwrap().size, MIB as u64);
    assert_eq!(
        append(1, max).await,
        Err(ServiceError::BlobTooLarge { max })
    );
    let finished = registry
        .finish_upload(
            &root(),
            &app(),
            &session,
            chunk(None, None, empty()),
            sha256(&content),
        )
        .await;
    assert_eq!(finished.unwrap().size, MIB as u64);
}

#[tokio::test]
async fn a_disk_that_fails_at_the_end_links_nothing() {
    for operation in [
        Operation::Sync,
        Operation::Publish,
        Operation::SyncDirectory,
    ] {
        let cluster = one_region().await;
        cluster
            .node(1)
            .memory
            .faults()
            .fail(operation, Fault::Broken);
        let content = content(13, MIB);
        let digest = sha256(&content);
        let registry = &cluster.node(1).registry;
        let refused = registry
            .push_blob(&root(), &app(), digest, None, body(&content))
            .await;
        assert!(
            matches!(refused, Err(ServiceError::Internal { .. })),
            "{refused:?}"
        );
        assert_eq!(cluster.node(1).known(&digest), None);
        // The same push again succeeds, whatever the first left behind.
        cluster.node(1).push(&content).await;
        assert_eq!(cluster.node(1).pull(&digest).await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_of_a_push_in_one_go() {
    let cluster = one_region().await;
    let registry = cluster.node(1).registry.clone();
    let (sender, endless) = written_until_broken();
    let pushing = tokio::spawn(async move {
        let digest = sha256(b"never");
        registry
            .push_blob(&root(), &app(), digest, None, endless)
            .await
    });
    for seed in 0..20 {
        sender.send(content(seed, 100 * KIB)).await.unwrap();
    }
    // The front end drops its request, and then the connection is found broken.
    pushing.abort();
    assert!(pushing.await.unwrap_err().is_cancelled());
    drop(sender);
    cluster.keeps_nothing().await;
}

#[tokio::test]
async fn without_metadata_nothing_is_acknowledged() {
    let cluster = one_region().await;
    cluster.node(1).push(&content(14, 10)).await;
    cluster
        .metadata
        .set_available(&crate::cluster::group(EAST), false);
    let content = content(15, 10);
    let registry = &cluster.node(1).registry;
    let refused = registry
        .push_blob(&root(), &app(), sha256(&content), None, body(&content))
        .await;
    assert!(crate::content::is_unavailable(&refused), "{refused:?}");
    let reference = Reference::Digest(sha256(b"manifest"));
    let found = registry.get_manifest(&root(), &app(), &reference).await;
    assert!(crate::content::is_unavailable(&found), "{found:?}");
    // What this node knows to be there is served all the same.
    cluster
        .node(1)
        .pull(&sha256(&crate::content::content(14, 10)))
        .await
        .unwrap();
    cluster
        .metadata
        .set_available(&crate::cluster::group(EAST), true);
    let stat = registry.stat_blob(&root(), &app(), &sha256(&content)).await;
    assert_eq!(stat, Err(ServiceError::BlobUnknown(sha256(&content))));
    cluster.node(1).push(&content).await;
}

/// What has all its bytes is not sent again because copies, or the metadata, were
/// not to be had: the same request does what is missing.
#[tokio::test]
async fn an_upload_that_could_not_be_acknowledged_is_finished_by_the_same_request() {
    let cluster = one_region().await;
    let registry = &cluster.node(1).registry;
    let content = content(20, MIB);
    let digest = sha256(&content);
    let session = open(&cluster).await;
    append(&cluster, &session, 0, body(&content)).await.unwrap();
    let finish = async |digest, chunk| {
        registry
            .finish_upload(&root(), &app(), &session, chunk, digest)
            .await
    };
    let size = MIB as u64;
    let empty = || chunk(Some(size), Some(0), empty());
    for node in [2, 3] {
        cluster.network.set(node, Link::Cut);
    }
    for _ in 0..2 {
        let refused = finish(digest, empty()).await;
        assert!(crate::content::is_unavailable(&refused), "{refused:?}");
    }
    assert_eq!(cluster.node(1).known(&digest), None);
    let state = registry.upload_state(&root(), &app(), &session).await;
    assert_eq!(state.unwrap().size, size);

    for node in [2, 3] {
        cluster.network.set(node, Link::Up);
    }
    let group = crate::cluster::group(EAST);
    cluster.metadata.set_available(&group, false);
    let refused = finish(digest, empty()).await;
    assert!(crate::content::is_unavailable(&refused), "{refused:?}");
    cluster.metadata.set_available(&group, true);

    // It is what it is, and takes nothing more.
    let other = finish(sha256(b"other"), empty()).await;
    assert!(matches!(other, Err(ServiceError::DigestInvalid(_))));
    let more = append(&cluster, &session, size, body(&content)).await;
    assert_eq!(more, Err(ServiceError::UploadUnknown));

    // With its last bytes once more, as who sends all in one request does.
    let again = chunk(None, Some(size), body(&content));
    assert_eq!(finish(digest, again).await.unwrap().size, size);
    assert_eq!(cluster.node(2).pull(&digest).await.unwrap(), content);
    assert!(cluster.node(1).known(&digest).unwrap().holders.len() >= 2);
    let gone = finish(digest, empty()).await;
    assert_eq!(gone, Err(ServiceError::UploadUnknown));
}

/// An owner on another node keeps it as well.
#[tokio::test]
async fn an_upload_that_could_not_be_acknowledged_is_kept_by_its_owner() {
    let cluster = one_region().await;
    let content = content(21, 1_000);
    let digest = sha256(&content);
    let session = open(&cluster).await;
    append(&cluster, &session, 0, body(&content)).await.unwrap();
    let group = crate::cluster::group(EAST);
    let finish = async || {
        cluster
            .node(2)
            .registry
            .finish_upload(
                &root(),
                &app(),
                &session,
                chunk(None, None, empty()),
                digest,
            )
            .await
    };
    cluster.metadata.set_available(&group, false);
    let refused = finish().await;
    assert!(crate::content::is_unavailable(&refused), "{refused:?}");
    cluster.metadata.set_available(&group, true);
    assert_eq!(finish().await.unwrap().digest, digest);
    assert_eq!(cluster.node(3).pull(&digest).await.unwrap(), content);
}
