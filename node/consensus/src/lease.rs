//! Leader leases: reads that a leader answers without asking its followers.
//!
//! A follower that heard from a leader refuses every other candidate for an
//! election timeout (openraft's `election_timeout_max`). So a message that a
//! quorum answered proves that nobody else leads until that long after it was
//! *sent*; the lease is shorter than that, by a margin for clocks of unequal
//! speed. Clocks are monotonic and compared on one node only. The lease alone
//! is not enough, and these close the gaps:
//!
//! - **A new leader** may not have applied what the last one acknowledged. It
//!   has once it applied an entry of its own term, and until then it asks.
//! - **A follower that restarts** has forgotten whom it heard from, and would
//!   elect another leader at once. It stays out of the group for the length of
//!   a lease first ([`Lease::sit_out`]).
//! - **A transfer of the lead** elects the next leader without any waiting. A
//!   leader that hands over does not use its lease any more in that term.
//!
//! What a write acknowledged was applied on the leader before. What was not
//! acknowledged yet may be seen as well, on a follower that applied it before
//! the leader did, or on the leader while it applies a batch: whoever read it
//! there must not meet an older state after that. So a leader notes up to where
//! it let anybody apply ([`Reached`](crate::machine::Reached)), before it does,
//! and a read under the lease waits until the copy that it looks at is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::type_config::async_runtime::instant::Instant as _;
use openraft::type_config::async_runtime::watch::WatchReceiver;

use crate::types::Raft;

/// The lease of one group on this node, while it leads.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Zero: there is none, every read asks a quorum.
    length: Duration,
    /// The term in which this node gave the lead away; in a later one it leads
    /// because it was elected again. 0: it never did.
    given_up: AtomicU64,
}

// === impl Lease ===

impl Lease {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            given_up: AtomicU64::new(0),
        }
    }

    /// For a voter that may have promised something before it restarted.
    /// `voters` are the group's, as far as they are known.
    pub(crate) async fn sit_out(&self, voters: &BTreeSet<u64>) {
        let alone = voters.len() == 1;
        if !alone {
            tokio::time::sleep(self.length).await;
        }
    }

    /// Before the lead is handed over.
    pub(crate) fn give_up(&self, raft: &Raft) {
        let term = raft.metrics().borrow_watched().current_term;
        self.given_up.fetch_max(term, Ordering::SeqCst);
    }

    /// Whether this node leads now and has applied all that leaders before it
    /// committed. `false` says nothing.
    pub(crate) fn holds(&self, raft: &Raft) -> bool {
        if self.length.is_zero() {
            return false;
        }
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader || metrics.running_state.is_err() {
            return false;
        }
        if metrics.current_term <= self.given_up.load(Ordering::SeqCst) {
            return false;
        }
        let own_term_applied = metrics.last_applied.is_some_and(|applied| {
            let leader = applied.committed_leader_id();
            leader.term == metrics.current_term && leader.node_id == metrics.id
        });
        if !own_term_applied {
            return false;
        }
        let mut voters = metrics.membership_config.membership().voter_ids();
        if voters.next() == Some(metrics.id) && voters.next().is_none() {
            // Nobody else could be elected.
            return true;
        }
        metrics
            .last_quorum_acked
            .is_some_and(|sent| sent.into_inner().elapsed() < self.length)
    }
}
