//! Counting the copies of a region's blobs, for a node that is to leave.
//!
//! A region may have millions of blobs, and every node is asked about each: that
//! takes longer than anybody waits for an answer. So it is done in the
//! background, page by page, and whoever asks meanwhile is told how far it is. A
//! result is told once, and not long after it was found: then it is counted anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Blob};
use entrepot_oci::{Algorithm, Digest};
use entrepot_proto::peer::HeldRequest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peers::MESSAGE_BYTES_MAX;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Counted, Departure, Progress};
use crate::{Registry, ServiceError};

/// Blobs that one question to a node is about.
const PAGE: usize = 500;
const HELD_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that did not answer so many questions of a count is asked no more.
const SILENCES_MAX: u32 = 2;
/// Whoever asks again, asks within this.
const RESULT_KEPT: Duration = Duration::from_secs(15);

/// The counts under way, one for each node at most.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<u64, watch::Receiver<State>>>);

#[derive(Debug, Clone)]
enum State {
    Counting(Progress),
    Done {
        at: Instant,
        found: Result<Departure, ServiceError>,
    },
}

// === impl Counts ===

impl Counts {
    /// The count for `node`: the one that is under way or just done, or the one
    /// that `start` starts.
    fn join(
        &self,
        node: u64,
        start: impl FnOnce() -> watch::Receiver<State>,
    ) -> watch::Receiver<State> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = counts.get(&node) {
            let goes_on = match &*known.borrow() {
                State::Counting(_) => known.has_changed().is_ok(),
                State::Done { at, .. } => at.elapsed() < RESULT_KEPT,
            };
            if goes_on {
                return known.clone();
            }
        }
        let started = start();
        counts.insert(node, started.clone());
        started
    }

    /// A result was told.
    fn forget(&self, node: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = |it: &watch::Receiver<State>| matches!(*it.borrow(), State::Done { .. });
        if counts.get(&node).is_some_and(done) {
            counts.remove(&node);
        }
    }
}

// === impl Registry ===

impl Registry {
    /// The blobs of a departure. After `patience`, how far their count is; none:
    /// waits for its end.
    pub(super) async fn count(
        self: &Arc<Self>,
        node: u64,
        patience: Option<Duration>,
    ) -> Result<Counted, ServiceError> {
        let mut count = self.counts.join(node, || self.start_count(node));
        let now = count.clone();
        let done = async {
            let done = count.wait_for(|state| matches!(state, State::Done { .. }));
            done.await.map(|state| state.clone()).ok()
        };
        let state = match patience {
            Some(patience) => match tokio::time::timeout(patience, done).await {
                Ok(state) => state,
                Err(_) => Some(now.borrow().clone()),
            },
            None => done.await,
        };
        match state {
            Some(State::Done { found, .. }) => {
                self.counts.forget(node);
                found.map(Counted::All)
            }
            Some(State::Counting(progress)) => Ok(Counted::Some(progress)),
            None => Err(ServiceError::unavailable(
                "the count of the blobs has ended",
            )),
        }
    }

    fn start_count(self: &Arc<Self>, node: u64) -> watch::Receiver<State> {
        let (progress, seen) = watch::channel(State::Counting(Progress::default()));
        let registry = Arc::clone(self);
        tokio::spawn(async move {
            let found = registry.count_all(node, &progress).await;
            let at = Instant::now();
            progress.send_replace(State::Done { at, found });
        });
        seen
    }

    async fn count_all(
        &self,
        node: u64,
        progress: &watch::Sender<State>,
    ) -> Result<Departure, ServiceError> {
        let mut departure = Departure::default();
        let mut silences = BTreeMap::new();
        let view = self.current().await?;
        let mut after: Option<Digest> = None;
        loop {
            let page = query::blobs(view.as_ref(), after.as_ref(), PAGE)?;
            let Some(last) = page.last().map(|blob| blob.digest) else {
                return Ok(departure);
            };
            after = Some(last);
            self.count_copies(node, view.as_ref(), page, &mut departure, &mut silences)
                .await?;
            progress.send_replace(State::Counting(Progress {
                blobs: departure.blobs,
                per_mille: per_mille(&last),
            }));
        }
    }

    async fn count_copies(
        &self,
        node: u64,
        view: &dyn KeyValue,
        page: Vec<Blob>,
        departure: &mut Departure,
        silences: &mut BTreeMap<u64, u32>,
    ) -> Result<(), ServiceError> {
        let blobs: Vec<Blob> = page.into_iter().filter(|it| it.content.is_none()).collect();
        if blobs.is_empty() {
            return Ok(());
        }
        let nodes = self.peers.in_region(self.region());
        let digests: Vec<String> = blobs.iter().map(|it| it.digest.to_string()).collect();
        let asked = nodes.iter().map(|it| async {
            // One that hangs would make each page as long as the patience with it.
            let given_up = silences.get(it).is_some_and(|seen| *seen >= SILENCES_MAX);
            if given_up {
                return None;
            }
            self.held(*it, &digests).await
        });
        let answers = futures::future::join_all(asked).await;
        for (holder, _) in nodes.iter().zip(&answers).filter(|(_, it)| it.is_none()) {
            departure.silent.insert(*holder);
            *silences.entry(*holder).or_default() += 1;
        }
        let staying = |it: u64| {
            let list = self.peers.all();
            it != node && list.find(it).is_some_and(|peer| peer.standing.takes_copies)
        };
        let stay = nodes.iter().filter(|it| staying(**it)).count();
        let wanted = self.blobs.copies().min(stay).max(1);
        for (place, blob) in blobs.iter().enumerate() {
            let mut elsewhere = 0;
            let mut staying_copies = 0;
            let mut here = false;
            for (holder, held) in nodes.iter().zip(&answers) {
                let has = held.as_ref().is_some_and(|held| held[place]);
                if *holder == node {
                    // The record does not tell: it names who had it first.
                    here = held.is_none() || has;
                } else if has {
                    elsewhere += 1;
                    staying_copies += usize::from(staying(*holder));
                }
            }
            // What was deleted meanwhile is no loss.
            if elsewhere == 0 && query::blob(view, &blob.digest)?.is_none() {
                continue;
            }
            departure.blobs += 1;
            departure.blobs_short += u64::from(staying_copies < wanted && (here || elsewhere > 0));
            departure.blobs_last += u64::from(elsewhere == 0 && here);
        }
        Ok(())
    }

    /// Which of these `node` has; none, when it does not say.
    async fn held(&self, node: u64, digests: &[String]) -> Option<Vec<bool>> {
        let own = node == self.peers.own().id;
        if own {
            let mut held = Vec::with_capacity(digests.len());
            for digest in digests {
                let digest: Digest = digest.parse().ok()?;
                held.push(self.blobs.store().stat(&digest).await.ok()?.is_some());
            }
            return Some(held);
        }
        let mut client = BlobsClient::new(self.peers.channel(node)?)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let request = HeldRequest {
            digests: digests.to_vec(),
        };
        let asked = tokio::time::timeout(HELD_TIMEOUT, client.held(request)).await;
        let held = asked.ok()?.ok()?.into_inner().held;
        (held.len() == digests.len()).then_some(held)
    }
}

/// How much of all digests comes before this one, if they are spread evenly, as
/// hashes are, and nearly all are of the first algorithm, as they are as well.
fn per_mille(digest: &Digest) -> u32 {
    let [high, low, ..] = digest.bytes() else {
        return 0;
    };
    match digest.algorithm() {
        Algorithm::Sha256 => u32::from(u16::from_be_bytes([*high, *low])) * 1_000 / 0x1_0000,
        Algorithm::Sha512 => 999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_how_far_a_count_is() {
        let of = |hex: &str| {
            let digest = format!("sha256:{hex}{}", "0".repeat(60));
            per_mille(&digest.parse().unwrap())
        };
        assert_eq!([of("0000"), of("8000"), of("ffff")], [0, 500, 999]);
        let other = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(per_mille(&other), 999);
    }
}
