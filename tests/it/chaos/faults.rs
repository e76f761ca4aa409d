//! Carries a schedule out on a cluster, and makes the cluster whole again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use entrepot_harness::{Cluster, Link};
use tokio::time::Instant;

use super::schedule::{Blow, Kind, Whom};
use crate::support::US_GROUP;

/// A node that hangs does not say who leads; then any node is hit.
const LEADER_DEADLINE: Duration = Duration::from_millis(700);

/// A cluster in a round.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    cluster: &'a mut Cluster,
    down: BTreeSet<u64>,
    paused: BTreeSet<u64>,
}

/// One moment of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// At one moment, what ends does so first.
    Ends,
    Begins,
}

impl<'a> Faults<'a> {
    pub(crate) fn new(cluster: &'a mut Cluster) -> Self {
        Self {
            cluster,
            down: BTreeSet::new(),
            paused: BTreeSet::new(),
        }
    }

    /// Every blow at its time.
    ///
    /// # Errors
    /// When a node ends by itself.
    pub(crate) async fn carry_out(&mut self, blows: &[Blow]) -> Result<()> {
        let mut turns: Vec<(u64, Turn, Blow)> = Vec::new();
        for blow in blows {
            turns.push((blow.begins_ms, Turn::Begins, *blow));
            turns.push((blow.ends_ms, Turn::Ends, *blow));
        }
        turns.sort_by_key(|(at_ms, turn, _)| (*at_ms, *turn));
        let started = Instant::now();
        for (at_ms, turn, blow) in turns {
            tokio::time::sleep_until(started + Duration::from_millis(at_ms)).await;
            self.expect_alive()?;
            match turn {
                Turn::Begins => self.begin(blow.kind).await,
                Turn::Ends => self.end(blow.kind),
            }
            .with_context(|| blow.to_string())?;
        }
        Ok(())
    }

    /// Ends whatever is still going on, and waits until every node serves.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        self.cluster.links()?.set_all(Link::Whole);
        self.resume()?;
        self.expect_alive()?;
        self.cluster.start_all().await
    }

    fn expect_alive(&mut self) -> Result<()> {
        for id in self.cluster.ids() {
            if !self.down.contains(&id) {
                self.cluster.node_mut(id)?.expect_alive()?;
            }
        }
        Ok(())
    }

    async fn begin(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Kill(whom) => {
                let id = self.find(whom).await?;
                self.kill(id)
            }
            Kind::KillAll => {
                let mut ids = self.cluster.ids().into_iter();
                ids.try_for_each(|id| self.kill(id))
            }
            Kind::Stop(whom) => {
                let id = self.find(whom).await?;
                self.down.insert(id);
                self.cluster.stop(&[id]).await
            }
            Kind::Pause(whom) => {
                let id = self.find(whom).await?;
                self.paused.insert(id);
                self.cluster.node(id)?.pause()
            }
            Kind::Isolate(whom) => {
                let id = self.find(whom).await?;
                self.cluster.links()?.set_around(id, Link::Cut);
                Ok(())
            }
            Kind::Mute(whom) => {
                let id = self.find(whom).await?;
                self.cut(|from, _| from == id)
            }
            Kind::Deafen(whom) => {
                let id = self.find(whom).await?;
                self.cut(|_, to| to == id)
            }
            Kind::Part(whom) => {
                let id = self.find(whom).await?;
                self.cut(|from, to| from != id && to != id)
            }
            Kind::Slow {
                delay_ms,
                jitter_ms,
            } => {
                let delay = Duration::from_millis(delay_ms);
                let jitter = Duration::from_millis(jitter_ms);
                let links = self.cluster.links()?;
                links.set_all(Link::Slow { delay, jitter });
                Ok(())
            }
            Kind::Break { one_in } => {
                self.cluster.links()?.set_all(Link::Breaks { one_in });
                Ok(())
            }
        }
    }

    fn end(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Kill(_) | Kind::KillAll | Kind::Stop(_) => {
                let mut down = std::mem::take(&mut self.down).into_iter();
                down.try_for_each(|id| self.cluster.spawn(id))
            }
            Kind::Pause(_) => self.resume(),
            _ => {
                self.cluster.links()?.set_all(Link::Whole);
                Ok(())
            }
        }
    }

    fn kill(&mut self, id: u64) -> Result<()> {
        self.down.insert(id);
        self.cluster.kill9(id)
    }

    fn resume(&mut self) -> Result<()> {
        let mut paused = std::mem::take(&mut self.paused).into_iter();
        paused.try_for_each(|id| self.cluster.node(id)?.resume())
    }

    fn cut(&self, is_cut: impl Fn(u64, u64) -> bool) -> Result<()> {
        let ids = self.cluster.ids();
        let links = self.cluster.links()?;
        for from in &ids {
            for to in ids.iter().filter(|to| is_cut(*from, **to)) {
                links.set(*from, *to, Link::Cut);
            }
        }
        Ok(())
    }

    async fn find(&self, whom: Whom) -> Result<u64> {
        let leader = self.leader().await?;
        let nth = match whom {
            Whom::Leader => return Ok(leader),
            Whom::Follower(nth) => nth,
        };
        let others = self.cluster.ids().into_iter().filter(|id| *id != leader);
        others.cycle().nth(nth).context("no other node")
    }

    /// Whom most would call the leader; the first node where nobody says.
    async fn leader(&self) -> Result<u64> {
        for id in self.cluster.ids() {
            if self.down.contains(&id) || self.paused.contains(&id) {
                continue;
            }
            let admin = self.cluster.admin(id)?;
            let asked = tokio::time::timeout(LEADER_DEADLINE, admin.leader(US_GROUP)).await;
            if let Ok(Ok(Some(leader))) = asked {
                return Ok(leader);
            }
        }
        self.cluster.ids().first().copied().context("no node")
    }
}
