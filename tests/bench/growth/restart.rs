//! How long a node takes from its start until it answers a pull by tag, which
//! it only does when it has opened its index and leads its group.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use entrepot_harness::Cluster;

use crate::content::{self, TAGGED};

const POLL: Duration = Duration::from_millis(5);
const ANSWERED: Duration = Duration::from_mins(1);

/// What happened before a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Stopped,
    Killed,
    /// The machine lost its power, as far as the node can tell: it does not
    /// believe its index, and builds it again from snapshot and log.
    PowerCut,
}

impl Before {
    pub(crate) const ALL: [Self; 3] = [Self::Stopped, Self::Killed, Self::PowerCut];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stopped => "start after a clean stop, s",
            Self::Killed => "start after kill -9, s",
            Self::PowerCut => "start with an index that must be built again, s",
        }
    }
}

/// Seconds of the empty node and of the full one.
pub(crate) type Starts = Vec<(Before, [Vec<f64>; 2])>;

pub(crate) async fn all(empty: &mut Cluster, full: &mut Cluster, rounds: usize) -> Result<Starts> {
    let mut starts = Vec::new();
    for before in Before::ALL {
        let mut seconds = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (seconds, cluster) in seconds.iter_mut().zip([&mut *empty, &mut *full]) {
                seconds.push(start_after(before, cluster).await?);
            }
        }
        eprintln!("  {}: {seconds:.2?}", before.name());
        starts.push((before, seconds));
    }
    Ok(starts)
}

async fn start_after(before: Before, cluster: &mut Cluster) -> Result<f64> {
    match before {
        Before::Stopped | Before::PowerCut => cluster.stop(&[1]).await?,
        Before::Killed => cluster.kill9(1)?,
    }
    if before == Before::PowerCut {
        // Says that the index may be believed.
        let state = cluster.node(1)?.data().join("consensus/index/state");
        fs::remove_file(&state).with_context(|| format!("remove {}", state.display()))?;
    }
    let registry = cluster.registry(1)?;
    let path = format!("/v2/{TAGGED}/manifests/{}", content::tag(0));
    let started = Instant::now();
    let first_answer = async {
        let mut looks = tokio::time::interval(POLL);
        loop {
            looks.tick().await;
            // Nobody listens yet, or nobody leads yet.
            if let Ok(reply) = registry.get(&path).send().await
                && reply.status == 200
            {
                return started.elapsed().as_secs_f64();
            }
        }
    };
    let first_answer = tokio::time::timeout(ANSWERED, first_answer);
    let (ready, seconds) = tokio::join!(cluster.start(&[1]), first_answer);
    ready?;
    seconds.context("a node that was started again answers nothing")
}
