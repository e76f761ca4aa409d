//! Scrub: a node reads every copy it has now and then, at a bounded rate, and
//! replaces those that have gone bad by right ones from its peers.
//!
//! A pass goes through the copies in the order of their digests and notes where
//! it is, so that a restart costs half a minute of it and not the whole. The
//! invariant: a copy that proved damaged has lost its name before anything else
//! happens, and what is put in its place was verified.

pub(crate) mod progress;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_blobs::{BlobError, BlobStat, Note};
use entrepot_metadata::query;
use entrepot_metadata::seam::Metadata;
use entrepot_metadata::{GroupId, KeyValue};
use entrepot_oci::Digest;
use entrepot_proto::environment::Clock;
use entrepot_proto::peer::ScrubState;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, info, warn};

use self::progress::{Ended, Pass, Progress};
use crate::ClusterBlobs;
use crate::error::{ReplicationError, chain};
use crate::pace::Pace;

/// After the start, so that a node that comes back serves first.
const FIRST_PASS_DELAY: Duration = Duration::from_mins(1);
/// Between two looks whether a pass is due.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// Verified between two looks at the clock.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// What a small file costs beside its bytes: a disk that turns has to seek.
const FILE_COST_BYTES: u64 = 64 * 1024;
/// Between two notes of how far a pass has come.
const NOTE_INTERVAL: Duration = Duration::from_secs(30);
const PAGE: usize = 200;

/// When and how fast to scrub.
#[derive(Debug, Clone, Copy)]
pub struct ScrubSettings {
    /// From the start of one pass to that of the next.
    pub every: Duration,
    pub bytes_per_s: u64,
}

/// Scrubs this node's copies.
#[derive(Debug)]
pub struct Scrub {
    blobs: Arc<ClusterBlobs>,
    metadata: Arc<dyn Metadata>,
    group: GroupId,
    clock: Arc<dyn Clock>,
    settings: ScrubSettings,
    pace: Pace,
    /// None: a restart begins anew.
    note: Option<Note>,
}

/// What others see of the scrub, and how they begin one.
#[derive(Debug, Default)]
pub(crate) struct ScrubControl {
    progress: Mutex<Progress>,
    /// When this process began to work on the pass, and at which permille.
    since: Mutex<Option<(Instant, u32)>>,
    requested: Notify,
    /// Somebody is working on the pass.
    active: AtomicBool,
}

// === impl ScrubControl ===

impl ScrubControl {
    /// Begins a pass; false: one is under way.
    pub(crate) fn start(&self) -> bool {
        let under_way = self.lock().pass.is_some();
        if !self.active.load(Ordering::Relaxed) {
            // One that is under way is waiting for its time to go on.
            self.requested.notify_one();
        }
        !under_way
    }

    pub(crate) fn state(&self) -> ScrubState {
        let progress = self.lock().clone();
        let last = progress.last;
        let mut state = ScrubState {
            last_ended_at_ms: last.as_ref().map_or(0, |last| last.at_ms),
            last_damaged: last.map_or(0, |last| last.damaged),
            ..ScrubState::default()
        };
        if let Some(pass) = progress.pass {
            state.running = true;
            state.started_at_ms = pass.started_at_ms;
            state.verified_blobs = pass.blobs;
            state.verified_bytes = pass.bytes;
            state.permille = pass.permille();
            state.remaining_ms = self.remaining_ms(pass.permille());
            state.damaged = pass.damaged;
            state.repaired = pass.repaired;
        }
        state
    }

    /// 0: nobody can tell yet.
    fn remaining_ms(&self, permille: u32) -> u64 {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, from)) = since else { return 0 };
        match permille.checked_sub(from) {
            None | Some(0) => 0,
            Some(done) => {
                let left = u128::from(1000 - permille.min(1000));
                let ms = since.elapsed().as_millis() * left / u128::from(done);
                u64::try_from(ms).unwrap_or(u64::MAX)
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Pass)) {
        if let Some(pass) = &mut self.lock().pass {
            change(pass);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Scrub ===

impl Scrub {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        clock: Arc<dyn Clock>,
        settings: ScrubSettings,
        note: Option<Note>,
    ) -> Self {
        let group = GroupId::region(blobs.region().clone());
        Self {
            group,
            blobs,
            metadata,
            clock,
            pace: Pace::new(settings.bytes_per_s),
            settings,
            note,
        }
    }

    /// Scrubs until it is dropped.
    pub async fn run(self) {
        self.recall().await;
        let mut delay = FIRST_PASS_DELAY;
        loop {
            let requested = tokio::select! {
                () = self.control().requested.notified() => true,
                () = tokio::time::sleep(delay) => false,
            };
            delay = LOOK_INTERVAL;
            if requested || self.is_due() {
                self.control().active.store(true, Ordering::Relaxed);
                self.pass().await;
                self.control().active.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Takes up what the process before has noted.
    pub async fn recall(&self) {
        let Some(note) = &self.note else { return };
        match note.load().await {
            Ok(text) => {
                let progress = text.and_then(|text| Progress::decode(&text));
                *self.control().lock() = progress.unwrap_or_default();
            }
            Err(error) => warn!(
                error = chain(&error),
                "the progress of the scrub cannot be read"
            ),
        }
    }

    fn is_due(&self) -> bool {
        let progress = self.control().lock().clone();
        let Some(last) = progress.last.filter(|_| progress.pass.is_none()) else {
            return true;
        };
        let age_ms = self.clock.now_ms().saturating_sub(last.started_at_ms);
        // A clock that was put back must not stop it for ever.
        age_ms < 0 || u128::from(age_ms.unsigned_abs()) >= self.settings.every.as_millis()
    }

    /// Goes on with the pass that is under way, or begins one, and comes to its
    /// end.
    pub async fn pass(&self) {
        let control = self.control();
        let mut after = {
            let mut progress = control.lock();
            let now_ms = self.clock.now_ms();
            let pass = progress.pass.get_or_insert_with(|| Pass {
                started_at_ms: now_ms,
                ..Pass::default()
            });
            let since = Some((Instant::now(), pass.permille()));
            *control.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
            pass.after
        };
        let mut noted = Instant::now();
        loop {
            let page = match self.blobs.store.list(after.as_ref(), PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    warn!(error = chain(&error), "the scrub was interrupted");
                    return;
                }
            };
            let Some(last) = page.last() else { break };
            after = Some(last.digest);
            for stat in page {
                self.verify(&stat).await;
                control.change(|pass| pass.after = Some(stat.digest));
                if noted.elapsed() >= NOTE_INTERVAL {
                    self.save().await;
                    noted = Instant::now();
                }
            }
        }
        self.end().await;
    }

    async fn end(&self) {
        let at_ms = self.clock.now_ms();
        {
            let mut progress = self.control().lock();
            let Some(pass) = progress.pass.take() else {
                return;
            };
            info!(
                blobs = pass.blobs,
                bytes = pass.bytes,
                damaged = pass.damaged,
                repaired = pass.repaired,
                "all copies were verified"
            );
            progress.last = Some(Ended {
                started_at_ms: pass.started_at_ms,
                at_ms,
                damaged: pass.damaged,
            });
        }
        self.save().await;
    }

    async fn verify(&self, stat: &BlobStat) {
        let (control, metrics) = (self.control(), &self.blobs.metrics);
        let digest = &stat.digest;
        let mut offset = 0;
        self.pace.spend(FILE_COST_BYTES).await;
        loop {
            match self.blobs.store.verify(digest, offset, STEP_BYTES).await {
                Ok(step) => {
                    let bytes = step.end.saturating_sub(offset);
                    offset = step.end;
                    metrics.scrubbed_bytes.inc_by(bytes);
                    control.change(|pass| pass.bytes += bytes);
                    self.pace.spend(bytes).await;
                    if step.end >= step.size {
                        metrics.scrubbed_blobs.inc();
                        control.change(|pass| pass.blobs += 1);
                        return;
                    }
                }
                // Deleted meanwhile, or moved aside by a reader.
                Err(BlobError::NotFound(_)) => return,
                Err(BlobError::Damaged(_)) => {
                    metrics.scrub_damaged.inc();
                    control.change(|pass| pass.damaged += 1);
                    if self.replace(digest).await {
                        control.change(|pass| pass.repaired += 1);
                    }
                    return;
                }
                Err(error) => {
                    warn!(%digest, error = chain(&error), "a copy cannot be verified");
                    return;
                }
            }
        }
    }

    /// Fetches a right copy in the place of a damaged one; whether there is one
    /// now.
    async fn replace(&self, digest: &Digest) -> bool {
        match self.fetch(digest).await {
            Ok(fetched) => fetched,
            Err(error) => {
                // Repair tries again, if it belongs here.
                error!(%digest, error = chain(&error), "a damaged copy cannot be replaced yet");
                false
            }
        }
    }

    async fn fetch(&self, digest: &Digest) -> Result<bool, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let Some(blob) = known(view.as_ref(), digest)? else {
            // Nobody can ask for it.
            return Ok(false);
        };
        self.blobs.fetch(blob).await?;
        self.blobs.metrics.repaired.inc();
        Ok(true)
    }

    async fn save(&self) {
        let Some(note) = &self.note else { return };
        let text = self.control().lock().encode();
        if let Err(error) = note.save(text).await {
            warn!(
                error = chain(&error),
                "the progress of the scrub cannot be noted"
            );
        }
    }

    fn control(&self) -> &ScrubControl {
        &self.blobs.scrub
    }
}

fn known(view: &dyn KeyValue, digest: &Digest) -> Result<Option<query::Blob>, ReplicationError> {
    Ok(query::blob(view, digest)?.filter(|blob| blob.content.is_none()))
}
