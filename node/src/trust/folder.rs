//! The folder `trust` of a data folder: this node's key and certificate, the
//! cluster's certificate and key. All of it is its owner's alone.
//!
//! The invariant: the files are of one cluster and of one key, or the folder is
//! refused. The certificate is written last: without it, there is no node yet.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_access::trust::{ClusterKey, NodeCertificate, NodeKey, Root, SigningRequest};
use entrepot_metadata::limits::FOLDER_ID_BYTES;
use entrepot_oci::RegionName;
use entrepot_proto::peers::PeerInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::files;

const FOLDER: &str = "trust";
const KEY: &str = "node.key";
const CERTIFICATE: &str = "node.crt";
const ROOT: &str = "ca.crt";
const REGION: &str = "region";
/// Of the cluster when this node joined it.
const PEERS: &str = "peers";
const CLUSTER_KEY: &str = "cluster.key";
/// Of the authority, until the cluster keeps it.
const SEALED_KEY: &str = "ca.key.sealed";

/// What a node has to be one.
#[derive(Debug)]
pub struct TrustFolder {
    path: PathBuf,
    id: [u8; FOLDER_ID_BYTES],
    pub(crate) key: NodeKey,
    /// DER.
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) says: NodeCertificate,
    pub(crate) region: RegionName,
    pub(crate) root: Root,
    pub(crate) cluster_key: ClusterKey,
    /// The other nodes when this one joined them; none: it was there when the
    /// cluster was made.
    pub(crate) peers: Option<Vec<PeerInfo>>,
    /// This node made the cluster, and the cluster does not know it yet.
    pub(crate) sealed_key: Option<Vec<u8>>,
}

/// What is written once the cluster has let the node in.
pub(crate) struct Admitted<'a> {
    /// DER.
    pub(crate) certificate: &'a [u8],
    pub(crate) region: &'a RegionName,
    pub(crate) root: &'a Root,
    pub(crate) cluster_key: &'a ClusterKey,
    pub(crate) sealed_key: Option<&'a [u8]>,
    pub(crate) peers: Option<&'a [PeerInfo]>,
}

// === impl TrustFolder ===

impl TrustFolder {
    /// None: the data folder is of no node of a cluster with certificates.
    ///
    /// # Errors
    /// When a file is missing, cannot be read, or does not fit the others.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(FOLDER);
        let Some(certificate) = files::read(&path.join(CERTIFICATE))? else {
            return Ok(None);
        };
        let needed = |name: &str| -> anyhow::Result<String> {
            let file = path.join(name);
            files::read(&file)?.with_context(|| format!("{} is missing", file.display()))
        };
        let read = || -> anyhow::Result<Self> {
            let certificate = der(&certificate).context(CERTIFICATE)?;
            let says = NodeCertificate::parse(&certificate).context(CERTIFICATE)?;
            let root = Root::parse(&der(&needed(ROOT)?).context(ROOT)?).context(ROOT)?;
            let key = NodeKey::from_pem(&needed(KEY)?).context(KEY)?;
            let cluster_key = ClusterKey::from_hex(&needed(CLUSTER_KEY)?).context(CLUSTER_KEY)?;
            let region = needed(REGION)?.trim().parse().context(REGION)?;
            let sealed_key = files::read(&path.join(SEALED_KEY))?
                .map(|text| STANDARD.decode(text.trim()).context(SEALED_KEY))
                .transpose()?;
            ensure!(
                says.name.cluster == root.cluster(),
                "{CERTIFICATE} is of cluster {}, and {ROOT} of cluster {}",
                says.name.cluster,
                root.cluster()
            );
            let peers = files::read(&path.join(PEERS))?
                .map(|text| parse_peers(&text).context(PEERS))
                .transpose()?;
            Ok(Self {
                path: path.clone(),
                id: id_of(&key)?,
                key,
                certificate,
                says,
                region,
                root,
                cluster_key,
                peers,
                sealed_key,
            })
        };
        let folder = read().with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(Some(folder))
    }

    /// The node's key, made and kept if there is none: who comes back with the
    /// same key is the same node.
    pub(crate) fn key(data: &Path) -> anyhow::Result<NodeKey> {
        let path = data.join(FOLDER);
        files::create_folder(&path)?;
        let file = path.join(KEY);
        if let Some(kept) = files::read(&file)? {
            return NodeKey::from_pem(&kept).with_context(|| file.display().to_string());
        }
        let key = NodeKey::generate()?;
        files::write(&file, &key.expose_pem())?;
        Ok(key)
    }

    pub(crate) fn write(data: &Path, admitted: &Admitted<'_>) -> anyhow::Result<()> {
        let path = data.join(FOLDER);
        files::create_folder(&path)?;
        files::write(&path.join(ROOT), &pem(admitted.root.der()))?;
        files::write(&path.join(REGION), &format!("{}\n", admitted.region))?;
        let key = admitted.cluster_key.expose_hex();
        files::write(&path.join(CLUSTER_KEY), &(key + "\n"))?;
        // What an attempt before this one has left may be of another cluster.
        match admitted.peers {
            Some(peers) => files::write(&path.join(PEERS), &print_peers(peers))?,
            None => files::remove(&path.join(PEERS))?,
        }
        match admitted.sealed_key {
            Some(sealed) => {
                let text = STANDARD.encode(sealed);
                files::write(&path.join(SEALED_KEY), &(text + "\n"))?;
            }
            None => files::remove(&path.join(SEALED_KEY))?,
        }
        files::write(&path.join(CERTIFICATE), &pem(admitted.certificate))
    }

    /// The id of a data folder whose node has this key: whoever has the folder
    /// has the key.
    pub(crate) fn id(&self) -> [u8; FOLDER_ID_BYTES] {
        self.id
    }

    /// Puts another certificate in the place of the one there is.
    pub(crate) fn replace_certificate(&self, certificate: &[u8]) -> anyhow::Result<()> {
        files::write(&self.path.join(CERTIFICATE), &pem(certificate))
    }

    /// The cluster keeps the authority now.
    pub(crate) fn forget_sealed_key(&self) -> anyhow::Result<()> {
        files::remove(&self.path.join(SEALED_KEY))
    }
}

fn id_of(key: &NodeKey) -> anyhow::Result<[u8; FOLDER_ID_BYTES]> {
    let hash = SigningRequest::parse(&key.request()?)?.key_hash();
    let mut id = [0; FOLDER_ID_BYTES];
    id.copy_from_slice(&hash[..FOLDER_ID_BYTES]);
    Ok(id)
}

/// A line for each: its id, its region, its address.
fn print_peers(peers: &[PeerInfo]) -> String {
    let lines = peers
        .iter()
        .map(|peer| format!("{} {} {}\n", peer.id, peer.region, peer.address));
    lines.collect()
}

fn parse_peers(text: &str) -> anyhow::Result<Vec<PeerInfo>> {
    let parse = |line: &str| {
        let mut parts = line.split(' ');
        let (id, region) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let address = parts.next()?.to_owned();
        let peer = PeerInfo {
            id,
            region,
            address,
        };
        (parts.next().is_none() && peer.check().is_ok()).then_some(peer)
    };
    let peers = text.lines().map(parse).collect::<Option<Vec<_>>>();
    peers.context("a line does not name a node, its region and its address")
}

fn der(pem: &str) -> anyhow::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).context("it is not PEM")
}

/// RFC 7468.
pub(super) fn pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let encoded = STANDARD.encode(der);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END CERTIFICATE-----\n"
}
