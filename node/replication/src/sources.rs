//! Bytes of a blob from the other nodes, several sources at once.
//!
//! Owns the choice of the sources. What a source sends is compared, group by
//! group, with the blob's hash tree before anybody gets it; the tree itself is
//! worth what its root is, and that is in the metadata. A source that fails, or
//! sends wrong bytes, is replaced by another at the group where it failed. Only
//! where every source is of a release that knows no trees are the bytes what the
//! sources sent, and whether they are right is for the caller to find out.
//!
//! A source is asked for one segment after the other, and a segment is taken off
//! the connection as it arrives, whether the reader wants it yet or not: a
//! stream that waits for its reader would hold up, with few others, all that two
//! nodes have to say to each other.

mod segment;
mod trees;

use std::collections::VecDeque;
use std::future::ready;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use entrepot_blobs::{BlobStream, GROUP_BYTES, Tree, group_bytes, widened};
use entrepot_metadata::query::Blob;
use futures::stream;
use tonic::{Code, Status};
use tracing::{debug, error, warn};

use self::segment::{Segment, ask};
use crate::ClusterBlobs;
use crate::error::ReplicationError;

/// Bytes of one segment, whole groups.
const SEGMENT_BYTES: u64 = 8 * GROUP_BYTES as u64;
/// The same of a read that is in no haste: what a source reads, proves and
/// encrypts at a stretch, while its clients wait.
const GENTLE_SEGMENT_BYTES: u64 = GROUP_BYTES as u64;
/// Segments that are under way at the same time: a reader has one in hand.
const SEGMENTS_MAX: usize = 3;
/// Sources that are asked at the same time.
const SPREAD_MAX: usize = 3;

/// A read that moves from peer to peer until it has all bytes.
#[derive(Debug)]
pub(crate) struct PeerRead {
    blobs: Arc<ClusterBlobs>,
    blob: Blob,
    /// What the reader wants.
    wanted: Range<u64>,
    /// What is asked for: whole groups, if they can be verified.
    range: Range<u64>,
    /// None: nobody has one to give.
    tree: Option<Tree>,
    /// Where the next group, or the next piece where there is no tree, starts.
    next: u64,
    /// The part of the next group that is here.
    group: BytesMut,
    /// Those that may have the rest, best first.
    sources: Vec<u64>,
    /// Under way, in order, the first from `next` on.
    segments: VecDeque<Segment>,
    /// One small segment after the other, from one source.
    gentle: bool,
    /// Segments asked for so far: says whose turn it is.
    turns: usize,
    /// Who has sent bytes since the last start.
    served: Vec<u64>,
    /// Who has sent wrong bytes.
    wrong: Vec<u64>,
    /// Every peer that was asked said for certain that it has no copy.
    all_absent: bool,
}

/// What became of bytes that a source sent.
enum Taken {
    /// For the reader.
    Bytes(Bytes),
    /// Their group is not whole yet.
    Part,
    Wrong,
}

/// Why a source is not asked again.
enum Problem {
    /// Its bytes are not the blob's.
    Wrong,
    Rude(&'static str),
    Status(Status),
}

// === impl PeerRead ===

impl PeerRead {
    /// Returns once somebody has begun to send.
    pub(crate) async fn connect(
        blobs: &Arc<ClusterBlobs>,
        blob: Blob,
        wanted: Range<u64>,
    ) -> Result<Self, ReplicationError> {
        Self::connect_as(blobs, blob, wanted, false).await
    }

    /// The same of one that may be in no haste, as [`Self::set_gentle`] has it.
    pub(crate) async fn connect_as(
        blobs: &Arc<ClusterBlobs>,
        blob: Blob,
        wanted: Range<u64>,
        gentle: bool,
    ) -> Result<Self, ReplicationError> {
        let mut read = Self {
            sources: blobs.sources(&blob),
            blobs: Arc::clone(blobs),
            range: wanted.clone(),
            next: wanted.start,
            wanted,
            tree: None,
            group: BytesMut::new(),
            segments: VecDeque::new(),
            gentle,
            turns: 0,
            served: Vec::new(),
            wrong: Vec::new(),
            all_absent: true,
            blob,
        };
        read.find_tree().await;
        if read.tree.is_some() {
            read.range = widened(read.blob.size, &read.wanted);
            read.next = read.range.start;
        }
        read.begin().await?;
        Ok(read)
    }

    /// Whether from here on nothing is asked for before the last bytes were taken:
    /// a reader with a pace would else have its sources send in bursts.
    pub(crate) fn set_gentle(&mut self, gentle: bool) {
        self.gentle = gentle;
    }

    pub(crate) fn blob(&self) -> &Blob {
        &self.blob
    }

    /// Whether what it gives is verified.
    pub(crate) fn is_verified(&self) -> bool {
        self.tree.is_some()
    }

    /// Asks one source after the other for the next segment, until one sends it.
    async fn begin(&mut self) -> Result<(), ReplicationError> {
        let range = self.segment_from(self.next);
        while let Some(node) = self.sources.first().copied() {
            if range.is_empty() {
                return Ok(());
            }
            let asked = match self.blobs.peers.bulk_channel(node) {
                Some(channel) => ask(channel, self.blob.digest, range.clone()).await,
                None => Err(Status::not_found("no such node")),
            };
            match asked {
                Ok(stream) => {
                    self.segments.clear();
                    let segment = Segment::start(node, range, ready(Ok(stream)));
                    self.segments.push_back(segment);
                    return Ok(());
                }
                Err(status) => {
                    self.all_absent &= status.code() == Code::NotFound;
                    debug!(node, digest = %self.blob.digest, %status, "a peer cannot serve a blob");
                    self.sources.retain(|other| *other != node);
                }
            }
        }
        Err(if self.all_absent {
            ReplicationError::NotFound(self.blob.digest)
        } else {
            ReplicationError::Unreachable(self.blob.digest)
        })
    }

    /// The next bytes; none at the end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, ReplicationError> {
        while self.next < self.range.end {
            let here = self.next + self.group.len() as u64;
            while self
                .segments
                .front()
                .is_some_and(|front| front.end() <= here)
            {
                self.segments.pop_front();
            }
            if self.segments.is_empty() {
                // Nothing of the group is lost: it is asked for from its start.
                self.group.clear();
                self.begin().await?;
            }
            self.look_ahead();
            let here = self.next + self.group.len() as u64;
            let Some(segment) = self.segments.front_mut() else {
                continue;
            };
            let (node, left) = (segment.node(), segment.end() - here);
            let problem = match segment.next().await {
                Some(Ok(piece)) if (1..=left).contains(&(piece.len() as u64)) => {
                    if self.served.last() != Some(&node) {
                        self.served.push(node);
                    }
                    match self.take(piece) {
                        Taken::Bytes(bytes) => return Ok(Some(bytes)),
                        Taken::Part => continue,
                        Taken::Wrong => Problem::Wrong,
                    }
                }
                Some(Ok(_)) => Problem::Rude("it sent nothing, or more than was asked for"),
                Some(Err(status)) => Problem::Status(status),
                None => Problem::Rude("it stopped early"),
            };
            self.give_up(node, &problem);
        }
        Ok(None)
    }

    /// What the reader gets after `piece`.
    fn take(&mut self, piece: Bytes) -> Taken {
        let Some(tree) = &self.tree else {
            self.next += piece.len() as u64;
            return Taken::Bytes(piece);
        };
        let number = usize::try_from(self.next / GROUP_BYTES as u64).unwrap_or(usize::MAX);
        let bytes = group_bytes(self.blob.size, number);
        let length = bytes.end - bytes.start;
        let group = if self.group.is_empty() && piece.len() as u64 == length {
            piece
        } else {
            self.group.extend_from_slice(&piece);
            if (self.group.len() as u64) < length {
                return Taken::Part;
            }
            self.group.split().freeze()
        };
        if !tree.proves(number, &group) {
            self.group.clear();
            return Taken::Wrong;
        }
        self.next = bytes.end;
        let within = |offset: u64| {
            usize::try_from(offset.saturating_sub(bytes.start))
                .map_or(group.len(), |offset| offset.min(group.len()))
        };
        Taken::Bytes(group.slice(within(self.wanted.start)..within(self.wanted.end)))
    }

    /// Goes on without `node`, and without what it has under way.
    fn give_up(&mut self, node: u64, problem: &Problem) {
        let digest = &self.blob.digest;
        match problem {
            Problem::Wrong => {
                error!(node, %digest, "a peer has sent wrong bytes");
                self.blobs.metrics.peer_bytes_refused.inc();
                self.blobs.distrust(digest, node);
                self.wrong.push(node);
                self.all_absent = false;
            }
            Problem::Rude(what) => {
                warn!(node, %digest, what, "a peer failed while sending a blob");
                self.all_absent = false;
            }
            Problem::Status(status) => {
                warn!(node, %digest, %status, "a peer failed while sending a blob");
                self.all_absent &= status.code() == Code::NotFound;
            }
        }
        self.sources.retain(|other| *other != node);
        self.group.clear();
        // What others have under way is of use only behind what comes next.
        self.segments.clear();
    }

    /// Asks for the segments that follow, of several sources in turn.
    fn look_ahead(&mut self) {
        if self.gentle {
            return;
        }
        let spread = self.spread();
        while self.segments.len() < SEGMENTS_MAX
            && let Some(last) = self.segments.back()
            && last.end() < self.range.end
        {
            let range = self.segment_from(last.end());
            self.turns += 1;
            let Some(node) = spread.get(self.turns % spread.len().max(1)).copied() else {
                return;
            };
            let Some(channel) = self.blobs.peers.bulk_channel(node) else {
                return;
            };
            let asked = ask(channel, self.blob.digest, range.clone());
            self.segments.push_back(Segment::start(node, range, asked));
        }
    }

    /// Those that most likely have a copy: the first source is one, it has begun
    /// to send.
    fn spread(&self) -> Vec<u64> {
        let current = self.segments.front().map(Segment::node);
        // Unverified bytes come from one, so that it is known whose they are.
        let most = if self.tree.is_some() { SPREAD_MAX } else { 1 };
        let likely = |node: &u64| {
            Some(*node) != current
                && self.blob.holders.contains(node)
                && self.blobs.health.is_alive(*node)
        };
        let others = self.sources.iter().copied().filter(likely);
        current.into_iter().chain(others).take(most).collect()
    }

    fn segment_from(&self, start: u64) -> Range<u64> {
        let bytes = if self.gentle {
            GENTLE_SEGMENT_BYTES
        } else {
            SEGMENT_BYTES
        };
        let end = start - start % GROUP_BYTES as u64 + bytes;
        start..self.range.end.min(end)
    }

    /// The bytes so far were wrong: goes back to the first one, without those
    /// who sent them. False: nobody else is left.
    pub(crate) fn start_over(&mut self) -> bool {
        for node in self.served.drain(..) {
            error!(node, digest = %self.blob.digest, "a peer may have sent wrong bytes");
            self.blobs.distrust(&self.blob.digest, node);
            self.wrong.push(node);
        }
        let mut sources = self.blobs.sources(&self.blob);
        sources.retain(|node| !self.wrong.contains(node));
        let any = !sources.is_empty();
        self.sources = sources;
        self.segments.clear();
        self.group.clear();
        self.next = self.range.start;
        self.all_absent = false;
        any
    }

    pub(crate) fn stream(self) -> BlobStream {
        Box::pin(stream::try_unfold(self, |mut read| async move {
            let piece = read.piece().await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, read)))
        }))
    }
}
