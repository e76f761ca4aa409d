//! Uploads on the node that owns them.

use std::time::Duration;

use entrepot_blobs::{Fault, Operation};
use entrepot_oci::{Algorithm, Digest, Reference};
use entrepot_service::{BlobInfo, ServiceError, UploadState};

use crate::cluster::{Cluster, EAST, Plan, WEST, app, root};
use crate::content::{
    DEADLINE, KIB, MIB, body, chunk, content, empty, eventually, never, sha256, torn, written,
    written_until_broken,
};
use crate::network::Link;

async fn one_region() -> Cluster {
    Plan::new(&[(EAST, 3)]).start().await
}

/// The size of the upload after a request that brought `body`, or why it failed.
async fn append(
    cluster: &Cluster,
    session: &str,
    offset: u64,
    body: entrepot_service::BodyStream,
) -> Result<u64, ServiceError> {
    let registry = &cluster.node(1).registry;
    let state = registry
        .append_upload(&root(), &app(), session, chunk(Some(offset), None, body))
        .await?;
    assert_eq!(state.session, session);
    Ok(state.size)
}

async fn open(cluster: &Cluster) -> String {
    let registry = &cluster.node(1).registry;
    let UploadState { session, size } = registry.open_upload(&root(), &app(), None).await.unwrap();
    assert_eq!(size, 0);
    session
}

#[tokio::test]
async fn a_blob_is_pushed_in_one_go_and_pulled_from_everywhere() {
    let cluster = one_region().await;
    for size in [4 * KIB + 1, 300 * KIB, 5 * MIB + 17] {
        let content = content(1, size);
        let digest = cluster.node(1).push(&content).await;
        for node in cluster.nodes() {
            assert_eq!(node.pull(&digest).await.unwrap(), content, "{}", node.id);
            let stat = node.registry.stat_blob(&root(), &app(), &digest).await;
            let size = size as u64;
            assert_eq!(stat, Ok(BlobInfo { digest, size }));
        }
        let known = cluster.node(1).known(&digest).unwrap();
        assert_eq!(known.size, size as u64);
        assert_eq!(known.root, *blake3::hash(&content).as_bytes());
        assert!(known.holders.len() >= 2, "{known:?}");
        eventually("the third copy is there", async || {
            cluster.holders(&digest).await == [1, 2, 3]
        })
        .await;
    }
    cluster.check(EAST);
}

#[tokio::test]
async fn a_small_blob_is_kept_in_the_metadata_and_needs_no_file() {
    let cluster = one_region().await;
    for size in [0, 1, 4 * KIB] {
        let content = content(3, size);
        let digest = cluster.node(1).push(&content).await;
        for node in cluster.nodes() {
            assert_eq!(node.pull(&digest).await.unwrap(), content, "{}", node.id);
            node.repair().pass().await.unwrap();
        }
        let known = cluster.node(1).known(&digest).unwrap();
        assert_eq!(known.content, Some(content.clone()));
        assert_eq!(known.root, *blake3::hash(&content).as_bytes());
        assert!(cluster.holders(&digest).await.is_empty());
    }
    cluster.check(EAST);
}

#[tokio::test]
async fn an_upload_that_outgrows_the_metadata_becomes_a_file() {
    let cluster = one_region().await;
    let content = content(4, 6 * KIB);
    let session = open(&cluster).await;
    let mut from = 0;
    for to in [0, 1, 4 * KIB, 4 * KIB + 1, 6 * KIB] {
        let part = content.slice(from..to);
        let appended = append(&cluster, &session, from as u64, body(&part)).await;
        assert_eq!(appended, Ok(to as u64));
        from = to;
    }
    let digest = sha256(&content);
    let nothing = chunk(None, None, empty());
    let registry = &cluster.node(1).registry;
    let finished = registry
        .finish_upload(&root(), &app(), &session, nothing, digest)
        .await;
    let size = content.len() as u64;
    assert_eq!(finished, Ok(BlobInfo { digest, size }));
    assert_eq!(cluster.node(1).known(&digest).unwrap().content, None);
    assert_eq!(cluster.node(3).pull(&digest).await.unwrap(), content);
}

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
async fn a_blob_comes_in_chunks() {
    let cluster = one_region().await;
    let content = content(2, MIB);
    let session = open(&cluster).await;
    let half = content.slice(..512 * KIB);
    let rest = content.slice(512 * KIB..);
    assert_eq!(
        append(&cluster, &session, 0, body(&half)).await,
        Ok(512 * 1024)
    );
    let registry = &cluster.node(1).registry;
    let state = registry.upload_state(&root(), &app(), &session).await;
    assert_eq!(state.unwrap().size, 512 * 1024);
    let finished = registry
        .finish_upload(
            &root(),
            &app(),
            &session,
            chunk(None, None, body(&rest)),
            sha256(&content),
        )
        .await;
    assert_eq!(finished.unwrap().size, MIB as u64);
    assert_eq!(
        cluster.node(3).pull(&sha256(&content)).await.unwrap(),
        content
    );
    // It has ended.
    let late = append(&cluster, &session, MIB as u64, body(&rest)).await;
    assert_eq!(late, Err(ServiceError::UploadUnknown));
}

#[tokio::test]
async fn sha512_is_taken_from_the_start_and_at_the_end() {
    let cluster = one_region().await;
    let registry = &cluster.node(1).registry;
    let content = content(3, 700 * KIB);
    let digest = Digest::of(Algorithm::Sha512, &content);
    let pushed = registry
        .push_blob(&root(), &app(), digest, None, body(&content))
        .await;
    assert_eq!(pushed.unwrap().digest, digest);

    // Hashed as sha256 while it came in, since nobody said otherwise.
    let content = crate::content::content(4, 700 * KIB);
    for (digest, right) in [
        (Digest::of(Algorithm::Sha512, b"other"), false),
        (Digest::of(Algorithm::Sha512, &content), true),
    ] {
        let session = open(&cluster).await;
        append(&cluster, &session, 0, body(&content)).await.unwrap();
        let finished = registry
            .finish_upload(
                &root(),
                &app(),
                &session,
                chunk(None, None, empty()),
                digest,
            )
            .await;
        assert_eq!(finished.is_ok(), right, "{finished:?}");
        assert_eq!(cluster.holders(&digest).await.len() >= 2, right);
    }
}

#[tokio::test]
async fn a_chunk_at_the_wrong_place_is_told_the_right_one() {
    let cluster = one_region().await;
    let content = content(5, 100);
    let session = open(&cluster).await;
    append(&cluster, &session, 0, body(&content)).await.unwrap();
    for offset in [0, 99, 101] {
        let refused = append(&cluster, &session, offset, body(&content)).await;
        assert_eq!(refused, Err(ServiceError::RangeInvalid { size: 100 }));
    }
    assert_eq!(
        append(&cluster, &session, 100, body(&content)).await,
        Ok(200)
    );
}

#[tokio::test]
async fn a_torn_body_keeps_what_arrived() {
    let cluster = one_region().await;
    let registry = &cluster.node(1).registry;
    let content = content(6, 2 * MIB);
    let session = open(&cluster).await;
    let first = content.slice(..MIB + 11);
    let refused = append(&cluster, &session, 0, torn(&first)).await;
    assert!(
        matches!(refused, Err(ServiceError::UploadInvalid(_))),
        "{refused:?}"
    );
    let state = registry
        .upload_state(&root(), &app(), &session)
        .await
        .unwrap();
    assert_eq!(state.size, MIB as u64 + 11);

    // A finish that is torn does not finish.
    let second = content.slice(MIB + 11..MIB + 20);
    let refused = registry
        .finish_upload(
            &root(),
            &app(),
            &session,
            chunk(None, None, torn(&second)),
            sha256(&content),
        )
        .await;
    assert!(
        matches!(refused, Err(ServiceError::UploadInvalid(_))),
        "{refused:?}"
    );
    let rest = content.slice(MIB + 20..);
    let offset = Some(MIB as u64 + 20);
    registry
        .finish_upload(
            &root(),
            &app(),
            &session,
            chunk(offset, None, body(&rest)),
            sha256(&content),
        )
        .await
        .unwrap();
    assert_eq!(
        cluster.node(2).pull(&sha256(&content)).await.unwrap(),
        content
    );
}

#[tokio::test]
async fn a_length_that_was_declared_is_held_to() {
    let cluster = one_region().await;
    let registry = &cluster.node(1).registry;
    let content = content(7, 1000);
    let session = open(&cluster).await;
    let short = registry
        .append_upload(
            &root(),
            &app(),
            &session,
            chunk(None, Some(1001), body(&content)),
        )
        .await;
    let (declared, received) = (1001, 1000);
    assert_eq!(short, Err(ServiceError::SizeInvalid { declared, received }));
    let long = registry
        .append_upload(
            &root(),
            &app(),
            &session,
            chunk(None, Some(999), body(&content)),
        )
        .await;
    let (declared, received) = (999, 1000);
    assert_eq!(long, Err(ServiceError::SizeInvalid { declared, received }));
    // The first kept what came, the second took nothing beyond what it declared.
    let state = registry
        .upload_state(&root(), &app(), &session)
        .await
        .unwrap();
    assert_eq!(state.size, 1000);
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
async fn a_cancelled_upload_leaves_nothing_anywhere() {
    let cluster = one_region().await;
    let registry = &cluster.node(1).registry;
    let session = open(&cluster).await;
    append(&cluster, &session, 0, body(&content(9, 3 * MIB)))
        .await
        .unwrap();
    assert!(cluster.node(1).memory.staged() > 0);
    registry
        .cancel_upload(&root(), &app(), &session)
        .await
        .unwrap();
    let state = registry.upload_state(&root(), &app(), &session).await;
    assert_eq!(state, Err(ServiceError::UploadUnknown));
    let again = registry.cancel_upload(&root(), &app(), &session).await;
    assert_eq!(again, Err(ServiceError::UploadUnknown));
    cluster.keeps_nothing().await;
}

#[tokio::test]
async fn an_idle_upload_is_swept_and_a_busy_one_is_not() {
    let expiry = Duration::from_millis(400);
    let mut cluster = Plan::new(&[(EAST, 3)]).upload_expiry(expiry).start().await;
    cluster.start_sweep();
    let idle = open(&cluster).await;
    append(&cluster, &idle, 0, body(&content(10, MIB)))
        .await
        .unwrap();
    let busy = open(&cluster).await;
    let (sender, slow) = written();
    let appended = append(&cluster, &busy, 0, slow);
    let feeding = async {
        let mut sent = 0;
        let mut both = false;
        while !both || cluster.node(1).memory.staged() > 1 {
            both |= cluster.node(1).memory.staged() == 2;
            let bytes = content(11, 5 * KIB);
            sent += bytes.len() as u64;
            sender.send(bytes).await.unwrap();
            tokio::time::sleep(expiry / 8).await;
        }
        drop(sender);
        sent
    };
    let both = futures::future::join(appended, feeding);
    let (appended, sent) = tokio::time::timeout(DEADLINE, both).await.unwrap();
    assert_eq!(appended, Ok(sent));
    let state = append(&cluster, &idle, MIB as u64, empty()).await;
    assert_eq!(state, Err(ServiceError::UploadUnknown));
    eventually("its holders have dropped it too", async || {
        cluster.nodes().all(|node| node.memory.staged() <= 1)
    })
    .await;
}

#[tokio::test]
async fn a_name_is_good_for_its_own_upload_only() {
    let cluster = Plan::new(&[(EAST, 3), (WEST, 1)]).start().await;
    let session = open(&cluster).await;
    let registry = &cluster.node(1).registry;
    let other = "team/other".parse().unwrap();
    let elsewhere = registry.upload_state(&root(), &other, &session).await;
    assert_eq!(elsewhere, Err(ServiceError::UploadUnknown));
    let nonsense = registry.upload_state(&root(), &app(), "nonsense").await;
    assert_eq!(nonsense, Err(ServiceError::UploadUnknown));
    // The same names in another region are another registry.
    let abroad = &cluster.node(4).registry;
    let state = abroad.upload_state(&root(), &app(), &session).await;
    assert_eq!(state, Err(ServiceError::UploadUnknown));
    let pushed = abroad
        .finish_upload(
            &root(),
            &app(),
            &session,
            chunk(None, None, empty()),
            sha256(b""),
        )
        .await;
    assert_eq!(pushed, Err(ServiceError::UploadUnknown));
    assert_eq!(
        registry
            .upload_state(&root(), &app(), &session)
            .await
            .unwrap()
            .size,
        0
    );
}

#[tokio::test]
async fn a_full_disk_ends_the_upload_with_a_clear_error() {
    // In the middle, and when the last piece is written.
    for (capacity, size) in [(MIB, 3 * MIB), (4999, 5000)] {
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

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_writes_to_an_upload() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let session = open(&cluster).await;
    let (sender, slow) = written();
    let (first, second) = tokio::join!(append(&cluster, &session, 0, slow), async {
        sender.send(content(16, 10)).await.unwrap();
        let second = append(&cluster, &session, 0, body(&content(17, 10))).await;
        drop(sender);
        second
    });
    assert_eq!(first, Ok(10));
    assert!(
        matches!(second, Err(ServiceError::Conflict(_))),
        "{second:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_whoever_writes() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let registry = &cluster.node(1).registry;
    for size in [10, 9 * KIB] {
        let session = open(&cluster).await;
        let (sender, slow) = written();
        let start = tokio::time::Instant::now();
        let (written, cancelled) = tokio::join!(append(&cluster, &session, 0, slow), async {
            sender.send(content(16, size)).await.unwrap();
            let cancelled = registry.cancel_upload(&root(), &app(), &session).await;
            drop(sender);
            cancelled
        });
        assert_eq!(written, Err(ServiceError::UploadUnknown));
        assert_eq!(cancelled, Ok(()));
        assert!(start.elapsed() < Duration::from_secs(1));
        let gone = append(&cluster, &session, 0, empty()).await;
        assert_eq!(gone, Err(ServiceError::UploadUnknown));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_and_keeps_what_arrived() {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let session = open(&cluster).await;
    let (sender, slow) = written();
    sender.send(content(18, 10)).await.unwrap();
    let stalled = append(&cluster, &session, 0, slow).await;
    assert_eq!(stalled, Err(ServiceError::UploadStalled));
    assert_eq!(append(&cluster, &session, 10, empty()).await, Ok(10));
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_a_byte_ends_after_minutes() {
    let day = Duration::from_hours(24);
    let mut cluster = Plan::new(&[(EAST, 1)]).upload_expiry(day).start().await;
    cluster.start_sweep();
    let begun = open(&cluster).await;
    append(&cluster, &begun, 0, body(&content(1, 10)))
        .await
        .unwrap();
    let untouched = open(&cluster).await;
    let without_a_byte = open(&cluster).await;
    append(&cluster, &without_a_byte, 0, empty()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(6)).await;
    for session in [untouched, without_a_byte] {
        let gone = append(&cluster, &session, 0, empty()).await;
        assert_eq!(gone, Err(ServiceError::UploadUnknown));
    }
    assert_eq!(append(&cluster, &begun, 10, empty()).await, Ok(10));
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
