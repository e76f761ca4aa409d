//! Certificates for all nodes of a cluster whose data folders are on this
//! machine: there is nobody to ask for a token.

use std::sync::Arc;

use anyhow::Context as _;
use entrepot_access::trust::{Authority, ClusterKey, Serial, SigningRequest};

use super::folder::{Admitted, TrustFolder};
use crate::config::Config;

/// Gives each node its certificate; those that were given before are kept. The
/// first node's is written last: without it, nothing was given yet.
pub(crate) fn issue_all(configs: &mut [Config], now_ms: i64) -> anyhow::Result<()> {
    let first = configs.first().context("a cluster has nodes")?;
    if TrustFolder::read(&first.data)?.is_none() {
        let authority = Authority::create(now_ms)?;
        let cluster_key = ClusterKey::generate()?;
        let sealed = authority.sealed_key(&cluster_key)?;
        for (index, config) in configs.iter().enumerate().rev() {
            let key = TrustFolder::key(&config.data)?;
            let request = SigningRequest::parse(&key.request()?)?;
            let serial = Serial::generate()?;
            let life = config.certificate_life;
            let certificate = authority.issue(&request, config.node, &serial, now_ms, life)?;
            let admitted = Admitted {
                certificate: &certificate,
                region: &config.region,
                root: authority.root(),
                cluster_key: &cluster_key,
                sealed_key: (index == 0).then_some(sealed.as_slice()),
                peers: None,
            };
            TrustFolder::write(&config.data, &admitted)?;
        }
    }
    for config in configs {
        let folder = TrustFolder::read(&config.data)?;
        let folder = folder
            .with_context(|| format!("{} has no certificate of its node", config.data.display()))?;
        config.trust = Some(Arc::new(folder));
    }
    Ok(())
}
