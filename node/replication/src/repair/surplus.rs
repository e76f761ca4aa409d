//! Copies beyond the placement: kept for readers while there is room, dropped
//! when there is none.
//!
//! The invariant: a copy goes only when all R nodes of its placement, asked one by
//! one, have just verified theirs and mean to keep it. A node means to keep what
//! it takes for its own, so that no two nodes rely on each other's copy and both
//! drop theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use entrepot_metadata::query;
use entrepot_oci::Digest;
use entrepot_proto::peer::blobs_client::BlobsClient;
use entrepot_proto::peer::{RangesRequest, StatReply, StatRequest};
use tonic::Request;
use tracing::{debug, info};

use super::Repair;
use super::survey::Survey;
use crate::error::ReplicationError;
use crate::metrics::level;
use crate::ranges::range_of;

/// Copies that one round asks about.
const ROUND_MAX: usize = 64;
/// For a node to sum up, and to look for a copy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A node verifies at this rate at least.
const VERIFY_BYTES_PER_S: u64 = 20 * 1024 * 1024;

/// In which ranges each node holds all that it should.
pub(super) type Whole = BTreeMap<u64, Vec<bool>>;

// === impl Repair ===

impl Repair {
    /// Compares what the other nodes hold with what they should.
    pub(super) async fn compare(&self, survey: &Survey) -> Whole {
        let mut whole = Whole::new();
        for (node, expected) in &survey.expected {
            let Some(channel) = self.blobs.peers.channel(*node) else {
                continue;
            };
            if *node == self.blobs.own() || !self.blobs.health.is_alive(*node) {
                continue;
            }
            let mut request = Request::new(RangesRequest {});
            request.set_timeout(ANSWER_TIMEOUT);
            match BlobsClient::new(channel).ranges(request).await {
                Ok(reply) => {
                    whole.insert(*node, expected.agreeing(&reply.into_inner().ranges));
                }
                Err(status) => debug!(node, %status, "a node does not sum up what it holds"),
            }
        }
        whole
    }

    /// Drops copies that are not needed until the rest is within the limit; how
    /// many went. `whole`: what was found out about the others, if that is known.
    pub(super) async fn thin_out(&self, whole: Option<&Whole>) -> Result<u64, ReplicationError> {
        let cache = &self.blobs.cache;
        let mut dropped = 0;
        for digest in cache.beyond(ROUND_MAX) {
            self.blobs.turns.begin_drop(&digest);
            let may_go = self.may_go(&digest, whole).await;
            let turn = self.blobs.turns.take(&digest).await;
            // Whoever has written it meanwhile relies on it.
            if self.blobs.turns.end_drop(&digest) && may_go? {
                let _deleted = self.blobs.delete_in_turn(turn).await?;
                cache.forget(&digest);
                self.blobs.repair.dropped();
                self.blobs.metrics.surplus_dropped.inc();
                info!(%digest, "a copy beyond the placement was dropped");
                dropped += 1;
            } else {
                // The others get their turn before it is asked about again.
                cache.touch(&digest);
            }
        }
        self.blobs.metrics.cached_bytes.set(level(cache.bytes()));
        Ok(dropped)
    }

    async fn may_go(
        &self,
        digest: &Digest,
        whole: Option<&Whole>,
    ) -> Result<bool, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let Some(blob) = query::blob(view.as_ref(), digest)? else {
            // Nobody knows it any more; that is not for here to judge.
            self.blobs.cache.forget(digest);
            return Ok(false);
        };
        let placement = self.blobs.placement(digest);
        if placement.contains(&self.blobs.own()) {
            self.blobs.cache.forget(digest);
            return Ok(false);
        }
        if placement.len() < self.blobs.copies() {
            return Ok(false);
        }
        // Those who are known to lack something there are not asked.
        let lacks = |node: &u64| {
            let ranges = whole.and_then(|whole| whole.get(node));
            ranges.is_some_and(|ranges| ranges.get(range_of(digest)) == Some(&false))
        };
        if placement.iter().any(lacks) {
            return Ok(false);
        }
        for node in placement {
            let Some(stat) = self.verified_at(node, digest, blob.size).await else {
                return Ok(false);
            };
            if !(stat.found && stat.verified && stat.keeps && stat.size == blob.size) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// None: it did not answer.
    async fn verified_at(&self, node: u64, digest: &Digest, size: u64) -> Option<StatReply> {
        let channel = self.blobs.peers.channel(node)?;
        let mut request = Request::new(StatRequest {
            digest: digest.to_string(),
            verify: true,
        });
        let patience = ANSWER_TIMEOUT + Duration::from_secs(size / VERIFY_BYTES_PER_S);
        request.set_timeout(patience);
        match BlobsClient::new(channel).stat(request).await {
            Ok(reply) => Some(reply.into_inner()),
            Err(status) => {
                debug!(node, %digest, %status, "a node does not verify its copy");
                None
            }
        }
    }
}
