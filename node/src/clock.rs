//! The time as most of the nodes have it.
//!
//! Certificates have dates, and a machine's clock may be days off: a certificate
//! of the future is good for nobody. So a node that finds its own clock far from
//! those of most others goes by theirs, says so once, and goes by its own again
//! when that is right. Certificates, join tokens and lifecycle policies go by it, and
//! so does whatever they or collection compare with it: when images were pushed, and
//! since when nothing names a blob.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use entrepot_proto::environment::Clock;
use entrepot_replication::health::Health;
use tracing::{error, info};

/// No more than this is no difference that matters for a certificate.
const TOLERATED_MS: i64 = 5 * 60 * 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the other nodes' clocks say now, milliseconds since the Unix epoch.
type Others = Box<dyn Fn() -> Vec<i64> + Send + Sync>;

/// This node's clock, set right by the others'.
pub(crate) struct ClusterClock {
    own: Arc<dyn Clock>,
    /// Not known before the node has peers.
    others: OnceLock<Others>,
    is_wrong: AtomicBool,
}

// === impl ClusterClock ===

impl ClusterClock {
    pub(crate) fn new(own: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            own,
            others: OnceLock::new(),
            is_wrong: AtomicBool::new(false),
        })
    }

    /// From now on, what its peers say counts too.
    pub(crate) fn follow(&self, health: Arc<Health>) -> Arc<Health> {
        let peers = Arc::clone(&health);
        self.ask(move || peers.clocks());
        health
    }

    /// From now on, the others are asked.
    pub(crate) fn ask(&self, others: impl Fn() -> Vec<i64> + Send + Sync + 'static) {
        // A second call is none: there is one node, and one start of it.
        let _ = self.others.set(Box::new(others));
    }

    /// Says when the machine's clock is found to be wrong, and when it is right
    /// again, until it is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            self.look();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&self) {
        let (own, agreed) = self.both();
        let is_wrong = own != agreed;
        if self.is_wrong.swap(is_wrong, Ordering::Relaxed) == is_wrong {
            return;
        }
        if is_wrong {
            let off_s = (own - agreed) / 1_000;
            error!(
                off_s,
                "this machine's clock is wrong: it differs by so many seconds from those of most \
                 other nodes, by which certificates are dated until it is set right"
            );
        } else {
            info!("this machine's clock agrees with those of most other nodes again");
        }
    }

    /// What the machine says, and what counts.
    fn both(&self) -> (i64, i64) {
        let own = self.own.now_ms();
        let others = self.others.get().map(|others| others());
        (own, agreed(own, others.unwrap_or_default()))
    }
}

impl Clock for ClusterClock {
    fn now_ms(&self) -> i64 {
        self.both().1
    }
}

impl fmt::Debug for ClusterClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterClock")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

/// What most say, or the nearest to it of what may be right: `own`, where there
/// are as many before it as after it. Of two, nobody knows who is right.
fn agreed(own: i64, mut all: Vec<i64>) -> i64 {
    all.push(own);
    all.sort_unstable();
    let middle = &all[(all.len() - 1) / 2..=all.len() / 2];
    let [first, .., last] = middle else {
        return within(own, middle[0], middle[0]);
    };
    within(own, *first, *last)
}

fn within(own: i64, first: i64, last: i64) -> i64 {
    let nearest = own.clamp(first, last);
    if nearest.abs_diff(own) <= TOLERATED_MS.unsigned_abs() {
        own
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const DAY_MS: i64 = 24 * 3600 * 1_000;

    #[test]
    fn most_of_the_clocks_are_right() {
        let days = |days: &[i64]| days.iter().map(|day| NOW + day * DAY_MS).collect();
        for (own, others, expected) in [
            (0, vec![], 0),
            (400, vec![], 400),
            // Of two, nobody knows.
            (2, vec![0], 2),
            (0, vec![2], 0),
            (2, vec![0, 0], 0),
            (-2, vec![0, 0], 0),
            (0, vec![0, 900], 0),
            (3, vec![0, 0, 0], 0),
            (0, vec![0, 0, -3], 0),
            // Two and two: either may be right.
            (2, vec![2, 0, 0], 2),
            (0, vec![2, 2, 0], 0),
            (9, vec![2, 0, 0], 2),
        ] {
            let found = agreed(NOW + own * DAY_MS, days(&others));
            assert_eq!(found, NOW + expected * DAY_MS, "{own} with {others:?}");
        }
    }

    #[test]
    fn clocks_that_nearly_agree_are_each_right() {
        let others = vec![NOW + 1, NOW + 2];
        assert_eq!(
            agreed(NOW + TOLERATED_MS, others.clone()),
            NOW + TOLERATED_MS
        );
        assert_eq!(agreed(NOW + TOLERATED_MS + 3, others), NOW + 2);
    }
}
