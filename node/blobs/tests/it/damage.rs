//! Bytes that change on the disk: never served, found, and moved aside.

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use entrepot_blobs::{
    BlobError, BlobStore, Expected, Fault, Faults, FileStore, GROUP_BYTES, Operation, READ_BYTES,
    Tree, UNWRITTEN_BYTES_MAX, Verified,
};
use entrepot_oci::Digest;
use futures::StreamExt;
use tempfile::TempDir;

use crate::{
    conformance::over_both_stores,
    fixture::{CLIENT, Fixture, content, drain, root, sha256},
};

over_both_stores! {
    what_is_right_is_verified_to_its_end,
    what_cannot_be_read_is_moved_aside,
    a_blob_has_its_tree,
    what_is_staged_can_be_read_back,
}

struct Disk {
    directory: TempDir,
    store: FileStore,
    faults: Faults,
}

// === impl Disk ===

impl Disk {
    async fn new() -> Self {
        let directory = TempDir::new().expect("temporary directory");
        let faults = Faults::default();
        let store = FileStore::open_with(directory.path(), faults.clone()).await;
        Self {
            store: store.expect("new store"),
            directory,
            faults,
        }
    }

    async fn restart(self) -> Self {
        let Self {
            directory,
            store,
            faults,
        } = self;
        drop(store);
        let store = FileStore::open_with(directory.path(), faults.clone()).await;
        Self {
            store: store.expect("store opens again"),
            directory,
            faults,
        }
    }

    async fn put(&self, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let mut staging = self.store.stage(CLIENT).await.expect("staging");
        let chunk = Bytes::copy_from_slice(content);
        staging.append(vec![chunk]).await.expect("append");
        staging
            .commit(Expected::Digest(digest))
            .await
            .expect("commit");
        digest
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let shard = self
            .directory
            .path()
            .join("sha256")
            .join(&digest.hex()[..2]);
        shard.join(digest.hex())
    }

    fn tree_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension("tree")
    }

    fn quarantined(&self) -> usize {
        let entries = fs::read_dir(self.directory.path().join("quarantine"));
        assert_eq!(
            entries.expect("quarantine").count() as u64,
            self.store.metrics().quarantined.get()
        );
        usize::try_from(self.store.metrics().quarantined.get()).expect("few")
    }

    async fn read(&self, digest: &Digest) -> Result<Vec<u8>, String> {
        match self.store.open(digest, None).await {
            Ok((_, stream)) => drain(stream).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn is_gone(&self, digest: &Digest) -> bool {
        self.store.stat(digest).await.expect("stat").is_none()
    }
}

fn flip(path: &Path, offset: usize) {
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("file");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset as u64)).expect("seek");
    file.read_exact(&mut byte).expect("byte");
    file.seek(SeekFrom::Start(offset as u64)).expect("seek");
    file.write_all(&[byte[0] ^ 0x10]).expect("flipped byte");
}

const LARGE: usize = 5 * READ_BYTES + 77;

#[tokio::test]
async fn a_flipped_bit_is_never_served_and_moves_the_copy_aside() {
    for (length, place) in [
        (1, 0),
        (5_000, 4_999),
        (READ_BYTES, 70_000),
        (READ_BYTES + 1, READ_BYTES),
        (LARGE, 3),
        (LARGE, LARGE - 1),
    ] {
        for read_before in [false, true] {
            let disk = Disk::new().await;
            let content = content(1, length);
            let digest = disk.put(&content).await;
            if read_before {
                assert!(disk.read(&digest).await.expect("blob") == content);
            }
            flip(&disk.path(&digest), place);
            let error = disk.read(&digest).await.expect_err("wrong bytes");
            assert!(error.contains("damaged"), "{error}");
            assert_eq!(disk.quarantined(), 1);
            assert!(disk.is_gone(&digest).await);
            // The right bytes take its place.
            disk.put(&content).await;
            assert!(disk.read(&digest).await.expect("blob") == content);
        }
    }
}

#[tokio::test]
async fn what_comes_before_the_damage_is_right() {
    let disk = Disk::new().await;
    let content = content(2, LARGE);
    let digest = disk.put(&content).await;
    let place = 3 * READ_BYTES + 9;
    flip(&disk.path(&digest), place);
    let (_, mut stream) = disk.store.open(&digest, None).await.expect("begins well");
    let mut received = Vec::new();
    let error = loop {
        match stream.next().await.expect("an error ends it") {
            Ok(piece) => received.extend_from_slice(&piece),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(received == content[..3 * READ_BYTES]);
    assert!(stream.next().await.is_none());
}

/// A part needs no more than the groups it lies in.
#[tokio::test]
async fn a_part_beside_the_damage_is_served() {
    let disk = Disk::new().await;
    let content = content(3, LARGE);
    let digest = disk.put(&content).await;
    flip(&disk.path(&digest), 2 * GROUP_BYTES);
    for range in [0..2 * GROUP_BYTES, 3 * GROUP_BYTES..LARGE, 5..6] {
        let wanted = range.start as u64..range.end as u64;
        let (_, stream) = disk.store.open(&digest, Some(wanted)).await.expect("part");
        assert!(drain(stream).await.expect("part") == content[range]);
    }
    assert_eq!(disk.quarantined(), 0);
    let wanted = 3 * GROUP_BYTES as u64 - 1..3 * GROUP_BYTES as u64;
    let hit = disk.store.open(&digest, Some(wanted)).await.map(drop);
    assert!(matches!(hit, Err(BlobError::Damaged(_))), "{hit:?}");
    assert_eq!(disk.quarantined(), 1);
}

#[tokio::test]
async fn who_is_reading_while_the_file_changes_gets_no_end() {
    let disk = Disk::new().await;
    let content = content(4, LARGE);
    let digest = disk.put(&content).await;
    // All of it is proven and in memory: it is mapped now.
    assert!(disk.read(&digest).await.expect("blob") == content);
    let (_, mut stream) = disk.store.open(&digest, None).await.expect("open");
    stream.next().await.expect("piece").expect("readable");
    flip(&disk.path(&digest), LARGE - 1);
    assert!(drain(stream).await.is_err());
}

#[tokio::test]
async fn a_shorter_file_is_damaged() {
    for length in [5_000, LARGE] {
        let disk = Disk::new().await;
        let content = content(5, length);
        let digest = disk.put(&content).await;
        let file = fs::File::options().write(true).open(disk.path(&digest));
        file.expect("file")
            .set_len(length as u64 - 1)
            .expect("shorter");
        assert!(disk.read(&digest).await.is_err());
        assert_eq!(disk.quarantined(), 1);
    }
}

/// As in the data folder of a release that kept none, or after a power cut.
#[tokio::test]
async fn a_tree_that_is_missing_or_torn_is_made_again() {
    let mut disk = Disk::new().await;
    let content = content(6, LARGE);
    let digest = disk.put(&content).await;
    let path = disk.tree_path(&digest);
    let right = fs::read(&path).expect("tree");
    assert_eq!(Tree::decode(&right), Some(Tree::of(&content)));
    let mut damaged = right.clone();
    damaged[60] ^= 1;
    for wrong in [None, Some(&right[..100]), Some(&[][..]), Some(&damaged[..])] {
        match wrong {
            Some(wrong) => fs::write(&path, wrong).expect("other tree"),
            None => fs::remove_file(&path).expect("tree"),
        }
        disk = disk.restart().await;
        assert!(disk.read(&digest).await.expect("blob") == content);
        assert!(fs::read(&path).expect("tree") == right);
        assert_eq!(disk.store.metrics().trees_made.get(), 1);
    }
    // Without its tree, the digest proves it.
    fs::remove_file(&path).expect("tree");
    flip(&disk.path(&digest), 0);
    disk = disk.restart().await;
    assert!(disk.read(&digest).await.is_err());
    assert_eq!(disk.quarantined(), 1);
}

#[tokio::test]
async fn a_deleted_blob_takes_its_tree_along() {
    let disk = Disk::new().await;
    let digest = disk.put(&content(7, LARGE)).await;
    assert!(disk.store.delete(&digest).await.expect("delete"));
    assert!(!disk.tree_path(&digest).exists());
    assert_eq!(disk.store.list(None, 10).await.expect("page"), []);
}

#[tokio::test]
async fn a_scrub_finds_what_nobody_reads() {
    let disk = Disk::new().await;
    let content = content(8, LARGE);
    let digest = disk.put(&content).await;
    flip(&disk.path(&digest), 4 * READ_BYTES);
    let half = 2 * READ_BYTES as u64;
    let first = disk
        .store
        .verify(&digest, 0, half)
        .await
        .expect("first half");
    assert_eq!((first.end, first.size), (half, LARGE as u64));
    let second = disk.store.verify(&digest, first.end, u64::MAX).await;
    assert!(matches!(second, Err(BlobError::Damaged(found)) if found == digest));
    assert!(disk.is_gone(&digest).await);
    assert_eq!(disk.quarantined(), 1);
}

/// One error may pass; what fails twice is damaged.
#[tokio::test]
async fn a_read_that_fails_once_condemns_nothing() {
    let disk = Disk::new().await;
    let digest = disk.put(&content(9, 5_000)).await;
    disk.faults.fail(Operation::Read, Fault::Broken);
    let verified = disk.store.verify(&digest, 0, u64::MAX).await;
    assert!(verified.is_ok(), "{verified:?}");
    assert_eq!(disk.quarantined(), 0);
}

#[tokio::test]
async fn the_quarantine_keeps_the_newest_few() {
    const DAMAGED: u64 = 40;
    let disk = Disk::new().await;
    for seed in 0..DAMAGED {
        let digest = disk.put(&content(seed, 10)).await;
        flip(&disk.path(&digest), 5);
        disk.store
            .verify(&digest, 0, 10)
            .await
            .expect_err("damaged");
    }
    assert_eq!(disk.store.metrics().quarantined.get(), DAMAGED);
    let kept = fs::read_dir(disk.directory.path().join("quarantine"));
    assert_eq!(kept.expect("quarantine").count(), 32);
}

async fn what_is_right_is_verified_to_its_end(fixture: Fixture) {
    for length in [0, 1, READ_BYTES, READ_BYTES + 1, LARGE] {
        let content = content(10, length);
        let digest = fixture.upload(&content).await.expect("commit").digest;
        let mut offset = 0;
        loop {
            let step = fixture
                .store
                .verify(&digest, offset, 1)
                .await
                .expect("right");
            assert_eq!(step.size, length as u64);
            if step.end == step.size {
                break;
            }
            assert!(step.end > offset);
            offset = step.end;
        }
        let beyond = fixture.store.verify(&digest, u64::MAX, u64::MAX).await;
        let size = length as u64;
        assert_eq!(beyond.expect("right"), Verified { size, end: size });
    }
    let missing = fixture.store.verify(&sha256(b"never stored"), 0, 1).await;
    assert!(matches!(missing, Err(BlobError::NotFound(_))));
}

async fn what_cannot_be_read_is_moved_aside(fixture: Fixture) {
    let digest = fixture.upload(b"content").await.expect("commit").digest;
    for _ in 0..2 {
        fixture.faults.fail(Operation::Read, Fault::Broken);
    }
    let verified = fixture.store.verify(&digest, 0, 100).await;
    assert!(
        matches!(verified, Err(BlobError::Damaged(_))),
        "{verified:?}"
    );
    assert_eq!(fixture.stat(&digest).await, None);
}

async fn a_blob_has_its_tree(fixture: Fixture) {
    for length in [0, 1, READ_BYTES, READ_BYTES + 1, LARGE] {
        let content = content(11, length);
        let digest = fixture.upload(&content).await.expect("commit").digest;
        let tree = fixture.store.tree(&digest).await.expect("blob is here");
        assert_eq!((tree.root(), tree.size()), (root(&content), length as u64));
    }
    let missing = fixture.store.tree(&sha256(b"never stored")).await;
    assert!(matches!(missing, Err(BlobError::NotFound(_))));
}

/// Whatever becomes of the staging.
async fn what_is_staged_can_be_read_back(fixture: Fixture) {
    let content = content(12, 8 * READ_BYTES);
    let written = content.len() as u64 - UNWRITTEN_BYTES_MAX;
    let mut staging = fixture.stage(CLIENT).await;
    let staged = staging.read_back();
    for chunk in content.chunks(GROUP_BYTES) {
        let chunk = Bytes::copy_from_slice(chunk);
        staging.append(vec![chunk]).await.expect("append");
    }
    for commit in [false, true] {
        for start in [0, 5, written - READ_BYTES as u64] {
            let end = start + READ_BYTES as u64;
            let read = staged.read(start..end).await.expect("written");
            let within = usize::try_from(start).expect("fits");
            assert!(read == content[within..within + READ_BYTES], "{commit}");
        }
        if commit {
            break;
        }
        staging = {
            let expected = Expected::Digest(sha256(&content));
            staging.commit(expected).await.expect("commit");
            fixture.stage(CLIENT).await
        };
    }
}
