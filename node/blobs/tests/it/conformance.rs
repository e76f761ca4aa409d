//! What every store promises.

use bytes::Bytes;
use entrepot_blobs::{BlobError, Committed, Expected, Hashing, READ_BYTES};
use entrepot_oci::{Algorithm, Digest};
use futures::{FutureExt, StreamExt, future};

use crate::fixture::{CLIENT, Fixture, content, drain, root, sha256};

macro_rules! over_both_stores {
    ($($test:ident,)*) => {
        mod file {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::Fixture::file().await).await;
            })*
        }

        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::Fixture::memory().await).await;
            })*
        }
    };
}
pub(crate) use over_both_stores;

over_both_stores! {
    a_blob_comes_back_as_it_was,
    a_blob_may_be_named_by_sha512,
    every_cut_into_chunks_is_the_same_blob,
    a_range_is_cut_exactly,
    a_range_that_leaves_the_blob_is_refused,
    what_is_not_there_is_not_found,
    nothing_is_visible_before_the_commit,
    wrong_content_leaves_nothing,
    a_wrong_copy_leaves_nothing,
    a_copy_is_proven_by_its_root,
    a_digest_that_was_not_hashed_is_read_back,
    the_hashes_so_far_are_known_at_any_time,
    a_dropped_staging_leaves_nothing,
    a_discarded_staging_leaves_nothing,
    a_cancelled_append_has_accepted_what_it_says,
    a_blob_can_be_committed_twice,
    commits_of_one_digest_do_not_hurt_each_other,
    a_list_is_in_order_and_complete,
    a_deleted_blob_is_gone,
    a_blob_that_is_deleted_is_read_to_its_end,
}

const BEYOND: usize = 2 * READ_BYTES + 5;

async fn a_blob_comes_back_as_it_was(fixture: Fixture) {
    for length in [0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, BEYOND] {
        let content = content(1, length);
        let committed = fixture.upload(&content).await.expect("commit");
        let digest = sha256(&content);
        let expected = Committed {
            digest,
            size: length as u64,
            root: root(&content),
        };
        assert_eq!(committed, expected);
        let stat = fixture.stat(&digest).await.expect("blob is here");
        assert_eq!((stat.digest, stat.size), (digest, length as u64));
        assert!(fixture.read(&digest, None).await.expect("blob") == content);
    }
    fixture.nothing_staged().await;
}

async fn a_blob_may_be_named_by_sha512(fixture: Fixture) {
    let content = content(2, BEYOND);
    let digest = Digest::of(Algorithm::Sha512, &content);
    let hashing = Hashing::Client(Algorithm::Sha512);
    let expected = Expected::Digest(digest);
    let committed = fixture.put(&content, 50_000, hashing, expected).await;
    assert_eq!(committed.expect("commit").digest, digest);
    assert!(fixture.read(&digest, None).await.expect("blob") == content);
    assert_eq!(fixture.stat(&sha256(&content)).await, None);
}

async fn every_cut_into_chunks_is_the_same_blob(fixture: Fixture) {
    let content = content(3, BEYOND);
    let digest = sha256(&content);
    for chunk_bytes in [1_000, 16 * 1024 + 1, READ_BYTES, BEYOND] {
        let expected = Expected::Digest(digest);
        let committed = fixture.put(&content, chunk_bytes, CLIENT, expected).await;
        assert_eq!(committed.expect("commit").root, root(&content));
        assert!(fixture.read(&digest, None).await.expect("blob") == content);
        assert!(fixture.store.delete(&digest).await.expect("delete"));
    }
}

async fn a_range_is_cut_exactly(fixture: Fixture) {
    let content = content(4, BEYOND);
    let digest = fixture.upload(&content).await.expect("commit").digest;
    let piece = READ_BYTES as u64;
    let end = BEYOND as u64;
    for range in [
        0..0,
        0..1,
        1..piece,
        1..piece + 1,
        1..piece + 2,
        piece..piece,
        7..end,
        end - 1..end,
        end..end,
        0..end,
    ] {
        let read = fixture.read(&digest, Some(range.clone())).await;
        let [start, end] = [range.start, range.end].map(usize::try_from);
        let expected = &content[start.expect("fits")..end.expect("fits")];
        assert!(read.expect("range") == expected, "{range:?}");
    }
}

async fn a_range_that_leaves_the_blob_is_refused(fixture: Fixture) {
    let digest = fixture.upload(b"four").await.expect("commit").digest;
    #[expect(clippy::reversed_empty_ranges, reason = "the mistake to be refused")]
    for range in [0..5, 5..5, 3..2] {
        let read = fixture.read(&digest, Some(range)).await;
        assert!(matches!(read, Err(BlobError::Range { size: 4, .. })));
    }
}

async fn what_is_not_there_is_not_found(fixture: Fixture) {
    let digest = sha256(b"never stored");
    assert_eq!(fixture.stat(&digest).await, None);
    let read = fixture.read(&digest, None).await;
    assert!(matches!(read, Err(BlobError::NotFound(missing)) if missing == digest));
    assert!(!fixture.store.delete(&digest).await.expect("delete"));
    assert_eq!(fixture.list(10).await, []);
}

async fn nothing_is_visible_before_the_commit(fixture: Fixture) {
    let content = content(5, BEYOND);
    let digest = sha256(&content);
    let mut staging = fixture.stage(CLIENT).await;
    let chunk = Bytes::from(content.clone());
    staging.append(vec![chunk]).await.expect("append");
    assert_eq!(staging.size(), BEYOND as u64);
    assert_eq!(fixture.stat(&digest).await, None);
    assert_eq!(fixture.list(10).await, []);
    let committed = staging.commit(Expected::Digest(digest)).await;
    assert_eq!(committed.expect("commit").size, BEYOND as u64);
    assert!(fixture.read(&digest, None).await.expect("blob") == content);
}

async fn wrong_content_leaves_nothing(fixture: Fixture) {
    for length in [3, BEYOND] {
        let content = content(6, length);
        let claimed = sha256(b"something else");
        let refused = fixture
            .put(&content, 9_999, CLIENT, Expected::Digest(claimed))
            .await
            .expect_err("wrong content");
        let BlobError::DigestMismatch { expected, actual } = refused else {
            panic!("{refused}");
        };
        assert_eq!((*expected, *actual), (claimed, sha256(&content)));
        assert_eq!(fixture.list(10).await, []);
        fixture.nothing_staged().await;
    }
}

async fn a_wrong_copy_leaves_nothing(fixture: Fixture) {
    let content = content(7, BEYOND);
    let (digest, size, root) = (sha256(&content), BEYOND as u64, root(&content));
    let wrong_root = root.map(|byte| byte ^ 1);
    for (size, root) in [(size, wrong_root), (size + 1, root)] {
        let expected = Expected::Root { digest, size, root };
        let copied = fixture.put(&content, 9_999, Hashing::Root, expected).await;
        assert!(matches!(copied, Err(BlobError::RootMismatch { .. })));
    }
    // A right root under a digest that was hashed and is another.
    let expected = Expected::Root {
        digest: sha256(b"something else"),
        size,
        root,
    };
    let copied = fixture.put(&content, 9_999, CLIENT, expected).await;
    assert!(matches!(copied, Err(BlobError::DigestMismatch { .. })));
    assert_eq!(fixture.list(10).await, []);
    fixture.nothing_staged().await;
}

async fn a_copy_is_proven_by_its_root(fixture: Fixture) {
    let content = content(8, BEYOND);
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = Digest::of(algorithm, &content);
        let expected = Expected::Root {
            digest,
            size: BEYOND as u64,
            root: root(&content),
        };
        let copied = fixture.put(&content, 9_999, Hashing::Root, expected).await;
        assert_eq!(copied.expect("commit").digest, digest);
        assert!(fixture.read(&digest, None).await.expect("blob") == content);
    }
}

async fn a_digest_that_was_not_hashed_is_read_back(fixture: Fixture) {
    for length in [0, 3, 2 * READ_BYTES, BEYOND] {
        let content = content(9, length);
        for hashing in [CLIENT, Hashing::Root] {
            let claimed = Digest::of(Algorithm::Sha512, b"something else");
            let refused = fixture
                .put(&content, 9_999, hashing, Expected::Digest(claimed))
                .await;
            assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })));
            let digest = Digest::of(Algorithm::Sha512, &content);
            let committed = fixture
                .put(&content, 9_999, hashing, Expected::Digest(digest))
                .await;
            assert_eq!(committed.expect("commit").root, root(&content));
            assert!(fixture.read(&digest, None).await.expect("blob") == content);
        }
    }
    fixture.nothing_staged().await;
}

async fn the_hashes_so_far_are_known_at_any_time(fixture: Fixture) {
    let content = content(10, 5 * READ_BYTES);
    let mut staging = fixture.stage(CLIENT).await;
    let mut copy = fixture.stage(Hashing::Root).await;
    let mut accepted = 0;
    for chunk in content.chunks(READ_BYTES / 3 * 2) {
        let chunk = Bytes::copy_from_slice(chunk);
        accepted += chunk.len();
        staging.append(vec![chunk.clone()]).await.expect("append");
        copy.append(vec![chunk]).await.expect("append");
        let so_far = &content[..accepted];
        assert_eq!(staging.size(), accepted as u64);
        assert_eq!(staging.digest(), Some(sha256(so_far)));
        assert_eq!(staging.root(), root(so_far));
        assert_eq!((copy.digest(), copy.root()), (None, root(so_far)));
    }
}

async fn a_dropped_staging_leaves_nothing(fixture: Fixture) {
    for length in [0, 3, READ_BYTES, 3 * READ_BYTES] {
        let mut staging = fixture.stage(CLIENT).await;
        let chunk = Bytes::from(content(11, length));
        staging.append(vec![chunk]).await.expect("append");
        drop(staging);
        fixture.nothing_staged().await;
    }
    assert_eq!(fixture.list(10).await, []);
}

async fn a_discarded_staging_leaves_nothing(fixture: Fixture) {
    let mut staging = fixture.stage(CLIENT).await;
    let chunk = Bytes::from(content(12, 3 * READ_BYTES));
    staging.append(vec![chunk]).await.expect("append");
    staging.discard().await;
    fixture.nothing_staged().await;
    assert_eq!(fixture.list(10).await, []);
}

async fn a_cancelled_append_has_accepted_what_it_says(fixture: Fixture) {
    let content = content(13, 8 * READ_BYTES);
    let mut staging = fixture.stage(CLIENT).await;
    let chunks = content.chunks(READ_BYTES).map(Bytes::copy_from_slice);
    let _ = staging.append(chunks.collect()).now_or_never();
    let accepted = usize::try_from(staging.size()).expect("fits");
    assert!(accepted > 0);
    // The client goes on from there.
    let rest = Bytes::copy_from_slice(&content[accepted..]);
    staging.append(vec![rest]).await.expect("append");
    let digest = sha256(&content);
    let committed = staging.commit(Expected::Digest(digest)).await;
    assert_eq!(committed.expect("commit").size, content.len() as u64);
    assert!(fixture.read(&digest, None).await.expect("blob") == content);
}

async fn a_blob_can_be_committed_twice(fixture: Fixture) {
    for length in [0, 3, BEYOND] {
        let content = content(14, length);
        let first = fixture.upload(&content).await.expect("commit");
        let second = fixture.upload(&content).await.expect("commit again");
        assert_eq!(first, second);
        let digest = sha256(&content);
        assert!(fixture.read(&digest, None).await.expect("blob") == content);
    }
    assert_eq!(fixture.list(10).await.len(), 3);
    fixture.nothing_staged().await;
}

async fn commits_of_one_digest_do_not_hurt_each_other(fixture: Fixture) {
    const COMMITS: usize = 16;
    let content = content(15, READ_BYTES + 1);
    let commits = future::join_all((0..COMMITS).map(|_| fixture.upload(&content))).await;
    for committed in commits {
        assert_eq!(committed.expect("commit").root, root(&content));
    }
    let digest = sha256(&content);
    assert!(fixture.read(&digest, None).await.expect("blob") == content);
    assert_eq!(fixture.list(10).await.len(), 1);
    fixture.nothing_staged().await;
}

async fn a_list_is_in_order_and_complete(fixture: Fixture) {
    let mut expected = Vec::new();
    for number in 0..40 {
        let content = content(number, 10);
        let algorithm = match number % 4 {
            0 => Algorithm::Sha512,
            _ => Algorithm::Sha256,
        };
        let digest = Digest::of(algorithm, &content);
        let hashing = Hashing::Client(algorithm);
        let committed = fixture
            .put(&content, 10, hashing, Expected::Digest(digest))
            .await;
        expected.push(committed.expect("commit").digest);
    }
    expected.sort();
    for limit in [1, 7, 40, usize::MAX] {
        let listed = fixture.list(limit).await;
        let digests: Vec<Digest> = listed.iter().map(|stat| stat.digest).collect();
        assert_eq!(digests, expected);
        assert!(listed.iter().all(|stat| stat.size == 10));
    }
    assert_eq!(fixture.store.list(None, 0).await.expect("page"), []);
}

async fn a_deleted_blob_is_gone(fixture: Fixture) {
    let digest = fixture.upload(b"content").await.expect("commit").digest;
    assert!(fixture.store.delete(&digest).await.expect("delete"));
    assert!(!fixture.store.delete(&digest).await.expect("delete"));
    assert_eq!(fixture.stat(&digest).await, None);
    assert_eq!(fixture.list(10).await, []);
    fixture.upload(b"content").await.expect("commit again");
    assert_eq!(fixture.read(&digest, None).await.expect("blob"), b"content");
}

async fn a_blob_that_is_deleted_is_read_to_its_end(fixture: Fixture) {
    let content = content(16, 4 * READ_BYTES);
    let digest = fixture.upload(&content).await.expect("commit").digest;
    let (_, mut stream) = fixture.store.open(&digest, None).await.expect("open");
    let first = stream.next().await.expect("piece").expect("readable");
    assert!(fixture.store.delete(&digest).await.expect("delete"));
    let rest = drain(stream).await.expect("readable");
    assert!([first.to_vec(), rest].concat() == content);
}
