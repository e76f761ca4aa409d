//! What it costs to prove what is read, and to read what was proven lately:
//! seconds for a GiB, from one blob.
//!
//! `cargo bench -p entrepot-blobs --bench proving`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use entrepot_blobs::{BlobStore, Expected, FileStore, Hashing, READ_BYTES};
use entrepot_oci::{Algorithm, Digest};
use futures::StreamExt;
use tempfile::TempDir;

const BLOB_BYTES: usize = 512 * READ_BYTES;
const ROUNDS: usize = 3;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = TempDir::new()?;
    let store = FileStore::open(folder.path()).await?;
    let content = Bytes::from(vec![7; BLOB_BYTES]);
    let digest = Digest::of(Algorithm::Sha256, &content);
    let mut staging = store.stage(Hashing::Client(Algorithm::Sha256)).await?;
    staging.append(vec![content]).await?;
    staging.commit(Expected::Digest(digest)).await?;
    let file = largest(folder.path())?;
    for _ in 0..ROUNDS {
        // What was proven is forgotten when the file seems to have changed.
        let touched = File::options().append(true).open(&file)?;
        touched.set_modified(SystemTime::now())?;
        println!(
            "to be proven: {:.3} s for a GiB",
            read(&store, &digest).await?
        );
        println!(
            "proven lately: {:.3} s for a GiB",
            read(&store, &digest).await?
        );
    }
    Ok(())
}

/// Reads the blob; returns the seconds for a GiB.
async fn read(store: &FileStore, digest: &Digest) -> Result<f64, Failure> {
    let started = Instant::now();
    let (_, mut stream) = store.open(digest, None).await?;
    let mut bytes = 0;
    while let Some(piece) = stream.next().await {
        bytes += piece?.len();
    }
    assert_eq!(bytes, BLOB_BYTES, "all of it");
    #[allow(clippy::cast_precision_loss, reason = "some GiB")]
    let gib = BLOB_BYTES as f64 / f64::from(1 << 30);
    Ok(started.elapsed().as_secs_f64() / gib)
}

/// The largest file below a folder: the blob.
fn largest(folder: &Path) -> Result<PathBuf, Failure> {
    let mut folders = vec![folder.to_owned()];
    let mut largest = (0, PathBuf::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (path, metadata) = entry.and_then(|it| Ok((it.path(), it.metadata()?)))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.len() > largest.0 {
                largest = (metadata.len(), path);
            }
        }
    }
    Ok(largest.1)
}
