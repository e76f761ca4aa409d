//! Uploads on the node that owns them.

mod ending;
mod failing;

use entrepot_oci::{Algorithm, Digest};
use entrepot_service::{BlobInfo, ServiceError, UploadState};

use crate::cluster::{Cluster, EAST, Plan, WEST, app, root};
use crate::content::{KIB, MIB, body, chunk, content, empty, eventually, sha256, torn, written};

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
    for size in [6 * KIB + 1, 300 * KIB, 5 * MIB + 17] {
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
    for size in [0, 1, 6 * KIB] {
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
    let content = content(4, 7 * KIB);
    let session = open(&cluster).await;
    let mut from = 0;
    for to in [0, 1, 6 * KIB, 6 * KIB + 1, 7 * KIB] {
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
