//! The configuration of a node. One TOML file; unknown keys are errors; what
//! has been parsed is valid.

mod issuers;
mod listen;
mod place;
mod storage;
mod throttling;

use std::collections::{BTreeMap, BTreeSet};
use std::env::VarError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_access::parse_basic;
use entrepot_oci::{AccountId, RegionName};
use entrepot_proto::peers::{ClusterSecret, PeerInfo};
use entrepot_service::{Settings, Throttling};
use serde::Deserialize;

use self::issuers::IssuerFile;
pub use self::listen::{ClientLimits, ListenConfig, TlsConfig};
pub(crate) use self::place::Basics;
use self::place::{AdvertiseConfig, TrustFile};
pub use self::storage::CareConfig;
use self::storage::StorageFile;
use self::throttling::ThrottlingFile;
use crate::arguments::RunArguments;
use crate::courier::Reach;
use crate::trust::TrustFolder;

/// Copies of each blob that a region keeps unless the file says otherwise.
const COPIES_DEFAULT: usize = 3;
const COPIES_MAX: usize = 9;
const UPLOAD_EXPIRY_DEFAULT_S: u64 = 24 * 3600;
const ACCOUNT_DEFAULT: &str = "000000000001";
const ROOT_USER_DEFAULT: &str = "root";
const USER_BYTES_MAX: usize = 64;
const PASSWORD_CHARS_MIN: usize = 8;
const SECRET_CONTEXT: &str = "entrepot 2026 secret of calls between nodes";

/// Everything a node has to know to start.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: u64,
    pub region: RegionName,
    pub data: PathBuf,
    pub secret: ClusterSecret,
    pub listen: ListenConfig,
    pub root: RootConfig,
    pub copies: usize,
    pub upload_expiry: Duration,
    /// How copies are looked after.
    pub care: CareConfig,
    /// Of the metadata, that is kept in memory; none: what suits its size.
    pub index_cache_bytes: Option<u64>,
    /// Every node of the cluster that this one is told of, itself too.
    pub peers: Vec<PeerInfo>,
    /// What it is known by; none: by the cluster's secret alone.
    pub trust: Option<Arc<TrustFolder>>,
    /// Of the certificates that this node issues.
    pub certificate_life: Duration,
    pub rebuild_index: bool,
    /// Where messages to webhooks may go.
    pub webhooks: Reach,
    pub throttling: Throttling,
    /// By the names of those who issue web identities: files with their keys.
    pub issuer_keys: BTreeMap<String, PathBuf>,
}

/// The account that the cluster's first start makes.
#[derive(Clone)]
pub struct RootConfig {
    pub account: AccountId,
    pub user: String,
    /// None: generated, and written into the data folder.
    pub password: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names, reason = "the keys of the file")]
struct File {
    node: Option<u64>,
    region: Option<RegionName>,
    data: PathBuf,
    cluster_secret_file: Option<PathBuf>,
    listen: ListenConfig,
    #[serde(default)]
    advertise: AdvertiseConfig,
    #[serde(default)]
    trust: TrustFile,
    #[serde(default)]
    root: RootFile,
    #[serde(default)]
    storage: StorageFile,
    #[serde(default)]
    webhooks: WebhooksFile,
    #[serde(default)]
    throttling: ThrottlingFile,
    #[serde(default)]
    issuers: Vec<IssuerFile>,
    #[serde(default)]
    peers: Vec<PeerFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhooksFile {
    #[serde(default)]
    local: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootFile {
    account: Option<AccountId>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerFile {
    node: u64,
    region: RegionName,
    address: String,
}

// === impl Config ===

impl Config {
    /// Reads the file that `arguments` name and lets them override it.
    pub(crate) fn load(arguments: &RunArguments) -> anyhow::Result<Self> {
        let path = &arguments.config;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let invalid = || format!("the configuration {} is not valid", path.display());
        let mut file: File = toml::from_str(&text).with_context(invalid)?;
        if let Some(data) = &arguments.data {
            file.data.clone_from(data);
        }
        file.listen.override_by(arguments)?;
        let mut config = Self::build(file).with_context(invalid)?;
        config.rebuild_index = arguments.rebuild_index;
        config.root.override_from_environment()?;
        Ok(config)
    }

    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        Self::build(toml::from_str(text)?)
    }

    fn build(file: File) -> anyhow::Result<Self> {
        let copies = file.storage.copies.unwrap_or(COPIES_DEFAULT);
        ensure!(
            (1..=COPIES_MAX).contains(&copies),
            "storage.copies: must be 1 to {COPIES_MAX}"
        );
        let expiry = file
            .storage
            .upload_expiry_s
            .unwrap_or(UPLOAD_EXPIRY_DEFAULT_S);
        ensure!(expiry > 0, "storage.upload_expiry_s: must be at least 1");
        file.listen.check()?;
        let certificate_life = file.trust.certificate_life()?;
        let cluster = Cluster::of(&file)?;
        Ok(Self {
            node: cluster.node,
            region: cluster.region,
            data: file.data,
            secret: cluster.secret,
            listen: file.listen,
            root: RootConfig::new(file.root)?,
            copies,
            upload_expiry: Duration::from_secs(expiry),
            care: file.storage.care()?,
            index_cache_bytes: file.storage.index_cache_bytes()?,
            peers: cluster.peers,
            trust: cluster.trust,
            certificate_life,
            rebuild_index: false,
            webhooks: Reach {
                local: file.webhooks.local,
            },
            throttling: file.throttling.throttling()?,
            issuer_keys: issuers::key_files(file.issuers)?,
        })
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            upload_expiry: self.upload_expiry,
            throttling: self.throttling,
        }
    }

    /// Nodes whose addresses are set here, whatever the cluster's records say.
    /// Those that a node was told when it joined may have moved since.
    pub(crate) fn told(&self) -> Vec<PeerInfo> {
        let has_joined = self.trust.as_ref().is_some_and(|it| it.peers.is_some());
        let told = self.peers.iter();
        let told = told.filter(|peer| !has_joined || peer.id == self.node);
        told.cloned().collect()
    }
}

/// Which node this is, and of which cluster.
struct Cluster {
    node: u64,
    region: RegionName,
    secret: ClusterSecret,
    peers: Vec<PeerInfo>,
    trust: Option<Arc<TrustFolder>>,
}

// === impl Cluster ===

impl Cluster {
    fn of(file: &File) -> anyhow::Result<Self> {
        if file.node.is_some() || file.cluster_secret_file.is_some() || !file.peers.is_empty() {
            Self::listed(file)
        } else {
            Self::joined(file)
        }
    }

    /// The configuration lists the nodes, which share a secret.
    fn listed(file: &File) -> anyhow::Result<Self> {
        let missing = |key| format!("{key}: is missing; it goes with `peers`");
        let node = file.node.with_context(|| missing("node"))?;
        let region = file.region.clone().with_context(|| missing("region"))?;
        let path = file.cluster_secret_file.as_ref();
        let path = path.with_context(|| missing("cluster_secret_file"))?;
        ensure!(node > 0, "node: ids start at 1");
        let secret = read_secret(path, "cluster_secret_file")?;
        let secret = ClusterSecret::new(&secret)
            .with_context(|| format!("cluster_secret_file {}", path.display()))?;
        check_peers(&file.peers, node, &region)?;
        let peers = file.peers.iter().map(PeerFile::parse);
        Ok(Self {
            node,
            region,
            secret,
            peers: peers.collect::<Result<_, _>>()?,
            trust: None,
        })
    }

    /// The data folder says which node it is: `init` or `join` has made it one.
    fn joined(file: &File) -> anyhow::Result<Self> {
        let data = file.data.display();
        let Some(folder) = TrustFolder::read(&file.data)? else {
            bail!(
                "the data folder {data} is of no cluster yet: make one by `entrepot-node init`, \
                 or join one by `entrepot-node join`"
            );
        };
        let node = folder.says.name.node;
        let region = folder.region.clone();
        if let Some(told) = &file.region {
            ensure!(
                *told == region,
                "region: the data folder {data} is that of a node of region {region}, which \
                 cannot change"
            );
        }
        let secret = folder.cluster_key.derive(SECRET_CONTEXT);
        let secret = ClusterSecret::new(&blake3::Hash::from_bytes(secret).to_hex())?;
        let own = PeerInfo {
            id: node,
            region: region.clone(),
            address: file.advertise.peer_address(&file.listen)?,
        };
        own.check().context("advertise.peer")?;
        // Others that joined since are known from the records.
        let others = folder.peers.iter().flatten().cloned();
        let peers = std::iter::once(own).chain(others).collect();
        Ok(Self {
            node,
            region,
            secret,
            peers,
            trust: Some(Arc::new(folder)),
        })
    }
}

// === impl PeerFile ===

impl PeerFile {
    fn parse(&self) -> anyhow::Result<PeerInfo> {
        let peer = PeerInfo {
            id: self.node,
            region: self.region.clone(),
            address: self.address.clone(),
        };
        peer.check().context("peers")?;
        Ok(peer)
    }
}

fn check_peers(peers: &[PeerFile], node: u64, region: &RegionName) -> anyhow::Result<()> {
    let mut ids = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for peer in peers {
        ensure!(peer.node > 0, "peers: node ids start at 1");
        ensure!(
            ids.insert(peer.node),
            "peers: node {} is listed twice",
            peer.node
        );
        ensure!(
            addresses.insert(&peer.address),
            "peers: two nodes have the address {}",
            peer.address
        );
    }
    let Some(own) = peers.iter().find(|peer| peer.node == node) else {
        bail!("peers: must list every node of the cluster, node {node} too");
    };
    ensure!(
        own.region == *region,
        "peers: node {node} is listed in region {} but `region` says {region}",
        own.region
    );
    Ok(())
}

/// What the environment says, if anything.
pub(crate) fn environment(variable: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(variable) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).with_context(|| variable.to_owned()),
    }
}

fn read_secret(path: &Path, key: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{key}: cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

// === impl RootConfig ===

impl RootConfig {
    fn new(file: RootFile) -> anyhow::Result<Self> {
        let account = match file.account {
            Some(account) => account,
            None => ACCOUNT_DEFAULT.parse()?,
        };
        let password = file
            .password_file
            .map(|path| read_secret(&path, "root.password_file"))
            .transpose()?;
        let root = Self {
            account,
            user: file.user.unwrap_or_else(|| ROOT_USER_DEFAULT.to_owned()),
            password,
        };
        root.check()?;
        Ok(root)
    }

    fn override_from_environment(&mut self) -> anyhow::Result<()> {
        if let Some(user) = environment("ENTREPOT_ROOT_USER")? {
            self.user = user;
        }
        if let Some(password) = environment("ENTREPOT_ROOT_PASSWORD")? {
            self.password = Some(password);
        }
        self.check()
    }

    /// Whether somebody can log in by these: an account that was made with
    /// others would be of no use, and cannot be made again.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (1..=USER_BYTES_MAX).contains(&self.user.len())
                && !self.user.contains(|c: char| c == ':' || c.is_control()),
            "the root user must be 1 to {USER_BYTES_MAX} bytes without a colon or a control character"
        );
        let Some(password) = &self.password else {
            return Ok(());
        };
        ensure!(
            password.chars().count() >= PASSWORD_CHARS_MIN,
            "the root password must have at least {PASSWORD_CHARS_MIN} characters"
        );
        // As a client sends them, so that no rule of that is forgotten here.
        let pair = STANDARD.encode(format!("{}:{password}", self.user));
        let read = parse_basic(&format!("Basic {pair}"))
            .context("nobody could log in by the root user and password")?;
        ensure!(
            read.user() == self.user && read.password().expose() == password,
            "nobody could log in by the root user and password"
        );
        Ok(())
    }
}

impl fmt::Debug for RootConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootConfig")
            .field("account", &self.account)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests {
    use entrepot_access::AUTHORIZATION_BYTES_MAX;

    use super::*;

    fn text(dir: &Path, extra: &str) -> String {
        let secret = dir.join("secret");
        std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
        format!(
            r#"
node = 1
region = "us-east-1"
data = "/var/lib/entrepot"
cluster_secret_file = "{}"
{extra}
[listen]
client = "127.0.0.1:5000"
peer = "127.0.0.1:6000"
[[peers]]
node = 1
region = "us-east-1"
address = "127.0.0.1:6000"
"#,
            secret.display()
        )
    }

    #[test]
    fn a_small_file_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::parse(&text(dir.path(), "")).unwrap();
        assert_eq!(config.copies, COPIES_DEFAULT);
        assert_eq!(config.root.user, ROOT_USER_DEFAULT);
        assert_eq!(config.peers.len(), 1);
    }

    /// The example is where every key is explained: it has to be true.
    #[test]
    fn the_example_shows_every_limit_with_its_default() {
        let text = include_str!("../../deploy/node.toml");
        let example: File = toml::from_str(text).unwrap();
        let limits = example.listen.limits;
        let max = limits.connections_max.unwrap();
        assert_eq!(limits, ClientLimits::of(max));
        let all = format!("{limits:?}").matches(": ").count();
        let limits: toml::Table = toml::from_str(text).unwrap();
        let shown = limits["listen"]["limits"].as_table().unwrap();
        assert_eq!(shown.len(), all, "{shown:?}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = Config::parse(&text(dir.path(), "colour = 1")).unwrap_err();
        assert!(format!("{error:#}").contains("colour"), "{error:#}");
    }

    #[test]
    fn a_list_of_peers_that_cannot_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let good = text(dir.path(), "");
        for (from, to, says) in [
            (
                "node = 1\nregion = \"us-east-1\"\naddress",
                "node = 2\nregion = \"us-east-1\"\naddress",
                "node 1 too",
            ),
            (
                "node = 1\nregion = \"us-east-1\"\naddress",
                "node = 1\nregion = \"eu-west-1\"\naddress",
                "eu-west-1",
            ),
        ] {
            let error = Config::parse(&good.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let root = RootConfig {
            account: ACCOUNT_DEFAULT.parse().unwrap(),
            user: "root".to_owned(),
            password: Some("hunter2hunter2".to_owned()),
        };
        assert!(!format!("{root:?}").contains("hunter2"));
    }
    #[test]
    fn root_credentials_that_no_client_can_send_are_refused() {
        let check = |user: &str, password: &str| {
            let root = RootConfig {
                account: ACCOUNT_DEFAULT.parse().unwrap(),
                user: user.to_owned(),
                password: Some(password.to_owned()),
            };
            root.check()
        };
        let longest = |user: &str| {
            let bytes = (AUTHORIZATION_BYTES_MAX - "Basic ".len()) / 4 * 3;
            "p".repeat(bytes - user.len() - ":".len())
        };
        check("root", "p\u{e4}ssw\u{f6}rd").unwrap();
        check("root", "with: colon and blank").unwrap();
        check("root", &longest("root")).unwrap();
        let too_long = longest("root") + "p";
        for (user, password) in [
            ("root", "pass\u{7}word"),
            ("root", "pass\nword"),
            ("root", "pass\u{85}word"),
            ("root", too_long.as_str()),
            ("root", "short"),
            ("ro\tot", "a-good-password"),
            ("ro:ot", "a-good-password"),
            ("", "a-good-password"),
        ] {
            let error = format!("{:#}", check(user, password).unwrap_err());
            assert!(!error.contains(password), "{error}");
        }
    }
}
