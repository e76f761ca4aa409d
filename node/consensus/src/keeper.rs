//! What has to be done for a group again and again.
//!
//! The leader adds the learners that are missing. Every node cuts its log when
//! the entries take too much space although they are not many.

use std::sync::Arc;
use std::time::Duration;

use openraft::impls::EmptyNode;
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::group::Group;

const INTERVAL: Duration = Duration::from_secs(1);

/// Looks after a group until `stop` says so.
pub(crate) async fn keep(group: Arc<Group>, log_bytes_max: u64, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = group.keep(log_bytes_max) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Group {
    async fn keep(&self, log_bytes_max: u64) {
        self.incoming.tidy().await;
        if self.leads() {
            self.add_learners().await;
        }
        if self.log.bytes() > log_bytes_max {
            self.cut_log().await;
        }
    }

    async fn add_learners(&self) {
        let known = self.status();
        for node in &self.config.learners {
            if known.learners.contains(node) || known.voters.contains(node) {
                continue;
            }
            // One membership change at a time; the next round does the rest.
            match self.raft.add_learner(*node, EmptyNode::new(), false).await {
                Ok(_) => tracing::info!(group = %self.id(), node, "added a learner"),
                Err(error) => {
                    tracing::debug!(group = %self.id(), node, %error, "cannot add a learner yet");
                    return;
                }
            }
        }
    }

    /// Makes a snapshot of what is applied, or cuts the log off before the one
    /// that is there.
    async fn cut_log(&self) {
        let (applied, snapshot, purged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.last_applied, metrics.snapshot, metrics.purged)
        };
        let requested = match snapshot {
            Some(snapshot) if purged < Some(snapshot) => {
                self.raft.trigger().purge_log(snapshot.index()).await
            }
            _ if snapshot < applied => self.raft.trigger().snapshot().await,
            _ => return,
        };
        if let Err(error) = requested {
            tracing::debug!(group = %self.id(), %error, "cannot cut the log");
        }
    }
}
