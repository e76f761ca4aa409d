//! The seam between the node and whatever keeps its blobs.
//!
//! Owns the traits and the plain types they speak in. Must never name a file
//! or a directory: an object store has neither. The invariant: a blob exists
//! from the end of a successful [`Staging::commit`], and nothing of it before.

use std::{fmt, io, ops::Range, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};

use crate::{BlobError, Tree, gather::BATCH_BYTES};

/// Bytes of one item of a [`BlobStream`]; the first one ends where one of the
/// whole blob would, and the last may be shorter.
///
/// A blob up to this size is read at once when it is opened.
pub const READ_BYTES: usize = 1024 * 1024;

/// The last bytes of a staging may not be there to be read back yet; all before
/// these are.
pub const UNWRITTEN_BYTES_MAX: u64 = 2 * BATCH_BYTES as u64;

/// Blobs that one call of [`BlobStore::list`] returns at most.
pub const LIST_LIMIT_MAX: usize = 10_000;

/// A blob's bytes in order, in pieces of [`READ_BYTES`]; ends after an error.
pub type BlobStream = Pin<Box<dyn futures::Stream<Item = io::Result<Bytes>> + Send>>;

/// A blob that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobStat {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// Staged bytes that nobody brings in any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abandoned {
    pub files: u64,
    pub bytes: u64,
    /// Other files, that could not be looked at or deleted.
    pub failed: u64,
}

/// What a commit made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub root: [u8; 32],
}

/// A part of a blob that was read from the disk and proved right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of the blob, bytes.
    pub size: u64,
    /// Where the part ends; at `size` all of the blob is verified.
    pub end: u64,
}

/// What a staging computes while the bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// The client's algorithm and BLAKE3: for uploads.
    Client(Algorithm),
    /// BLAKE3 alone, several times cheaper: for copies from a peer, whose root
    /// is known from the metadata.
    Root,
}

/// What the staged bytes have to be for a commit to succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The content of this digest, as a client claims.
    Digest(Digest),
    /// The content that another node hashed to this root when it found it to be
    /// the content of `digest`.
    Root {
        digest: Digest,
        /// In bytes.
        size: u64,
        root: [u8; 32],
    },
}

impl Expected {
    /// The name under which the blob will be stored.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Digest(digest) | Self::Root { digest, .. } => digest,
        }
    }
}

/// A node's own blobs.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug + 'static {
    /// Begins a blob whose bytes are still to come.
    async fn stage(&self, hashing: Hashing) -> Result<Box<dyn Staging>, BlobError>;

    /// Whether the blob is here, whole and durable.
    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>, BlobError>;

    /// Bytes `range.start..range.end` of the blob, or all of it. A blob that is
    /// deleted while it is being read is read to its end.
    ///
    /// # Errors
    /// [`BlobError::NotFound`]; [`BlobError::Range`] when the range does not lie
    /// within the blob; [`BlobError::Damaged`] when the copy is found to be of
    /// other bytes. Found later, that ends the stream: what it gave before is
    /// right. So it does when the copy was written to meanwhile, which is
    /// [`BlobError::Changed`]: then nothing of it is to be trusted.
    async fn open(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobStat, BlobStream), BlobError>;

    /// Removes the blob and says whether it was there. A power cut may bring it
    /// back: content cannot be outdated, so nothing waits for the disk here.
    async fn delete(&self, digest: &Digest) -> Result<bool, BlobError>;

    /// The blobs that follow `after` in the order of [`Digest`], at most `limit`
    /// and at most [`LIST_LIMIT_MAX`] of them; none left gives an empty list.
    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobStat>, BlobError>;

    /// What proves parts of the blob.
    ///
    /// # Errors
    /// [`BlobError::NotFound`]; [`BlobError::Damaged`].
    async fn tree(&self, digest: &Digest) -> Result<Tree, BlobError>;

    /// Reads about `limit_bytes` of the blob, from `offset` on, from where they
    /// are kept and verifies them. A copy that is damaged, or cannot be read, is
    /// moved aside: it is not there any more.
    ///
    /// # Errors
    /// [`BlobError::NotFound`]; [`BlobError::Damaged`].
    async fn verify(
        &self,
        digest: &Digest,
        offset: u64,
        limit_bytes: u64,
    ) -> Result<Verified, BlobError>;

    /// Bytes that there is room for at the moment; none: nobody can tell. A
    /// hint: what is staged meanwhile, or has a quota of its own, may find less.
    async fn room_bytes(&self) -> Result<Option<u64>, BlobError>;

    /// For how long nobody has written to the blob; none: it is not there.
    async fn unwritten_for(&self, digest: &Digest) -> Result<Option<Duration>, BlobError>;

    /// What stagings have left behind that are none any more, such as one whose file
    /// could not be removed, and what nobody has written to for as long as `idle`.
    /// `delete`: it goes. A store that leaves nothing behind has none.
    async fn abandoned(&self, _idle: Duration, _delete: bool) -> Result<Abandoned, BlobError> {
        Ok(Abandoned::default())
    }
}

/// One blob on its way in. Dropped, it leaves nothing behind.
#[async_trait]
pub trait Staging: Send + fmt::Debug {
    /// Bytes accepted so far.
    fn size(&self) -> u64;

    /// Takes the next bytes of the content and hashes them. They are neither
    /// synced nor always written yet when this returns: an error may be reported
    /// by a later call. After an error every later call fails.
    ///
    /// Memory is bounded to a few MiB by waiting. Dropping the future half-way
    /// is safe: [`Staging::size`] then says how many bytes were accepted.
    async fn append(&mut self, chunks: Vec<Bytes>) -> Result<(), BlobError>;

    /// BLAKE3 of the bytes accepted so far. Costs the hashing of what is not
    /// hashed yet, 2 MiB at most: meant for once at the end, not for every chunk.
    fn root(&self) -> [u8; 32];

    /// The digest of the bytes accepted so far by the client's algorithm, if that
    /// is hashed at all. Costs what [`Staging::root`] costs.
    fn digest(&self) -> Option<Digest>;

    /// What is appended, for those who come late: asked for before the first byte.
    /// It may be read for as long as it is held, whatever becomes of the staging.
    fn read_back(&self) -> Arc<dyn StagedBytes>;

    /// Verifies the content, makes it durable and gives it its name. A blob that
    /// is there already is fine: the result is the same, and a copy of other
    /// bytes, which is damaged, is replaced.
    ///
    /// A digest of another algorithm than the one hashed makes the staged bytes
    /// be read back and hashed once more; clients rarely do that.
    ///
    /// # Errors
    /// [`BlobError::DigestMismatch`] or [`BlobError::RootMismatch`] when the
    /// content is not the expected one. After any error the staged bytes are gone.
    async fn commit(self: Box<Self>, expected: Expected) -> Result<Committed, BlobError>;

    /// Drops the staged bytes and waits until they are gone.
    async fn discard(self: Box<Self>);
}

/// Bytes of a staging that are appended once and read any number of times.
#[async_trait]
pub trait StagedBytes: Send + Sync + fmt::Debug {
    /// Bytes of `range`, at most [`READ_BYTES`] of them, which end
    /// [`UNWRITTEN_BYTES_MAX`] before what is appended so far, or earlier.
    async fn read(&self, range: Range<u64>) -> io::Result<Bytes>;
}

/// The range to read, all of the blob by default.
pub(crate) fn check_range(
    stat: &BlobStat,
    range: Option<Range<u64>>,
) -> Result<Range<u64>, BlobError> {
    let range = range.unwrap_or(0..stat.size);
    if range.start > range.end || range.end > stat.size {
        return Err(BlobError::Range {
            digest: stat.digest,
            start: range.start,
            end: range.end,
            size: stat.size,
        });
    }
    Ok(range)
}
