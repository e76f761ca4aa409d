//! Content that passes by: hashed as a staging hashes it, and not kept.
//!
//! Owns the hashes of what went by. Must never hold more of it than the batch
//! that is being hashed. The invariant: what [`Passing::verify`] confirms are
//! the bytes that were taken, all of them and in order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, Hasher};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    BlobError, Committed, Expected, Hashing,
    hash::{ContentHash, Verdict, check_digest},
};

/// A blob on its way to other nodes, of which this one keeps nothing.
#[derive(Debug)]
pub struct Passing {
    hashes: Arc<Mutex<Hashes>>,
    size: u64,
    /// The batch that is being hashed, on another thread.
    batch: Option<(JoinHandle<()>, Arc<Vec<Bytes>>)>,
}

/// Both of the algorithms that a client may name: what has passed cannot be read
/// back when it names another at the end than was expected.
#[derive(Clone, Debug)]
struct Hashes {
    content: ContentHash,
    other: Hasher,
}

// === impl Passing ===

impl Passing {
    /// Its digest will most likely be of `algorithm`.
    pub fn new(algorithm: Algorithm) -> Self {
        let other = match algorithm {
            Algorithm::Sha256 => Algorithm::Sha512,
            Algorithm::Sha512 => Algorithm::Sha256,
        };
        let hashes = Hashes {
            content: ContentHash::new(Hashing::Client(algorithm)),
            other: Hasher::new(other),
        };
        Self {
            hashes: Arc::new(Mutex::new(hashes)),
            size: 0,
            batch: None,
        }
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes and hashes them while the caller goes on. Dropping
    /// the future loses nothing: [`size`](Self::size) says what was taken.
    ///
    /// # Errors
    /// The runtime stops.
    pub async fn append(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError> {
        self.settle().await?;
        self.size += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        let batch = Arc::new(chunks);
        let (hashes, pieces) = (Arc::clone(&self.hashes), Arc::clone(&batch));
        let task = spawn_blocking(move || lock(&hashes).update(&pieces));
        self.batch = Some((task, batch));
        Ok(())
    }

    /// BLAKE3 of the bytes taken so far.
    pub fn root(&self) -> [u8; 32] {
        self.hashes().content.root()
    }

    /// The digest of the bytes taken so far, by the algorithm that was expected.
    pub fn digest(&self) -> Option<Digest> {
        self.hashes().content.digest()
    }

    /// That the content is `expected`. Nothing of it is here: that others have
    /// made it durable is for the caller to see to.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`].
    pub async fn verify(mut self, expected: Digest) -> Result<Committed, BlobError> {
        self.settle().await?;
        let Hashes { content, other } = lock(&self.hashes).clone();
        if let Verdict::Rehash(_) = content.check(&Expected::Digest(expected))? {
            check_digest(&expected, &other.finish())?;
        }
        Ok(Committed {
            digest: expected,
            size: content.bytes(),
            root: content.root(),
        })
    }

    /// Waits for the batch under way.
    async fn settle(&mut self) -> Result<(), BlobError> {
        if let Some((task, _)) = &mut self.batch {
            let hashed = task.await.map_err(std::io::Error::other);
            self.batch = None;
            hashed.map_err(BlobError::io("hash", "what passes by"))?;
        }
        Ok(())
    }

    /// Of all bytes taken, those of the batch under way included.
    fn hashes(&self) -> Hashes {
        let mut hashes = lock(&self.hashes).clone();
        if let Some((_, batch)) = &self.batch
            && hashes.content.bytes() < self.size
        {
            hashes.update(batch);
        }
        hashes
    }
}

// === impl Hashes ===

impl Hashes {
    fn update(&mut self, batch: &[Bytes]) {
        for piece in batch {
            let other = &mut self.other;
            self.content
                .update_with(piece, |stride| other.update(stride));
        }
    }
}

/// Held while a batch is hashed: whoever comes meanwhile waits for its end.
fn lock(hashes: &Mutex<Hashes>) -> MutexGuard<'_, Hashes> {
    hashes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"what passes by, in three parts";

    async fn passed() -> Passing {
        let mut passing = Passing::new(Algorithm::Sha256);
        for part in CONTENT.chunks(11) {
            passing.append(vec![Bytes::from(part)]).await.unwrap();
        }
        passing
    }

    #[tokio::test]
    async fn it_is_known_by_either_algorithm() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let passing = passed().await;
            let root = *blake3::hash(CONTENT).as_bytes();
            let sha256 = Digest::of(Algorithm::Sha256, CONTENT);
            assert_eq!(passing.size(), CONTENT.len() as u64);
            assert_eq!((passing.root(), passing.digest()), (root, Some(sha256)));
            let digest = Digest::of(algorithm, CONTENT);
            let verified = passing.verify(digest).await.unwrap();
            let size = CONTENT.len() as u64;
            assert_eq!(verified, Committed { digest, size, root });
        }
    }

    #[tokio::test]
    async fn it_is_nothing_else() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let other = Digest::of(algorithm, b"something else");
            let refused = passed().await.verify(other).await.unwrap_err();
            assert!(
                matches!(refused, BlobError::DigestMismatch { .. }),
                "{refused}"
            );
        }
    }
}
