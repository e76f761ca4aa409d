//! A cluster of real processes on loopback, in a folder of its own.
//!
//! `finish` ends a test that passed: every node must stop cleanly, and the
//! folder goes. A cluster that is dropped without it belongs to a test that
//! failed: its nodes are killed, the end of their logs is printed, and the
//! folder is kept and named.

mod faults;
mod joining;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::authority::{Authority, Certificate};
use crate::config::{NodeConfig, Shared, render};
use crate::disk::Disk;
use crate::http::Registry;
use crate::links::Links;
use crate::network::{Cable, Network};
use crate::node::Node;
use crate::ports::Ports;
use crate::process::binary;
use crate::skopeo::Skopeo;

const USER: &str = "root";
const PASSWORD: &str = "a-password-for-tests-only";
const SECRET: &str = "a-cluster-secret-for-tests-only-0123456789abcdef";
/// Six debug builds that start at once on two cores.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// Somebody else may take a port between the look and the start.
const START_TRIES: usize = 3;
/// Client, peer and ops, and the one that the peers are told.
const PORTS_PER_NODE: usize = 4;

/// What a cluster shall be like.
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    regions: Vec<String>,
    nodes_per_region: usize,
    /// Regions of nodes that are not of the cluster until they are started.
    spares: Vec<String>,
    copies: usize,
    upload_expiry_s: u64,
    storage: Vec<(String, u64)>,
    limits: Vec<(String, u64)>,
    rates: Vec<(String, u64)>,
    issuers: Vec<(String, PathBuf)>,
    tls: bool,
    links: Option<u64>,
    network: Option<(Cable, u64)>,
    disk_bytes: Option<u64>,
    program: Option<PathBuf>,
    archive: Option<PathBuf>,
    certificates: bool,
    certificate_life_s: Option<u64>,
    domain: Option<String>,
}

impl ClusterBuilder {
    #[must_use]
    pub fn regions<'a>(mut self, regions: impl IntoIterator<Item = &'a str>) -> Self {
        self.regions = regions.into_iter().map(str::to_owned).collect();
        self
    }

    /// Nodes in each region.
    #[must_use]
    pub fn nodes(mut self, nodes_per_region: usize) -> Self {
        self.nodes_per_region = nodes_per_region;
        self
    }

    /// A node that joins the cluster when it is first started, after those that
    /// form it and after the spares before it.
    #[must_use]
    pub fn spare(mut self, region: &str) -> Self {
        self.spares.push(region.to_owned());
        self
    }

    #[must_use]
    pub fn copies(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    #[must_use]
    pub fn upload_expiry_s(mut self, upload_expiry_s: u64) -> Self {
        self.upload_expiry_s = upload_expiry_s;
        self
    }

    /// Registries have hosts of their own under it.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.domain = Some(domain.to_owned());
        self
    }

    /// Another key of `storage` that is not at its default.
    #[must_use]
    pub fn storage(mut self, key: &str, value: u64) -> Self {
        self.storage.push((key.to_owned(), value));
        self
    }

    /// A key of `listen.limits` that is not at its default.
    #[must_use]
    pub fn limit(mut self, key: &str, value: u64) -> Self {
        self.limits.push((key.to_owned(), value));
        self
    }

    /// How often an account may ask a node for an operation, in a second.
    #[must_use]
    pub fn rate(mut self, operation: &str, per_second: u64) -> Self {
        self.rates.push((operation.to_owned(), per_second));
        self
    }

    /// Where the keys of one are who issues web identities.
    #[must_use]
    pub fn issuer(mut self, issuer: &str, keys_file: PathBuf) -> Self {
        self.issuers.push((issuer.to_owned(), keys_file));
        self
    }

    /// The client ports speak TLS, with a certificate of the cluster's own
    /// authority, and look for a new one every second.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// What nodes say to each other goes through [`Links`]; `seed` is for what
    /// is random about them.
    #[must_use]
    pub fn links(mut self, seed: u64) -> Self {
        self.links = Some(seed);
        self
    }

    /// Each region is in a network of its own, with such a cable to each other one;
    /// see [`Network`]. `seed` is for what it loses.
    #[must_use]
    pub fn network(mut self, cable: Cable, seed: u64) -> Self {
        self.network = Some((cable, seed));
        self
    }

    /// Each node has a disk of its own of this size, whose power can be cut.
    #[must_use]
    pub fn disks(mut self, bytes: u64) -> Self {
        self.disk_bytes = Some(bytes);
        self
    }

    /// Another build of the node.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// A `.tar.gz` of the data folder that node 1, which is listed, finds.
    #[must_use]
    pub fn data(mut self, archive: PathBuf) -> Self {
        self.archive = Some(archive);
        self.listed()
    }

    /// The nodes are listed in their configuration, and have no certificates.
    /// Otherwise the first makes the cluster, and the others join by a token
    /// each.
    #[must_use]
    pub fn listed(mut self) -> Self {
        self.certificates = false;
        self
    }

    /// The nodes' certificates are valid for so long.
    #[must_use]
    pub fn certificate_life_s(mut self, seconds: u64) -> Self {
        self.certificate_life_s = Some(seconds);
        self
    }

    /// What each node is told; those that form the cluster first.
    fn configs(&self, ports: &Ports, network: Option<&Network>) -> Result<Vec<NodeConfig>> {
        let founders = self.regions.iter();
        let founders =
            founders.flat_map(|region| std::iter::repeat_n(region, self.nodes_per_region));
        (1..)
            .zip(founders.chain(&self.spares))
            .zip(ports.numbers().chunks_exact(PORTS_PER_NODE))
            .map(|((id, region), ports)| {
                Ok(NodeConfig {
                    id,
                    region: region.clone(),
                    host: match network {
                        Some(network) => network.address(region)?,
                        None => Ipv4Addr::LOCALHOST,
                    },
                    client_port: ports[0],
                    peer_port: ports[1],
                    ops_port: ports[2],
                    told_port: ports[if self.links.is_some() { 3 } else { 1 }],
                    tls: self.tls,
                })
            })
            .collect()
    }

    /// Starts every node and waits until all serve.
    pub async fn start(self) -> Result<Cluster> {
        let mut tries = 1;
        loop {
            let mut cluster = Cluster::prepare(&self)?;
            if let Some(bytes) = self.disk_bytes {
                cluster.add_disks(bytes).await?;
            }
            match cluster.start_first().await {
                Ok(()) => return Ok(cluster),
                Err(_) if tries < START_TRIES && cluster.lost_a_port() => {
                    // Not a failure of the test: leave no trace of it.
                    cluster.passed = true;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Nodes 1, 2, 3, … in the order of regions.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    links: Option<Links>,
    network: Option<Network>,
    /// Unmounted before the folder goes.
    disks: BTreeMap<u64, Disk>,
    /// Those that have not joined yet.
    spares: BTreeSet<u64>,
    folder: Option<TempDir>,
    /// Who signed the nodes' certificate; none: they speak no TLS.
    authority: Option<Box<Authority>>,
    /// Those that still have to make the cluster, or to join it, by a token.
    outside: BTreeSet<u64>,
    passed: bool,
    _ports: Ports,
}

impl Cluster {
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            regions: vec!["us-east-1".to_owned()],
            nodes_per_region: 3,
            spares: Vec::new(),
            copies: 3,
            upload_expiry_s: 3600,
            storage: Vec::new(),
            limits: Vec::new(),
            rates: Vec::new(),
            issuers: Vec::new(),
            tls: false,
            links: None,
            network: None,
            disk_bytes: None,
            program: None,
            archive: None,
            certificates: true,
            certificate_life_s: None,
            domain: None,
        }
    }

    /// Writes the folder; starts nothing.
    fn prepare(builder: &ClusterBuilder) -> Result<Self> {
        let program = match &builder.program {
            Some(program) => program.clone(),
            None => binary("ENTREPOT_NODE", "entrepot-node")?,
        };
        let folder = tempfile::Builder::new()
            .prefix("entrepot-test-")
            .tempdir()
            .context("make a folder for a cluster")?;
        let founders = builder.regions.len() * builder.nodes_per_region;
        let count = founders + builder.spares.len();
        let ports = Ports::take(count * PORTS_PER_NODE)?;
        let network = builder.network;
        let mut network = network
            .map(|(cable, seed)| {
                Network::lay(builder.regions.iter().chain(&builder.spares), cable, seed)
            })
            .transpose()?;
        let configs = builder.configs(&ports, network.as_ref())?;
        write_secret(&folder.path().join("root-password"), PASSWORD)?;
        write_secret(&folder.path().join("cluster-secret"), SECRET)?;
        let authority = if builder.tls {
            let authority = Authority::create(&folder.path().join("authority"))?;
            write_certificate(folder.path(), &authority.issue()?)?;
            Some(Box::new(authority))
        } else {
            None
        };
        let shared = Shared {
            folder: folder.path(),
            user: USER,
            copies: builder.copies,
            upload_expiry_s: builder.upload_expiry_s,
            storage: &builder.storage,
            limits: &builder.limits,
            rates: &builder.rates,
            issuers: &builder.issuers,
            tls: builder.tls,
            certificates: builder.certificates,
            certificate_life_s: builder.certificate_life_s,
            domain: builder.domain.as_deref(),
            nodes: &configs,
        };
        let mut nodes = Vec::with_capacity(count);
        for (place, config) in configs.iter().enumerate() {
            let mut node = Node::new(config.clone(), program.clone(), folder.path());
            if let Some(network) = &mut network {
                node = node.within(Arc::clone(network.namespace(&config.region)?));
                network.open_door(&config.region, config.client_port)?;
                network.open_door(&config.region, config.ops_port)?;
            }
            let known = Shared {
                nodes: &configs[..founders.max(place + 1)],
                ..shared.clone()
            };
            node.write_config(&render(config, &known))?;
            nodes.push(node);
        }
        if let (Some(archive), Some(node)) = (&builder.archive, nodes.first()) {
            unpack(archive, node.data())?;
        }
        let links = builder.links.map(|seed| {
            let ports = configs.iter();
            let ports: Vec<_> = ports
                .map(|config| (config.id, config.told_port, config.peer_port))
                .collect();
            Links::open(&ports, seed)
        });
        Ok(Self {
            spares: configs[founders..].iter().map(|it| it.id).collect(),
            nodes,
            links: links.transpose()?,
            network,
            disks: BTreeMap::new(),
            folder: Some(folder),
            authority,
            outside: configs
                .iter()
                .filter(|_| builder.certificates)
                .map(|it| it.id)
                .collect(),
            passed: false,
            _ports: ports,
        })
    }

    /// Starts every node that is down, but for spares, and waits until all
    /// serve.
    pub async fn start_all(&mut self) -> Result<()> {
        for id in self.ids() {
            self.let_in(id).await?;
            if !self.node(id)?.is_running() {
                self.spawn(id)?;
            }
        }
        let spares = &self.spares;
        for node in &mut self.nodes {
            if !spares.contains(&node.id()) {
                node.wait_ready(READY_DEADLINE).await?;
            }
        }
        Ok(())
    }

    /// Starts some nodes at once and waits until they serve.
    pub async fn start(&mut self, ids: &[u64]) -> Result<()> {
        for id in ids {
            self.spares.remove(id);
            self.let_in(*id).await?;
            self.spawn(*id)?;
        }
        for id in ids {
            self.node_mut(*id)?.wait_ready(READY_DEADLINE).await?;
        }
        Ok(())
    }

    /// Starts one node; does not wait for it to serve.
    pub fn spawn(&mut self, id: u64) -> Result<()> {
        let pid = self.node_mut(id)?.spawn()?;
        if let Some(links) = &self.links {
            links.note_process(id, pid);
        }
        Ok(())
    }

    /// SIGTERM to all of them at once; each must exit with 0.
    pub async fn stop(&mut self, ids: &[u64]) -> Result<()> {
        let chosen = self
            .nodes
            .iter_mut()
            .filter(|node| ids.contains(&node.id()));
        try_join_all(chosen.map(Node::stop)).await?;
        Ok(())
    }

    /// What node `id` is from its next start on.
    pub fn upgrade(&mut self, id: u64, program: PathBuf) -> Result<()> {
        self.node_mut(id)?.set_program(program);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill9(&mut self, id: u64) -> Result<()> {
        self.node_mut(id)?.kill9()
    }

    /// # Errors
    /// When there is no node `id`.
    pub fn node(&self, id: u64) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.id() == id);
        found.with_context(|| format!("no node {id} in this cluster"))
    }

    pub fn node_mut(&mut self, id: u64) -> Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.id() == id);
        found.with_context(|| format!("no node {id} in this cluster"))
    }

    /// The ids of all nodes that have been started.
    pub fn ids(&self) -> Vec<u64> {
        let ids = self.nodes.iter().map(Node::id);
        ids.filter(|id| !self.spares.contains(id)).collect()
    }

    /// The ids of a region's nodes.
    pub fn ids_in(&self, region: &str) -> Vec<u64> {
        let nodes = self.nodes.iter().filter(|node| node.region() == region);
        nodes.map(Node::id).collect()
    }

    /// The registry as root sees it through node `id`.
    pub fn registry(&self, id: u64) -> Result<Registry> {
        let node = self.node(id)?;
        let credentials = Some((USER, PASSWORD));
        match &self.authority {
            Some(authority) => Registry::new_tls(node.client_address(), credentials, authority),
            None => Registry::new(node.endpoint(), credentials),
        }
    }

    pub fn user(&self) -> &'static str {
        USER
    }

    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The CLI, pointed at node `id`.
    pub fn admin(&self, id: u64) -> Result<Admin> {
        let admin = Admin::new(&self.node(id)?.endpoint(), USER, PASSWORD)?;
        Ok(match &self.authority {
            Some(authority) => admin.with_ca_file(&authority.file()),
            None => admin,
        })
    }

    pub fn skopeo(&self) -> Skopeo {
        let skopeo = Skopeo::new(Some((USER, PASSWORD)));
        match &self.authority {
            Some(authority) => skopeo.with_authority(authority),
            None => skopeo,
        }
    }

    /// Who signed the nodes' certificate.
    ///
    /// # Errors
    /// When the client ports speak no TLS.
    pub fn authority(&self) -> Result<&Authority> {
        self.authority.as_deref().context("a cluster without TLS")
    }

    /// Puts other files where the nodes' certificate is.
    pub fn replace_certificate(&self, certificate: &Certificate) -> Result<()> {
        let folder = self.folder.as_ref().context("the folder is gone")?;
        write_certificate(folder.path(), certificate)
    }

    /// A folder for the test's own files; it goes with the cluster.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.as_ref().context("the folder is gone")?;
        let path = folder.path().join("scratch").join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// Peak memory per node, for printing.
    pub fn peak_rss_bytes(&mut self) -> Vec<(u64, u64)> {
        let nodes = self.nodes.iter_mut();
        nodes
            .map(|node| (node.id(), node.peak_rss_bytes()))
            .collect()
    }

    /// Ends a test that passed.
    ///
    /// # Errors
    /// When a node that runs does not stop cleanly.
    pub async fn finish(mut self) -> Result<()> {
        let running = self.nodes.iter_mut().filter(|node| node.is_running());
        try_join_all(running.map(Node::stop)).await?;
        self.passed = true;
        Ok(())
    }

    fn lost_a_port(&self) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.any(|node| node.log_contains("Address already in use"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill9();
        }
        if self.passed {
            return;
        }
        for node in &self.nodes {
            eprintln!("{}", node.log_tail());
        }
        if let Some(folder) = self.folder.take() {
            eprintln!(
                "--- this cluster's files are kept in {}",
                folder.keep().display()
            );
        }
    }
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let file = fs::File::open(archive).with_context(|| format!("open {}", archive.display()))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let unpacked = archive.unpack(folder);
    unpacked.with_context(|| format!("unpack into {}", folder.display()))
}

fn write_certificate(folder: &Path, certificate: &Certificate) -> Result<()> {
    let path = folder.join("tls.crt");
    fs::write(&path, &certificate.pem).with_context(|| format!("write {}", path.display()))?;
    write_secret(&folder.join("tls.key"), &certificate.key_pem)
}

fn write_secret(path: &Path, secret: &str) -> Result<()> {
    fs::write(path, secret).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("close {} to others", path.display()))
}
