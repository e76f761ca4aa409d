//! The systems that are compared, each started on an empty folder.

use anyhow::Result;
use entrepot_harness::{Cluster, DockerRegistry, Registry};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Known,
    OneNode,
    ThreeNodes,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Known, Self::OneNode, Self::ThreeNodes];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Known => "docker-registry",
            Self::OneNode => "Entrepot, 1 node",
            Self::ThreeNodes => "Entrepot, 3 nodes, 3 copies",
        }
    }
}

/// A running system.
#[derive(Debug)]
pub(crate) struct System {
    process: Process,
    /// One client per address.
    pub(crate) clients: Vec<Registry>,
}

#[derive(Debug)]
enum Process {
    Known(DockerRegistry),
    Cluster(Cluster),
}

impl System {
    pub(crate) async fn start(kind: Kind) -> Result<Self> {
        let nodes = match kind {
            Kind::Known => {
                let known = DockerRegistry::start().await?;
                let clients = vec![known.registry()?];
                let process = Process::Known(known);
                return Ok(Self { process, clients });
            }
            Kind::OneNode => 1,
            Kind::ThreeNodes => 3,
        };
        let cluster = Cluster::builder().nodes(nodes).start().await?;
        let ids = cluster.ids().into_iter();
        let clients = ids.map(|id| cluster.registry(id)).collect::<Result<_>>()?;
        let process = Process::Cluster(cluster);
        Ok(Self { process, clients })
    }

    /// User and system time of all its processes so far.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        match &self.process {
            Process::Known(known) => Ok(known.usage()?.cpu_s),
            Process::Cluster(cluster) => {
                let mut sum = 0.0;
                for id in cluster.ids() {
                    sum += cluster.node(id)?.usage()?.cpu_s;
                }
                Ok(sum)
            }
        }
    }

    pub(crate) async fn stop(self) -> Result<()> {
        match self.process {
            Process::Known(known) => drop(known),
            Process::Cluster(cluster) => cluster.finish().await?,
        }
        Ok(())
    }
}
