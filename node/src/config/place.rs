//! `data`, `[advertise]` and `[trust]`: where a node is, and how long its
//! certificates last; all that `init` and `join` need to know.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use entrepot_access::trust::{CERTIFICATE_LIFE, CERTIFICATE_LIFE_MAX, CERTIFICATE_LIFE_MIN};
use entrepot_oci::RegionName;
use entrepot_proto::peers::PeerInfo;
use serde::Deserialize;

use super::{File, ListenConfig};
use crate::arguments::PlaceArguments;

/// Where others reach this node, if that is not where it listens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdvertiseConfig {
    peer: Option<String>,
    client: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustFile {
    certificate_life_s: Option<u64>,
}

/// What `init` and `join` are told.
#[derive(Debug)]
pub(crate) struct Basics {
    pub(crate) data: PathBuf,
    pub(crate) certificate_life: Duration,
    listen: ListenConfig,
    advertise: AdvertiseConfig,
}

// === impl AdvertiseConfig ===

impl AdvertiseConfig {
    /// `host:port` of the peer port, as the other nodes reach it.
    pub(super) fn peer_address(&self, listen: &ListenConfig) -> anyhow::Result<String> {
        if let Some(address) = &self.peer {
            return Ok(address.clone());
        }
        ensure!(
            !listen.peer.ip().is_unspecified() && listen.peer.port() != 0,
            "advertise.peer: say where the other nodes reach this one; listen.peer is {}, which \
             is no address to connect to",
            listen.peer
        );
        Ok(listen.peer.to_string())
    }
}

// === impl TrustFile ===

impl TrustFile {
    pub(super) fn certificate_life(&self) -> anyhow::Result<Duration> {
        let Some(seconds) = self.certificate_life_s else {
            return Ok(CERTIFICATE_LIFE);
        };
        let life = Duration::from_secs(seconds);
        ensure!(
            (CERTIFICATE_LIFE_MIN..=CERTIFICATE_LIFE_MAX).contains(&life),
            "trust.certificate_life_s: must be {} to {}",
            CERTIFICATE_LIFE_MIN.as_secs(),
            CERTIFICATE_LIFE_MAX.as_secs()
        );
        Ok(life)
    }
}

// === impl Basics ===

impl Basics {
    pub(crate) fn load(arguments: &PlaceArguments) -> anyhow::Result<Self> {
        let path = arguments.config.display();
        let text = std::fs::read_to_string(&arguments.config)
            .with_context(|| format!("cannot read the configuration {path}"))?;
        let invalid = || format!("the configuration {path} is not valid");
        let file: File = toml::from_str(&text).with_context(invalid)?;
        ensure!(
            file.node.is_none() && file.cluster_secret_file.is_none() && file.peers.is_empty(),
            "{}: `node`, `cluster_secret_file` and `peers` are for nodes that are listed, and \
             not for one that makes or joins a cluster",
            invalid()
        );
        Ok(Self {
            data: arguments.data.clone().unwrap_or(file.data),
            certificate_life: file.trust.certificate_life().with_context(invalid)?,
            listen: file.listen,
            advertise: file.advertise,
        })
    }

    pub(crate) fn peer_address(&self) -> anyhow::Result<String> {
        self.advertise.peer_address(&self.listen)
    }

    /// Empty: not told.
    pub(crate) fn client_address(&self) -> String {
        self.advertise.client.clone().unwrap_or_default()
    }

    /// This node under its id.
    pub(crate) fn own(&self, id: u64, region: RegionName) -> anyhow::Result<PeerInfo> {
        let own = PeerInfo {
            id,
            region,
            address: self.peer_address()?,
        };
        own.check().context("advertise.peer")?;
        Ok(own)
    }
}
