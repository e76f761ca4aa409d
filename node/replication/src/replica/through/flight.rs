//! One blob on its way here because somebody pulls it.
//!
//! Whoever comes while it is under way reads what is staged, then what arrives. It
//! is a deposit like one that a task sends: so it takes turns with tasks and with
//! what goes along with uploads, and goes on where they stopped. It goes on when
//! its readers have gone, since the image is to be here anyway. The invariant: no
//! reader gets the last byte before the whole is proved, and linked if there is
//! room for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use entrepot_blobs::{BlobStream, StagedBytes};
use entrepot_metadata::query::{self, Blob};
use entrepot_oci::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tonic::Status;
use tracing::{debug, info, warn};

use super::super::ReplicaServer;
use super::super::claims::Place;
use super::super::deposits::{Deposit, Name, State};
use super::ask::{FoundBlob, next_piece};
use super::reading::Reading;
use super::{Target, away, busy};
use crate::error::{ReplicationError, chain};
use crate::feed::Feed;
use crate::upload::{Stored, Upload};

/// Blobs of one node under way at the same time.
const FLIGHTS_MAX: usize = 64;
/// For whoever sends the same blob already to come to its end.
const TURN_MAX: Duration = Duration::from_mins(10);
/// Between the tries to go on with a blob that was torn.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

#[derive(Debug)]
pub(in super::super) struct Flights {
    under_way: Mutex<BTreeMap<(Target, Digest), Arc<Flight>>>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) stage: watch::Sender<Stage>,
    pub(super) feed: Arc<Feed>,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// A source is looked for.
    Looking,
    /// So many bytes are on their way.
    Coming(u64),
    /// It is a blob of this region.
    Here(Box<Blob>),
    /// No source has it.
    Absent,
    Failed(String),
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
            places: Arc::new(Semaphore::new(FLIGHTS_MAX)),
        }
    }
}

// === impl Flights ===

impl Flights {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Target, Digest), Arc<Flight>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The flight that is under way, or a new one, which has a place.
    fn board(
        &self,
        target: &Target,
        digest: &Digest,
    ) -> Option<(Arc<Flight>, Option<OwnedSemaphorePermit>)> {
        match self.lock().entry((target.clone(), *digest)) {
            Entry::Occupied(found) => Some((Arc::clone(found.get()), None)),
            Entry::Vacant(none) => {
                let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
                let flight = Arc::new(Flight {
                    stage: watch::Sender::new(Stage::Looking),
                    feed: Feed::new(),
                });
                none.insert(Arc::clone(&flight));
                Some((flight, Some(place)))
            }
        }
    }
}

// === impl ReplicaServer: of this region's readers ===

impl ReplicaServer {
    /// Reads a blob from its sources, as this region's node that asks for what is
    /// in its repository.
    pub(in super::super) async fn open_through(
        &self,
        target: &Target,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<(u64, BlobStream)>, ReplicationError> {
        let boarded = self.through.flights.board(target, digest);
        let (flight, place) = boarded.ok_or_else(busy)?;
        let mut stage = flight.stage.subscribe();
        if let Some(place) = place {
            let (server, target, digest) = (self.clone(), target.clone(), *digest);
            let flight = Arc::clone(&flight);
            tokio::spawn(async move {
                server.fly(&target, &digest, &flight).await;
                server.through.flights.lock().remove(&(target, digest));
                drop(place);
            });
        }
        let begun = stage.wait_for(|stage| !matches!(stage, Stage::Looking));
        let begun = begun.await.map(|stage| stage.clone());
        let size = match begun.map_err(|_| busy())? {
            Stage::Looking | Stage::Absent => return Ok(None),
            Stage::Failed(why) => return Err(ReplicationError::Away(why)),
            Stage::Coming(size) => size,
            Stage::Here(blob) => blob.size,
        };
        let left = range.unwrap_or(0..size);
        if left.start > left.end || left.end > size {
            return Err(ReplicationError::Refused(format!(
                "bytes {}..{} do not lie within blob {digest}",
                left.start, left.end
            )));
        }
        let reading = Reading {
            server: self.clone(),
            flight,
            left,
            here: None,
        };
        Ok(Some((size, reading.stream())))
    }

    async fn fly(&self, target: &Target, digest: &Digest, flight: &Arc<Flight>) {
        let stage = match self.try_fly(target, digest, flight).await {
            Ok(Some(blob)) => Stage::Here(Box::new(blob)),
            Ok(None) => Stage::Absent,
            Err(error) => {
                let why = chain(&error);
                warn!(repository = %target.repository, %digest, error = why,
                    "a blob of another region cannot be read through");
                Stage::Failed(why)
            }
        };
        flight.stage.send_replace(stage);
        // Nothing, if it has come to its end.
        flight.feed.cancel();
    }

    /// The blob as one of this region; none: no source has it.
    async fn try_fly(
        &self,
        target: &Target,
        digest: &Digest,
        flight: &Arc<Flight>,
    ) -> Result<Option<Blob>, ReplicationError> {
        let sources = self.sources(target)?;
        let Some(found) = self.find_blob(target, &sources, digest).await? else {
            return Ok(None);
        };
        let place = Place {
            account: &target.account,
            repository: &target.repository,
        };
        // Another repository may have it, or it came along with its upload.
        if !self
            .has_blob(place.account, place.repository, digest)
            .await?
        {
            if found.size <= self.metadata.inline_bytes_max()? as u64 {
                self.fetch_small(target, digest, &found).await?;
            } else {
                flight.stage.send_replace(Stage::Coming(found.size));
                self.fetch_large(target, digest, &found, flight).await?;
            }
            self.blobs.metrics().region_read_through.inc();
            info!(repository = %target.repository, %digest, size = found.size,
                region = %found.source.region, "a blob was read through");
        }
        let view = self.metadata.view(&self.group)?;
        let blob = query::blob(view.as_ref(), digest)?;
        blob.map(Some).ok_or(ReplicationError::NotFound(*digest))
    }

    async fn fetch_small(
        &self,
        target: &Target,
        digest: &Digest,
        found: &FoundBlob,
    ) -> Result<(), ReplicationError> {
        let mut parts = self.parts(target, digest, (found, found.node), 0).await?;
        let mut content = BytesMut::new();
        while let Some(piece) = next_piece(&mut parts).await? {
            content.extend_from_slice(&piece);
            if content.len() as u64 > found.size {
                return Err(ReplicationError::Mismatch { expected: *digest });
            }
        }
        let stored = Stored::inline(*digest, content.freeze())?;
        let (account, repository) = (&target.account, &target.repository);
        let link = stored.link(account, repository, self.clock.now_ms());
        let place = Place {
            account,
            repository,
        };
        self.link(&place, link).await
    }

    async fn fetch_large(
        &self,
        target: &Target,
        digest: &Digest,
        found: &FoundBlob,
        flight: &Arc<Flight>,
    ) -> Result<(), ReplicationError> {
        let deposit = self.deposits.enter(&Name::Digest(*digest));
        let deposit = deposit.ok_or_else(busy)?;
        let slow = |_| ReplicationError::Away("another sender holds it up".to_owned());
        let mut state = timeout(TURN_MAX, deposit.state.lock())
            .await
            .map_err(slow)?;
        deposit.begin();
        let place = Place {
            account: &target.account,
            repository: &target.repository,
        };
        match &*state {
            State::Gone => return Err(ReplicationError::Away("it has just gone".to_owned())),
            State::Done => {
                drop(state);
                self.has_blob(place.account, place.repository, digest)
                    .await?;
                return Ok(());
            }
            State::Whole(..) => return self.keep(&deposit, &mut state, &place).await,
            State::Empty => {
                let key = digest.to_string();
                let upload = self.blobs.begin(digest.algorithm(), key.as_bytes()).await?;
                upload.want();
                *state = State::Receiving(Box::new(upload));
            }
            State::Receiving(_) => {}
        }
        let filled = self
            .fill_through(&deposit, &mut state, target, digest, (found, flight))
            .await;
        deposit.touch();
        match filled {
            Ok(last) => {
                let kept = self.keep(&deposit, &mut state, &place).await;
                drop(state);
                let is_right = !matches!(kept, Err(ReplicationError::Mismatch { .. }));
                if is_right && !last.is_empty() {
                    // Its readers have right bytes, whether there is room for them or not.
                    flight.feed.push(&last);
                    flight.feed.finish(*digest, found.size);
                }
                kept
            }
            Err(error @ ReplicationError::Mismatch { .. }) => {
                self.discard(&deposit, &mut state).await;
                Err(error)
            }
            Err(error) => {
                drop(state);
                // Its task goes on from here.
                self.deposits.abandon();
                Err(error)
            }
        }
    }

    /// Brings the rest of a deposit, which is whole then, and proved as far as that
    /// can be without reading it back; its last bytes, which no reader has had.
    async fn fill_through(
        &self,
        deposit: &Arc<Deposit>,
        state: &mut State,
        target: &Target,
        digest: &Digest,
        (found, flight): (&FoundBlob, &Arc<Flight>),
    ) -> Result<Bytes, ReplicationError> {
        let State::Receiving(upload) = state else {
            return Err(ReplicationError::Refused(
                "a deposit that takes no bytes".to_owned(),
            ));
        };
        upload.flush().await?;
        let here = upload.size();
        if here > found.size {
            return Err(ReplicationError::Mismatch { expected: *digest });
        }
        let last = if here == found.size {
            // Torn before its end was told.
            Bytes::new()
        } else {
            flight.feed.resume(here, upload.read_back());
            let what = (target, digest);
            self.pull_rest(deposit, upload, what, (found, &flight.feed))
                .await?
        };
        upload.flush().await?;
        if upload.is(digest) == Some(false) {
            self.blobs.metrics().peer_bytes_refused.inc();
            return Err(ReplicationError::Mismatch { expected: *digest });
        }
        if let State::Receiving(upload) = std::mem::replace(state, State::Gone) {
            *state = State::Whole(upload, *digest);
        }
        Ok(last)
    }

    /// Takes the rest of a blob, from one node of its source after the other; its
    /// last bytes.
    async fn pull_rest(
        &self,
        deposit: &Arc<Deposit>,
        upload: &mut Upload,
        (target, digest): (&Target, &Digest),
        (found, feed): (&FoundBlob, &Feed),
    ) -> Result<Bytes, ReplicationError> {
        let mut again = AGAIN.into_iter();
        let mut nodes = self.nodes_of(target, &found.source).collect::<Vec<_>>();
        nodes.retain(|node| *node != found.node);
        nodes.insert(0, found.node);
        let mut nodes = nodes.into_iter().cycle();
        loop {
            let node = nodes.next().unwrap_or(found.node);
            let what = (target, digest);
            let pulled = self.pull(deposit, upload, what, (found, node), feed).await;
            match pulled {
                Ok(last) => return Ok(last),
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => {
                    debug!(%digest, node, error = chain(&error), "a blob that is read through was torn");
                    let Some(pause) = again.next() else {
                        return Err(error);
                    };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Takes what one node of a source sends, up to the end of the blob; its last
    /// bytes.
    async fn pull(
        &self,
        deposit: &Arc<Deposit>,
        upload: &mut Upload,
        (target, digest): (&Target, &Digest),
        (found, node): (&FoundBlob, u64),
        feed: &Feed,
    ) -> Result<Bytes, ReplicationError> {
        upload.flush().await?;
        let offset = upload.size();
        let mut parts = self.parts(target, digest, (found, node), offset).await?;
        while let Some(piece) = next_piece(&mut parts).await? {
            // What was allowed may not be any more.
            self.admit_source(target, &found.source)?;
            let end = feed.end() + piece.len() as u64;
            if end > found.size {
                return Err(ReplicationError::Mismatch { expected: *digest });
            }
            upload.append(piece.clone()).await?;
            deposit.touch();
            if end == found.size {
                return Ok(piece);
            }
            feed.push(&piece);
        }
        Err(away(&Status::aborted("the stream ended early")))
    }
}

// === impl Feed: what a flight needs of it ===

impl Feed {
    /// Goes on behind the first `offset` bytes, which are staged.
    fn resume(&self, offset: u64, staged: Option<Arc<dyn StagedBytes>>) {
        if let Some(staged) = staged {
            self.staged(staged);
        }
        self.start_at(offset);
    }
}
