//! What befalls the nodes: they are killed, alone or two at a time, for a moment or
//! for so long that their copies are made elsewhere, and they are paused, so that
//! what they looked at is old when they go on.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use entrepot_harness::{Cluster, Random};

use super::LOST_AFTER_S;
use crate::support::{EU, US};

/// Between one trouble and the next, for things to get going.
const CALM_MS: (usize, usize) = (1_000, 3_500);
const LASTS_MS: (usize, usize) = (50, 3_000);

/// All that happens, drawn from a seed.
#[derive(Debug)]
pub(super) struct Troubles {
    random: Random,
    kills: usize,
    pauses: usize,
    losses: usize,
}

// === impl Troubles ===

impl Troubles {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0x7472_6f75),
            kills: 0,
            pauses: 0,
            losses: 0,
        }
    }

    /// The next trouble, from its beginning to its end.
    pub(super) async fn next(&mut self, cluster: &mut Cluster) -> Result<()> {
        let calm = self.between(CALM_MS);
        tokio::time::sleep(calm).await;
        let mut here = cluster.ids_in(US);
        let first = here.swap_remove(self.random.below(here.len()));
        let second = here[self.random.below(here.len())];
        let lasts = self.between(LASTS_MS);
        match self.random.below(10) {
            0 => self.kill(cluster, &[first, second], lasts).await,
            1 => {
                self.losses += 1;
                let lasts = lasts + Duration::from_secs(LOST_AFTER_S);
                self.kill(cluster, &[first], lasts).await
            }
            2 => {
                let abroad = cluster.ids_in(EU);
                self.kill(cluster, &abroad, lasts).await
            }
            3..6 => {
                self.pauses += 1;
                cluster.node(first)?.pause()?;
                tokio::time::sleep(lasts).await;
                cluster.node(first)?.resume()
            }
            _ => self.kill(cluster, &[first], lasts).await,
        }
    }

    async fn kill(&mut self, cluster: &mut Cluster, ids: &[u64], lasts: Duration) -> Result<()> {
        for id in ids {
            cluster.node_mut(*id)?.expect_alive()?;
            cluster.kill9(*id)?;
        }
        self.kills += ids.len();
        tokio::time::sleep(lasts).await;
        cluster.start(ids).await
    }

    fn between(&mut self, (least, most): (usize, usize)) -> Duration {
        let ms = least + self.random.below(most - least);
        Duration::from_millis(ms as u64)
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} nodes were killed, {} of them for long, {} were paused",
            self.kills, self.losses, self.pauses
        )
    }
}
