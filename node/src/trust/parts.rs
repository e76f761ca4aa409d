//! The parts of a node that has a certificate, put together.

use std::sync::Arc;

use entrepot_metadata::Metadata;
use entrepot_proto::environment::Clock;
#[cfg(test)]
use entrepot_proto::peers::Dial;
use entrepot_service::trust::{Trust, TrustParts};

use super::folder::TrustFolder;
use super::gate::Gate;
use super::own::{OwnCertificate, Upkeep};
use super::tls::PeerTls;
use crate::clock::ClusterClock;
use crate::config::Config;
use crate::node::Outside;

/// What a node is known by, and what it makes of others.
#[derive(Debug, Clone)]
pub(crate) struct Trusted {
    folder: Arc<TrustFolder>,
    own: Arc<OwnCertificate>,
    tls: Arc<PeerTls>,
}

// === impl Trusted ===

impl Trusted {
    /// From now on, what the node dials through makes sure of who is there. None:
    /// the node has no certificate.
    pub(crate) fn of(
        config: &Config,
        outside: &mut Outside,
        clock: &Arc<ClusterClock>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(folder) = &config.trust else {
            return Ok(None);
        };
        let clock: Arc<dyn Clock> = Arc::<ClusterClock>::clone(clock);
        let trusted = Self::open(folder, &clock)?;
        outside.dial = trusted.tls.over(Arc::clone(&outside.dial));
        Ok(Some(trusted))
    }

    /// From now on, the records decide over connections.
    pub(crate) fn serve(
        trusted: Option<&Self>,
        config: &Config,
        metadata: &Arc<dyn Metadata>,
        clock: &Arc<ClusterClock>,
    ) -> Option<Arc<Trust>> {
        let trusted = trusted?;
        let clock: Arc<dyn Clock> = Arc::<ClusterClock>::clone(clock);
        trusted.tls.gate().ask(Arc::clone(metadata));
        Some(trusted.for_cluster(config, metadata, &clock))
    }

    pub(crate) fn open(folder: &Arc<TrustFolder>, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let gate = Gate::new(folder.root.clone(), Arc::clone(clock));
        let own = OwnCertificate::new(folder)?;
        let tls = PeerTls::new(gate, &own)?;
        Ok(Self {
            folder: Arc::clone(folder),
            own,
            tls,
        })
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(self.tls.gate())
    }

    pub(crate) fn tls(&self) -> Arc<PeerTls> {
        Arc::clone(&self.tls)
    }

    /// What dials through `dial` and makes sure of who is there.
    #[cfg(test)]
    pub(crate) fn over(&self, dial: &Arc<dyn Dial>) -> Arc<dyn Dial> {
        self.tls.over(Arc::clone(dial))
    }

    /// What answers for the cluster on this node.
    pub(crate) fn for_cluster(
        &self,
        config: &Config,
        metadata: &Arc<dyn Metadata>,
        clock: &Arc<dyn Clock>,
    ) -> Arc<Trust> {
        Trust::new(TrustParts {
            metadata: Arc::clone(metadata),
            clock: Arc::clone(clock),
            own: config.node,
            root: self.folder.root.clone(),
            key: self.folder.cluster_key.clone(),
            life: config.certificate_life,
        })
    }

    pub(crate) fn upkeep(&self, trust: &Arc<Trust>, clock: &Arc<dyn Clock>) -> Upkeep {
        Upkeep {
            own: Arc::clone(&self.own),
            trust: Arc::clone(trust),
            clock: Arc::clone(clock),
            sealed_key: self.folder.sealed_key.clone(),
            folder: Arc::clone(&self.folder),
        }
    }
}
