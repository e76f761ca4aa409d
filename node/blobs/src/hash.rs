//! What the content is, found out in one pass.
//!
//! Owns the two hashes of a staging and the decision whether they prove what is
//! expected. Must never read a file by itself. The invariant: nothing is called
//! proven that was not hashed here from the bytes that get stored.

use std::fmt;

use entrepot_oci::{Algorithm, Digest, Hasher};

use crate::{
    BlobError, Expected, Hashing,
    tree::{Tree, TreeHasher},
};

/// Both hashes take a stride in turn, so that the second finds it in the cache.
const STRIDE_BYTES: usize = 128 * 1024;

/// Hashes of the content so far.
#[derive(Clone)]
pub(crate) struct ContentHash {
    client: Option<Hasher>,
    tree: TreeHasher,
}

/// What the hashes say about an expectation that they do not contradict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proven,
    /// Only the content hashed by this algorithm can tell.
    Rehash(Algorithm),
}

impl ContentHash {
    pub(crate) fn new(hashing: Hashing) -> Self {
        Self {
            client: match hashing {
                Hashing::Client(algorithm) => Some(Hasher::new(algorithm)),
                Hashing::Root => None,
            },
            tree: TreeHasher::new(),
        }
    }

    pub(crate) fn update(&mut self, content: &[u8]) {
        self.update_with(content, |_| {});
    }

    /// Hands each stride on once it is hashed and still in the cache.
    pub(crate) fn update_with(&mut self, content: &[u8], mut hashed: impl FnMut(&[u8])) {
        for stride in content.chunks(STRIDE_BYTES) {
            if let Some(client) = &mut self.client {
                client.update(stride);
            }
            self.tree.update(stride);
            hashed(stride);
        }
    }

    pub(crate) fn update_all<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            self.update(piece);
        }
    }

    /// Bytes hashed so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.tree.bytes()
    }

    pub(crate) fn root(&self) -> [u8; 32] {
        self.tree.root()
    }

    /// What proves parts of the content.
    pub(crate) fn tree(&self) -> Tree {
        self.tree.tree()
    }

    pub(crate) fn digest(&self) -> Option<Digest> {
        self.client.clone().map(Hasher::finish)
    }

    /// Compares what was hashed with what is expected.
    pub(crate) fn check(&self, expected: &Expected) -> Result<Verdict, BlobError> {
        let hashed = self
            .digest()
            .filter(|actual| actual.algorithm() == expected.digest().algorithm());
        if let Some(actual) = &hashed {
            check_digest(expected.digest(), actual)?;
        }
        match expected {
            Expected::Digest(digest) if hashed.is_none() => Ok(Verdict::Rehash(digest.algorithm())),
            Expected::Digest(_) => Ok(Verdict::Proven),
            Expected::Root { digest, size, root } => {
                if *size != self.bytes() || *root != self.root() {
                    return Err(BlobError::RootMismatch {
                        digest: *digest,
                        expected_size: *size,
                        actual_size: self.bytes(),
                    });
                }
                Ok(Verdict::Proven)
            }
        }
    }
}

/// Whether the content's digest is the expected one.
pub(crate) fn check_digest(expected: &Digest, actual: &Digest) -> Result<(), BlobError> {
    if expected == actual {
        return Ok(());
    }
    Err(BlobError::DigestMismatch {
        expected: Box::new(*expected),
        actual: Box::new(*actual),
    })
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentHash")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
