//! What other regions have said they let this one read through.
//!
//! A hint: it says whom to ask, and the one who is asked decides. The invariant:
//! what a region has said stays until it says something else, or is no region any
//! more: while it is away, nobody can tell that it has nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_metadata::query::{PrefixMapping, Rule, RuleOptions};
use entrepot_oci::{AccountId, RegionName, RepositoryName};
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{Offer, OffersRequest};
use entrepot_proto::peers::MESSAGE_BYTES_MAX;
use futures::future::join_all;
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::debug;

use super::super::ReplicaServer;
use super::super::source::names_at_source;
use crate::{placement, wire};

/// Of one region.
const OFFERS_MAX: usize = 20_000;
const TIMEOUT: Duration = Duration::from_secs(5);

/// By region.
#[derive(Debug, Default)]
pub(super) struct Offers(Mutex<BTreeMap<RegionName, Vec<Known>>>);

/// A rule of another region.
#[derive(Debug)]
struct Known {
    source: AccountId,
    account: AccountId,
    /// As far as names go.
    rule: Rule,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Source {
    pub(super) region: RegionName,
    pub(super) account: AccountId,
}

// === impl Offers ===

impl Offers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RegionName, Vec<Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that may have what is in a repository; the account's own first.
    pub(super) fn sources(&self, account: &AccountId, repository: &RepositoryName) -> Vec<Source> {
        let mut found = BTreeSet::new();
        for (region, known) in &*self.lock() {
            for offer in known.iter().filter(|offer| offer.account == *account) {
                if !names_at_source(&offer.rule, repository).is_empty() {
                    found.insert(Source {
                        region: region.clone(),
                        account: offer.source.clone(),
                    });
                }
            }
        }
        let mut found: Vec<Source> = found.into_iter().collect();
        found.sort_by_key(|source| source.account != *account);
        found
    }
}

// === impl ReplicaServer ===

impl ReplicaServer {
    /// Asks every other region what it offers.
    pub(super) async fn ask_for_offers(&self) {
        let own = self.blobs.region();
        let mut regions = self.blobs.peers().regions();
        regions.retain(|region| region != own);
        let asked = join_all(regions.iter().map(|region| self.offers_of(region))).await;
        let mut offers = self.through.offers.lock();
        offers.retain(|region, _| regions.contains(region));
        for (region, known) in regions.into_iter().zip(asked) {
            if let Some(known) = known {
                offers.insert(region, known);
            }
        }
    }

    /// None: it does not say.
    async fn offers_of(&self, region: &RegionName) -> Option<Vec<Known>> {
        let alive = self.blobs.health().alive_in(region);
        let node = placement::first(&self.blobs.own().to_be_bytes(), alive)?;
        let channel = self.blobs.peers().channel(node)?;
        let mut client =
            ReplicationClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = OffersRequest {
            region: self.blobs.region().to_string(),
        };
        let silent = |_| Status::deadline_exceeded("no answer");
        let reply = timeout(TIMEOUT, client.offers(request)).await;
        match reply.map_err(silent).and_then(|reply| reply) {
            Ok(reply) => {
                let offers = reply.into_inner().offers.into_iter().take(OFFERS_MAX);
                Some(offers.filter_map(|offer| Known::read(offer).ok()).collect())
            }
            // Of an older release: it has none.
            Err(status) if status.code() == Code::Unimplemented => Some(Vec::new()),
            Err(status) => {
                debug!(%region, %status, "a region does not say what it offers");
                None
            }
        }
    }
}

// === impl Known ===

impl Known {
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    fn read(offer: Offer) -> Result<Self, Status> {
        let is_mapped = !(offer.map_from.is_empty() && offer.map_to.is_empty());
        let mapping = is_mapped.then_some(PrefixMapping {
            from: offer.map_from,
            to: offer.map_to,
        });
        Ok(Self {
            source: wire::name(&offer.source_account)?,
            account: wire::name(&offer.account)?,
            rule: Rule {
                id: String::new(),
                prefixes: offer.prefixes,
                destinations: Vec::new(),
                options: RuleOptions {
                    repositories: offer.repositories,
                    repositories_excluded: offer.repositories_excluded,
                    mapping,
                    ..RuleOptions::default()
                },
                updated_at_ms: 0,
            },
        })
    }
}
