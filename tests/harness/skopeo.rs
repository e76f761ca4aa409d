//! skopeo: copies between registries and folders, as users run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::authority::Authority;
use crate::image::digest_of;
use crate::process::{Finished, run};
use crate::proxy::Proxy;

const DEADLINE: Duration = Duration::from_mins(3);

/// skopeo with one identity.
#[derive(Debug, Clone)]
pub struct Skopeo {
    credentials: Option<String>,
    /// A folder with the authority to trust; none: plain HTTP.
    certificates: Option<PathBuf>,
    proxy: Option<String>,
}

impl Skopeo {
    pub fn new(credentials: Option<(&str, &str)>) -> Self {
        Self {
            credentials: credentials.map(|(user, password)| format!("{user}:{password}")),
            certificates: None,
            proxy: None,
        }
    }

    /// With other credentials, or none.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Option<(&str, &str)>) -> Self {
        self.credentials = credentials.map(|(user, password)| format!("{user}:{password}"));
        self
    }

    /// Speaks TLS with whoever answers, through `proxy`.
    #[must_use]
    pub fn behind(mut self, proxy: &Proxy) -> Self {
        self.proxy = Some(proxy.url());
        self
    }

    /// A copy that may not change what it copies.
    fn copy(&self) -> Command {
        let mut command = self.program();
        command.args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--all",
            "--preserve-digests",
        ]);
        command
    }

    fn program(&self) -> Command {
        let mut command = Command::new("skopeo");
        let proxy = self.proxy.iter();
        command.envs(proxy.map(|proxy| (Proxy::VARIABLE, proxy)));
        command
    }

    /// Speaks TLS, and trusts `authority` alone.
    #[must_use]
    pub fn with_authority(mut self, authority: &Authority) -> Self {
        self.certificates = Some(authority.folder().to_owned());
        self
    }

    /// The options that say how to connect; `side` is `--src-`, `--dest-` or
    /// `--`.
    fn connection(&self, side: &str) -> Vec<String> {
        match &self.certificates {
            Some(folder) => vec![format!("{side}cert-dir={}", folder.display())],
            None => vec![format!("{side}tls-verify=false")],
        }
    }

    /// Copies `name` out of an OCI layout to `image` (`host:port/repository:tag`),
    /// unchanged; an index with all its images.
    pub async fn push(&self, layout: &Path, name: &str, image: &str) -> Result<Finished> {
        self.try_push(layout, name, image).await?.success()
    }

    /// The same, which may fail.
    pub async fn try_push(&self, layout: &Path, name: &str, image: &str) -> Result<Finished> {
        let mut command = self.copy();
        command.args(self.connection("--dest-"));
        if let Some(credentials) = &self.credentials {
            command.args(["--dest-creds", credentials]);
        }
        command.arg(format!("oci:{}:{name}", layout.display()));
        command.arg(format!("docker://{image}"));
        run(command, DEADLINE).await
    }

    /// Pulls `image` into `folder` and checks every file against the digest
    /// that names it. Returns the digest of the top manifest.
    pub async fn pull(&self, image: &str, folder: &Path) -> Result<String> {
        let mut command = self.copy();
        command.args(self.connection("--src-"));
        if let Some(credentials) = &self.credentials {
            command.args(["--src-creds", credentials]);
        }
        command.arg(format!("docker://{image}"));
        command.arg(format!("dir:{}", folder.display()));
        run(command, DEADLINE).await?.success()?;
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).with_context(|| format!("read {}", path.display()))
        };
        let manifest = read("manifest.json")?;
        for digest in named_by(&manifest)? {
            let hex = digest.trim_start_matches("sha256:");
            // Children of an index are stored as <hex>.manifest.json.
            let content = read(hex).or_else(|_| read(&format!("{hex}.manifest.json")))?;
            ensure!(
                digest_of(&content) == digest,
                "skopeo pulled {image}, but {digest} has other content"
            );
        }
        Ok(digest_of(&manifest))
    }

    /// `skopeo list-tags`, off the registry.
    pub async fn tags(&self, repository: &str) -> Result<Finished> {
        let mut command = self.program();
        command.arg("list-tags").args(self.connection("--"));
        if let Some(credentials) = &self.credentials {
            command.args(["--creds", credentials]);
        }
        command.arg(format!("docker://{repository}"));
        run(command, DEADLINE).await
    }

    /// `skopeo inspect --raw`, off the registry.
    pub async fn inspect(&self, image: &str) -> Result<Finished> {
        let mut command = self.program();
        command.args(["inspect", "--raw"]);
        command.args(self.connection("--"));
        if let Some(credentials) = &self.credentials {
            command.args(["--creds", credentials]);
        }
        command.arg(format!("docker://{image}"));
        run(command, DEADLINE).await
    }
}

/// Every digest that a manifest or an index names.
fn named_by(manifest: &[u8]) -> Result<Vec<String>> {
    let manifest: Value = serde_json::from_slice(manifest).context("parse a pulled manifest")?;
    let mut descriptors = vec![&manifest["config"]];
    for key in ["layers", "manifests"] {
        descriptors.extend(manifest[key].as_array().into_iter().flatten());
    }
    let digests = descriptors
        .iter()
        .filter_map(|found| found["digest"].as_str());
    Ok(digests.map(str::to_owned).collect())
}
