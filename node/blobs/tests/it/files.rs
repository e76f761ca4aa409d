//! What only a store of files has: a directory, a lock, a disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use entrepot_blobs::{Abandoned, BlobError, BlobStore, Expected, FileStore, Hashing, READ_BYTES};
use entrepot_oci::{Algorithm, Digest};
use futures::future;
use tempfile::TempDir;

use crate::fixture::{CLIENT, Fixture, content, drain, sha256, staging_files};

#[tokio::test]
async fn blobs_survive_a_restart() {
    let fixture = Fixture::file().await;
    let content = content(1, 2 * READ_BYTES);
    let digest = fixture.upload(&content).await.expect("commit").digest;
    let fixture = fixture.reopen().await;
    assert!(fixture.read(&digest, None).await.expect("blob") == content);
}

#[tokio::test]
async fn a_blob_that_was_replaced_or_deleted_is_not_served_from_memory() {
    let directory = TempDir::new().expect("temporary directory");
    let store = FileStore::open(directory.path()).await.expect("new store");
    let content = content(1, 2 * READ_BYTES);
    let digest = put(&store, &content).await;
    for _ in 0..2 {
        assert!(read(&store, &digest).await.expect("blob") == content);
    }

    // Its length is wrong, so that the next commit puts a new file in its place.
    let path = blob_path(directory.path(), &digest);
    fs::write(&path, "damaged").expect("damage");
    put(&store, &content).await;
    assert!(read(&store, &digest).await.expect("blob") == content);

    assert!(store.delete(&digest).await.expect("delete"));
    let gone = store.open(&digest, None).await.map(drop);
    assert!(matches!(gone, Err(BlobError::NotFound(_))), "{gone:?}");
}

#[tokio::test]
async fn stale_staging_is_deleted_at_the_start() {
    let directory = TempDir::new().expect("temporary directory");
    drop(FileStore::open(directory.path()).await.expect("new store"));
    fs::write(directory.path().join("staging/left"), "torn").expect("stale file");
    let store = FileStore::open(directory.path()).await.expect("store");
    assert_eq!(staging_files(directory.path()), 0);
    assert_eq!(store.list(None, 10).await.expect("page"), []);
}

#[tokio::test]
async fn missing_parents_are_made() {
    let directory = TempDir::new().expect("temporary directory");
    let path = directory.path().join("a/b/blobs");
    FileStore::open(&path).await.expect("new store");
    assert!(path.join("format").is_file());
}

#[tokio::test]
async fn a_store_is_open_once() {
    let directory = TempDir::new().expect("temporary directory");
    let first = FileStore::open(directory.path()).await.expect("new store");
    let second = FileStore::open(directory.path()).await;
    assert!(matches!(second, Err(BlobError::Locked { .. })));
    drop(first);
    FileStore::open(directory.path()).await.expect("free again");
}

#[tokio::test]
async fn another_format_is_refused_and_left_alone() {
    for format in ["entrepot-blobs 2\n", "something else", ""] {
        let directory = TempDir::new().expect("temporary directory");
        drop(FileStore::open(directory.path()).await.expect("new store"));
        let stale = directory.path().join("staging/other");
        fs::write(&stale, "theirs").expect("file of the other release");
        fs::write(directory.path().join("format"), format).expect("other format");
        let opened = FileStore::open(directory.path()).await;
        assert!(matches!(opened, Err(BlobError::Format { found, .. }) if found == format));
        assert!(stale.exists());
    }
}

#[tokio::test]
async fn blobs_without_a_format_are_refused() {
    let directory = TempDir::new().expect("temporary directory");
    fs::create_dir(directory.path().join("sha256")).expect("foreign directory");
    let opened = FileStore::open(directory.path()).await;
    assert!(matches!(opened, Err(BlobError::Format { .. })));
}

#[tokio::test]
async fn foreign_files_are_not_listed() {
    let directory = TempDir::new().expect("temporary directory");
    let store = FileStore::open(directory.path()).await.expect("new store");
    fs::write(directory.path().join("sha256/ab/README"), "?").expect("foreign file");
    assert_eq!(store.list(None, 10).await.expect("page"), []);
}

/// Content of the right digest replaces whatever a damaged file system has made
/// of it.
#[tokio::test]
async fn a_damaged_blob_is_replaced() {
    let directory = TempDir::new().expect("temporary directory");
    let store = FileStore::open(directory.path()).await.expect("new store");
    for (seed, length) in [(2, 100), (3, READ_BYTES), (4, 2 * READ_BYTES)] {
        let content = content(seed, length);
        let mut flipped = content.clone();
        flipped[length - 1] ^= 1;
        let mut longer = content.clone();
        longer.push(0);
        for damaged in [&content[..length / 2], &flipped, &longer] {
            let path = blob_path(directory.path(), &sha256(&content));
            fs::write(&path, damaged).expect("damaged file");
            let digest = put(&store, &content).await;
            assert!(fs::read(&path).expect("blob") == content);
            assert!(read(&store, &digest).await.expect("blob") == content);
        }
    }
    // By a digest that is not hashed while the bytes arrive.
    let content = content(5, 100);
    let digest = Digest::of(Algorithm::Sha512, &content);
    let path = directory.path().join("sha512").join(&digest.hex()[..2]);
    fs::write(path.join(digest.hex()), [0; 100]).expect("damaged file");
    let mut staging = store.stage(CLIENT).await.expect("staging");
    let chunk = Bytes::from(content.clone());
    staging.append(vec![chunk]).await.expect("append");
    let committed = staging.commit(Expected::Digest(digest)).await;
    assert_eq!(committed.expect("commit").size, 100);
    assert!(read(&store, &digest).await.expect("blob") == content);
}

/// A file that ends before the blob's size ends the stream with an error, never
/// early and silently.
#[tokio::test]
async fn a_blob_truncated_under_a_reader_is_an_error() {
    let directory = TempDir::new().expect("temporary directory");
    let store = FileStore::open(directory.path()).await.expect("new store");
    let content = content(3, 4 * READ_BYTES);
    let digest = sha256(&content);
    let mut staging = store.stage(CLIENT).await.expect("staging");
    let chunk = Bytes::from(content);
    staging.append(vec![chunk]).await.expect("append");
    let committed = staging.commit(Expected::Digest(digest)).await;
    committed.expect("commit");
    let (_, stream) = store.open(&digest, None).await.expect("open");
    let hex = digest.hex();
    let path = directory.path().join("sha256").join(&hex[..2]).join(&hex);
    let file = fs::File::options().write(true).open(path).expect("file");
    file.set_len(READ_BYTES as u64 + 1).expect("truncate");
    let read = crate::fixture::drain(stream).await;
    let failed = read.expect_err("torn").kind();
    assert_eq!(failed, std::io::ErrorKind::InvalidData);
}

/// Bytes that are counted while anyone holds them.
struct Counted {
    bytes: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl Counted {
    fn chunk(bytes: usize, held: &Arc<AtomicUsize>) -> Bytes {
        held.fetch_add(bytes, Ordering::SeqCst);
        Bytes::from_owner(Self {
            bytes: vec![1; bytes],
            held: Arc::clone(held),
        })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_upload_holds_two_batches_at_most() {
    const CHUNK_BYTES: usize = 64 * 1024;
    const HELD_BYTES_MAX: usize = 2 * 1024 * 1024 + CHUNK_BYTES;
    let fixture = Fixture::file().await;
    let held = Arc::new(AtomicUsize::new(0));
    let mut staging = fixture.stage(Hashing::Root).await;
    for _ in 0..1024 {
        let chunk = Counted::chunk(CHUNK_BYTES, &held);
        staging.append(vec![chunk]).await.expect("append");
        assert!(held.load(Ordering::SeqCst) <= HELD_BYTES_MAX);
    }
    staging.discard().await;
    assert_eq!(held.load(Ordering::SeqCst), 0);
}

/// A stat that comes between the rename and the sync of a concurrent commit sees
/// to the sync itself; none of the two gets stuck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_stats_deletes_and_lists_may_meet() {
    let fixture = Fixture::file().await;
    let contents: Vec<Vec<u8>> = (0..4).map(|seed| content(seed, 2_000)).collect();
    let work = (0..200_usize).map(|number| {
        let content = &contents[number % contents.len()];
        let fixture = &fixture;
        async move {
            let digest = sha256(content);
            match number % 5 {
                0 | 1 => {
                    fixture.upload(content).await.expect("commit");
                }
                2 => {
                    fixture.stat(&digest).await;
                }
                3 => {
                    fixture.store.delete(&digest).await.expect("delete");
                }
                _ => {
                    fixture.list(3).await;
                }
            }
            match fixture.read(&digest, None).await {
                Ok(read) => assert!(read == *content),
                Err(error) => assert!(matches!(error, BlobError::NotFound(_))),
            }
        }
    });
    crate::fixture::within("all of it", future::join_all(work)).await;
    fixture.nothing_staged().await;
}

/// What the metadata needs stays free, and what is there can be read.
#[tokio::test]
async fn blobs_do_not_take_the_reserve() {
    let directory = TempDir::new().expect("temporary directory");
    let open = async |reserve_bytes| {
        let store = FileStore::open_reserving(directory.path(), reserve_bytes).await;
        store.expect("store")
    };
    let room = async |store: &FileStore| store.room_bytes().await.expect("room").expect("counted");
    let store = open(0).await;
    let kept = content(1, 10_000);
    let digest = put(&store, &kept).await;
    let all = room(&store).await;
    drop(store);
    let store = open(all / 2).await;
    assert!(room(&store).await < all);
    drop(store);

    let store = open(u64::MAX).await;
    assert_eq!(room(&store).await, 0);
    for length in [1, READ_BYTES, 3 * READ_BYTES] {
        let content = content(length as u64, length);
        let mut staging = store.stage(CLIENT).await.expect("staging");
        let appended = staging.append(vec![Bytes::from(content.clone())]).await;
        let committed = match appended {
            Ok(()) => staging.commit(Expected::Digest(sha256(&content))).await,
            Err(error) => Err(error),
        };
        assert!(matches!(committed, Err(BlobError::Full)), "{committed:?}");
    }
    assert_eq!(crate::fixture::staging_files(directory.path()), 0);
    assert_eq!(read(&store, &digest).await.expect("blob"), kept);
}

/// A disk that is really full. Needs root, to mount one.
#[tokio::test]
async fn a_full_file_system_is_reported_and_stays_usable() {
    let directory = TempDir::new().expect("temporary directory");
    let mounted = Tmpfs::mount(directory.path(), "size=4m");
    let store = FileStore::open(mounted.path()).await.expect("new store");
    let room = async || store.room_bytes().await.expect("room").expect("counted");
    let (stored, whole) = (3 * READ_BYTES as u64, 4 * READ_BYTES as u64);
    assert!((stored..whole).contains(&room().await));
    for length in [3 * READ_BYTES, 8 * READ_BYTES] {
        let content = content(length as u64, length);
        let mut staging = store.stage(CLIENT).await.expect("staging");
        let appended = staging.append(vec![Bytes::from(content.clone())]).await;
        let committed = match appended {
            Ok(()) => staging.commit(Expected::Digest(sha256(&content))).await,
            Err(error) => Err(error),
        };
        let fits = length < 4 * READ_BYTES;
        assert_eq!(committed.is_ok(), fits);
        assert!(fits || matches!(committed, Err(BlobError::Full)));
    }
    assert_eq!(store.list(None, 10).await.expect("page").len(), 1);
    assert!(room().await < whole - stored);
    let first = store.list(None, 10).await.expect("page")[0].digest;
    assert!(store.delete(&first).await.expect("delete"));
    drop(store);
}

struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(path: &'a Path, options: &str) -> Self {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path);
        let mounted = mount.status().is_ok_and(|status| status.success());
        assert!(mounted, "cannot mount a tmpfs: run this test as root");
        Self(path)
    }

    fn path(&self) -> &Path {
        self.0
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        // No assertion: a second panic while unwinding would hide the first.
        let _ = Command::new("umount").arg(self.0).status();
    }
}

async fn put(store: &FileStore, content: &[u8]) -> Digest {
    let mut staging = store.stage(CLIENT).await.expect("new staging");
    for piece in content.chunks(READ_BYTES) {
        let piece = Bytes::copy_from_slice(piece);
        staging.append(vec![piece]).await.expect("append");
    }
    let digest = sha256(content);
    staging
        .commit(Expected::Digest(digest))
        .await
        .expect("commit");
    digest
}

async fn read(store: &FileStore, digest: &Digest) -> std::io::Result<Vec<u8>> {
    let (_, stream) = store.open(digest, None).await.expect("blob");
    drain(stream).await
}

fn blob_path(directory: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    directory.join("sha256").join(&hex[..2]).join(hex)
}

#[tokio::test]
async fn what_nobody_brings_in_any_more_goes_and_nothing_else() {
    let directory = TempDir::new().expect("temporary directory");
    let store = FileStore::open(directory.path()).await.expect("new store");
    let staging_of = |name: &str| directory.path().join("staging").join(name);
    let abandoned = async |idle, delete| store.abandoned(idle, delete).await.expect("look");
    let hashing = Hashing::Client(Algorithm::Sha256);
    let mut alive = store.stage(hashing).await.expect("staging");
    let content = content(1, 8 * READ_BYTES);
    alive
        .append(vec![content.clone().into()])
        .await
        .expect("append");
    fs::write(staging_of("left"), "torn").expect("a file of nobody");
    assert_eq!(
        abandoned(Duration::from_hours(1), true).await,
        Abandoned::default()
    );
    let left = Abandoned {
        files: 1,
        bytes: 4,
        failed: 0,
    };
    assert_eq!(abandoned(Duration::ZERO, false).await, left);
    assert_eq!(abandoned(Duration::ZERO, true).await, left);
    assert_eq!(abandoned(Duration::ZERO, true).await, Abandoned::default());
    assert!(!staging_of("left").exists());
    // A directory is no file that can be removed: what else there is goes.
    fs::create_dir(staging_of("stays")).expect("a directory");
    fs::write(staging_of("left"), "torn").expect("a file of nobody");
    let some = Abandoned { failed: 1, ..left };
    assert_eq!(abandoned(Duration::ZERO, true).await, some);
    assert!(!staging_of("left").exists());
    let committed = alive.commit(Expected::Digest(sha256(&content))).await;
    assert_eq!(committed.expect("commit").size, 8 * READ_BYTES as u64);
}
