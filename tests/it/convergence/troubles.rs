//! What befalls two regions: their line is cut or breaks, and nodes of one or of
//! both are killed and started again.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use entrepot_harness::{Cluster, Link, Random};

use crate::support::{EU, US};

/// One piece in so many breaks its connection.
const BREAKS_ONE_IN: usize = 40;
/// Between one trouble and the next, for things to get going.
const CALM_MS: (usize, usize) = (1_500, 4_000);
const LASTS_MS: (usize, usize) = (500, 4_000);

/// All that happens, drawn from a seed.
#[derive(Debug)]
pub(super) struct Troubles {
    random: Random,
    cuts: usize,
    breaks: usize,
    kills: usize,
}

// === impl Troubles ===

impl Troubles {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0x7472_6f75),
            cuts: 0,
            breaks: 0,
            kills: 0,
        }
    }

    /// The next trouble, from its beginning to its end.
    pub(super) async fn next(&mut self, cluster: &mut Cluster) -> Result<()> {
        let lasts = self.between(LASTS_MS);
        match self.random.below(6) {
            0 | 1 => {
                self.cuts += 1;
                set_line(cluster, Link::Cut)?;
                tokio::time::sleep(lasts).await;
            }
            2 => {
                self.breaks += 1;
                let one_in = BREAKS_ONE_IN;
                set_line(cluster, Link::Breaks { one_in })?;
                tokio::time::sleep(lasts).await;
            }
            3 => self.kill(cluster, &[US], lasts).await?,
            4 => self.kill(cluster, &[EU], lasts).await?,
            _ => self.kill(cluster, &[US, EU], lasts).await?,
        }
        set_line(cluster, Link::Whole)?;
        let calm = self.between(CALM_MS);
        tokio::time::sleep(calm).await;
        Ok(())
    }

    /// All that there were.
    pub(super) fn count(&self) -> u64 {
        (self.cuts + self.breaks + self.kills) as u64
    }

    /// One node of each of the regions.
    async fn kill(
        &mut self,
        cluster: &mut Cluster,
        regions: &[&str],
        lasts: Duration,
    ) -> Result<()> {
        let mut ids = Vec::new();
        for region in regions {
            let of_region = cluster.ids_in(region);
            let id = of_region[self.random.below(of_region.len())];
            cluster.kill9(id)?;
            ids.push(id);
        }
        self.kills += ids.len();
        tokio::time::sleep(lasts).await;
        cluster.start(&ids).await
    }

    fn between(&mut self, (least, most): (usize, usize)) -> Duration {
        let ms = least + self.random.below(most - least);
        Duration::from_millis(ms as u64)
    }
}

fn set_line(cluster: &Cluster, link: Link) -> Result<()> {
    let links = cluster.links()?;
    for from in cluster.ids_in(US) {
        for to in cluster.ids_in(EU) {
            links.set(from, to, link);
            links.set(to, from, link);
        }
    }
    Ok(())
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the line was cut {} times and broke for a while {} times, {} nodes were killed",
            self.cuts, self.breaks, self.kills
        )
    }
}
