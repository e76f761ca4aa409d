//! How the nodes of a test cluster become one: the first makes it, the others
//! join it by a token each.

use anyhow::{Context, Result, ensure};

use super::{Cluster, READY_DEADLINE};
use crate::wait::wait_until;

/// Of one group.
const VOTERS_MAX: usize = 5;

impl Cluster {
    /// Starts every node, and waits until as many vote as will.
    pub(super) async fn start_first(&mut self) -> Result<()> {
        let founders = self.ids();
        self.start_all().await?;
        if let Some(links) = &self.links {
            links.refuse_strangers();
        }
        let mut groups = vec![("global/0".to_owned(), founders)];
        for node in &self.nodes {
            let group = format!("region/{}/0", node.region());
            let of_region = self.ids_in(node.region());
            let of_region: Vec<u64> = of_region
                .into_iter()
                .filter(|id| !self.spares.contains(id))
                .collect();
            if !of_region.is_empty() && groups.iter().all(|(known, _)| *known != group) {
                groups.push((group, of_region));
            }
        }
        for (group, nodes) in groups {
            self.wait_voters(&group, &nodes).await?;
        }
        Ok(())
    }

    async fn wait_voters(&self, group: &str, nodes: &[u64]) -> Result<()> {
        let count = match nodes.len().min(VOTERS_MAX) {
            few @ 0..=2 => few,
            more => more - (more + 1) % 2,
        };
        let admin = self.admin(*nodes.first().context("a group of no nodes")?)?;
        wait_until("the nodes to vote", READY_DEADLINE, async || {
            let groups = admin.list(&["cluster", "status"], "groups").await?;
            let found = groups.iter().find(|it| it["group"] == group);
            let voters = found.and_then(|it| it["voters"].as_array());
            let voters = voters.with_context(|| format!("no group {group}"))?;
            ensure!(voters.len() == count, "{group}: {voters:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Makes a node one of the cluster, if it has to be made one: the first
    /// makes the cluster, and serves before another can join.
    pub(super) async fn let_in(&mut self, id: u64) -> Result<()> {
        let is_in = self.node(id)?.data().join("trust/node.crt").exists();
        if !self.outside.remove(&id) || is_in {
            return Ok(());
        }
        let region = self.node(id)?.region().to_owned();
        if id == 1 {
            let init = ["init", "--region", &region];
            self.node(1)?.command(&init).await?.success()?;
            self.spawn(1)?;
            return self.node_mut(1)?.wait_ready(READY_DEADLINE).await;
        }
        let token = self.token(&["--region", &region]).await?;
        let join = ["join", "--token", &token];
        self.node(id)?.command(&join).await?.success()?;
        Ok(())
    }

    /// A token that node 1 makes.
    pub async fn token(&self, arguments: &[&str]) -> Result<String> {
        let made = [&["node", "token"], arguments].concat();
        let made = self.admin(1)?.json(&made).await?;
        let token = made["token"].as_str().map(str::to_owned);
        token.with_context(|| format!("no token: {made}"))
    }
}
