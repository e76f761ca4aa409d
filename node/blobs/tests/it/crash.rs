//! What a killed process, and a machine whose power was cut, leave behind.
//!
//! A child process stores blobs and prints the digest of each one after its
//! commit. Whatever was printed must be there afterwards; whatever is there must
//! be whole.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use entrepot_blobs::{BlobStore, Expected, FileStore, Hashing};
use entrepot_oci::{Algorithm, Digest};
use futures::{StreamExt, stream};
use tempfile::TempDir;

use crate::fixture::{CLIENT, content, drain, root, sha256, staging_files};

const DIRECTORY: &str = "ENTREPOT_BLOBS_CRASH_DIRECTORY";
const SEED: &str = "ENTREPOT_BLOBS_CRASH_SEED";
const MARK: &str = "committed ";
const CONCURRENT_UPLOADS: usize = 8;

#[tokio::test]
async fn a_killed_process_leaves_whole_blobs() {
    const ROUNDS: u32 = 4;
    let directory = TempDir::new().expect("temporary directory");
    let mut committed = Vec::new();
    for round in 0..ROUNDS {
        let mut writer = Writer::start(directory.path(), round);
        committed.extend(writer.committed(20 + 30 * round));
        committed.extend(writer.kill());
        verify(directory.path(), &committed).await;
    }
}

/// Cuts the power of an ext4 file system under the writer: everything that was
/// not synced is lost. Needs root, a loop device, and python3 for one ioctl.
/// `ROUNDS` sets how often.
#[tokio::test]
async fn a_power_cut_loses_nothing_committed() {
    let rounds = env::var("ROUNDS").map_or(5, |rounds| rounds.parse().expect("a number"));
    let directory = TempDir::new().expect("temporary directory");
    let image = directory.path().join("image");
    let mount = directory.path().join("mount");
    fs::create_dir(&mount).expect("mount point");
    shell(&format!(
        "truncate -s 2G {0} && mkfs.ext4 -q -F {0}",
        image.display()
    ));
    let mut committed = Vec::new();
    for round in 0..rounds {
        let mounted = Mounted::new(&image, &mount);
        let mut writer = Writer::start(&mount, round);
        committed.extend(writer.committed(5 + (round * 37) % 150));
        mounted.cut_power();
        committed.extend(writer.kill());
        drop(mounted);
        let _mounted = Mounted::new(&image, &mount);
        verify(&mount, &committed).await;
    }
    eprintln!("{rounds} power cuts, {} blobs", committed.len());
}

async fn verify(directory: &Path, committed: &[Digest]) {
    let store = FileStore::open(directory).await.expect("store opens");
    assert_eq!(staging_files(directory), 0);
    for digest in committed {
        let stat = store.stat(digest).await.expect("stat");
        assert!(stat.is_some(), "{digest} was committed and is lost");
    }
    let listed = store.list(None, usize::MAX).await.expect("page");
    for found in listed {
        let (stat, stream) = store.open(&found.digest, None).await.expect("open");
        let content = drain(stream).await.expect("readable");
        assert_eq!(stat, found);
        assert_eq!(Digest::of(stat.digest.algorithm(), &content), stat.digest);
    }
}

/// A mounted image, unmounted whatever the test comes to.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(image: &Path, at: &'a Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(image).arg(at);
        let mounted = mount.status().is_ok_and(|status| status.success());
        assert!(mounted, "cannot mount an image: run this test as root");
        Self(at)
    }

    /// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
    fn cut_power(&self) {
        shell(&format!(
            "python3 -c \"import fcntl, os, struct; \
             fcntl.ioctl(os.open('{}', os.O_RDONLY), 0x8004587d, struct.pack('I', 2))\"",
            self.0.display()
        ));
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // No assertion: a second panic while unwinding would hide the first.
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// The child process that stores blobs until it is killed.
struct Writer {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(directory: &Path, seed: u32) -> Self {
        let mut child = Command::new(env::current_exe().expect("this test"))
            .args([
                "--exact",
                "crash::all_that_is_written_is_there",
                "--nocapture",
            ])
            .env(DIRECTORY, directory)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("writer starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output }
    }

    /// The next `count` digests it prints.
    fn committed(&mut self, count: u32) -> Vec<Digest> {
        let count = count as usize;
        let lines = self.output.by_ref().lines();
        let digests: Vec<Digest> = lines
            .map_while(Result::ok)
            .filter_map(|line| parse(&line))
            .take(count)
            .collect();
        assert_eq!(digests.len(), count, "the writer stopped");
        digests
    }

    /// Kills it and returns what it had printed before.
    fn kill(mut self) -> Vec<Digest> {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
        let lines = self.output.by_ref().lines();
        lines
            .map_while(Result::ok)
            .filter_map(|line| parse(&line))
            .collect()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A torn last line is no digest, and not acknowledged.
fn parse(line: &str) -> Option<Digest> {
    let (_, digest) = line.split_once(MARK)?;
    digest.parse().ok()
}

fn shell(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

/// As a test of its own, what the others are measured against: nobody kills it.
/// With a directory, it is the child process of the other tests, and writes until
/// it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_written_is_there() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        let seed: u64 = env::var(SEED).expect("seed").parse().expect("a number");
        return write(Path::new(&directory), seed).await;
    }
    let directory = TempDir::new().expect("temporary directory");
    let store = FileStore::open(directory.path()).await.expect("store");
    let mut committed = Vec::new();
    for number in 0..40 {
        committed.push(store_one(&store, number).await.expect("stored"));
    }
    drop(store);
    verify(directory.path(), &committed).await;
}

async fn write(directory: &Path, seed: u64) {
    let store = FileStore::open(directory).await.expect("store");
    stream::iter(0..u64::MAX)
        .for_each_concurrent(CONCURRENT_UPLOADS, |number| {
            let store = store.clone();
            async move {
                let digest = store_one(&store, (seed << 32) + number).await;
                // After the file system is gone nothing can be acknowledged.
                match digest {
                    Some(digest) => println!("{MARK}{digest}"),
                    None => std::future::pending().await,
                }
            }
        })
        .await;
}

/// Blobs of all sizes up to 3 MiB, most of them small, some of them copies, and
/// one in 16 the one that was stored before.
async fn store_one(store: &FileStore, number: u64) -> Option<Digest> {
    let seed = number - u64::from(number % 16 == 15);
    let length = match seed % 4 {
        0 => seed * 7_919 % (3 * 1024 * 1024),
        _ => seed * 977 % 20_000,
    };
    let content = content(seed, usize::try_from(length).ok()?);
    let (hashing, expected) = match seed % 3 {
        0 => (
            Hashing::Root,
            Expected::Root {
                digest: Digest::of(Algorithm::Sha512, &content),
                size: length,
                root: root(&content),
            },
        ),
        _ => (CLIENT, Expected::Digest(sha256(&content))),
    };
    let mut staging = store.stage(hashing).await.ok()?;
    for chunk in content.chunks(100_000) {
        let chunk = Bytes::copy_from_slice(chunk);
        staging.append(vec![chunk]).await.ok()?;
    }
    Some(staging.commit(expected).await.ok()?.digest)
}
