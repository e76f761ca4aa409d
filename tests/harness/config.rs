//! The configuration files of the nodes of a test cluster.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// What a node of a test cluster is told.
#[derive(Debug, Clone)]
pub(crate) struct NodeConfig {
    pub(crate) id: u64,
    pub(crate) region: String,
    /// Where its peers reach it.
    pub(crate) host: Ipv4Addr,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) ops_port: u16,
    /// The port that its peers are told: its peer port, or what stands before it.
    pub(crate) told_port: u16,
    /// Whether the client port speaks TLS.
    pub(crate) tls: bool,
}

/// What all nodes share.
#[derive(Debug, Clone)]
pub(crate) struct Shared<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) user: &'a str,
    pub(crate) copies: usize,
    pub(crate) upload_expiry_s: u64,
    /// Further keys of `storage`.
    pub(crate) storage: &'a [(String, u64)],
    /// Keys of `listen.limits`.
    pub(crate) limits: &'a [(String, u64)],
    /// Keys of `throttling.per_second`.
    pub(crate) rates: &'a [(String, u64)],
    /// Issuers of web identities, and files with their keys.
    pub(crate) issuers: &'a [(String, PathBuf)],
    /// Whether there are `tls.crt` and `tls.key` in the folder.
    pub(crate) tls: bool,
    /// The nodes have certificates and join by tokens, and are not listed.
    pub(crate) certificates: bool,
    /// Of those; none: as long as they are by default.
    pub(crate) certificate_life_s: Option<u64>,
    /// Under which registries have hosts; none: under none.
    pub(crate) domain: Option<&'a str>,
    pub(crate) nodes: &'a [NodeConfig],
}

/// The TOML for `node`.
pub(crate) fn render(node: &NodeConfig, shared: &Shared<'_>) -> String {
    let folder = shared.folder.display();
    let mut text = format!("data = \"{folder}/node-{}\"\n", node.id);
    // Writing to a String cannot fail.
    if !shared.certificates {
        let _ = write!(
            text,
            "node = {}\nregion = \"{}\"\ncluster_secret_file = \"{folder}/cluster-secret\"\n",
            node.id, node.region
        );
    }
    let domain = shared
        .domain
        .map(|domain| format!("domain = \"{domain}\"\n"));
    let _ = write!(
        text,
        r#"
[listen]
client = "127.0.0.1:{client}"
peer = "{host}:{peer}"
ops = "127.0.0.1:{ops}"
{domain}
[webhooks]
local = true

[root]
account = "000000000001"
user = "{user}"
password_file = "{folder}/root-password"

[storage]
copies = {copies}
upload_expiry_s = {expiry}
"#,
        domain = domain.unwrap_or_default(),
        host = node.host,
        client = node.client_port,
        peer = node.peer_port,
        ops = node.ops_port,
        user = shared.user,
        copies = shared.copies,
        expiry = shared.upload_expiry_s,
    );
    for (key, value) in shared.storage {
        let _ = writeln!(text, "{key} = {value}");
    }
    if shared.certificates {
        let _ = write!(
            text,
            "\n[advertise]\npeer = \"{}:{}\"\n",
            node.host, node.told_port
        );
    }
    if let Some(life) = shared.certificate_life_s {
        let _ = writeln!(text, "\n[trust]\ncertificate_life_s = {life}");
    }
    if shared.tls {
        let _ = write!(
            text,
            "\n[listen.tls]\ncertificate_file = \"{folder}/tls.crt\"\n\
             key_file = \"{folder}/tls.key\"\nreload_s = 1\n"
        );
    }
    if !shared.limits.is_empty() {
        text.push_str("\n[listen.limits]\n");
    }
    for (key, value) in shared.limits {
        let _ = writeln!(text, "{key} = {value}");
    }
    if !shared.rates.is_empty() {
        text.push_str("\n[throttling.per_second]\n");
    }
    for (key, value) in shared.rates {
        let _ = writeln!(text, "{key} = {value}");
    }
    for (issuer, file) in shared.issuers {
        let file = file.display();
        let _ = write!(
            text,
            "\n[[issuers]]\nissuer = \"{issuer}\"\nkeys_file = \"{file}\"\n"
        );
    }
    let listed: &[NodeConfig] = if shared.certificates {
        &[]
    } else {
        shared.nodes
    };
    for peer in listed {
        let _ = write!(
            text,
            "\n[[peers]]\nnode = {}\nregion = \"{}\"\naddress = \"{}:{}\"\n",
            peer.id, peer.region, peer.host, peer.told_port
        );
    }
    text
}
