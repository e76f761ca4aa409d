//! podman: pulls images, pushes them and makes indexes of them, as users run it,
//! with storage of its own. It runs no container.
//!
//! It needs root here: it is run through `sudo -n` by anybody else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Finished, as_root, as_root_with, run};
use crate::proxy::Proxy;

const DEADLINE: Duration = Duration::from_mins(2);
/// Every image may be used, whoever signed it.
const POLICY: &str = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;

/// podman with one identity.
#[derive(Debug)]
pub struct Podman {
    folder: TempDir,
    credentials: String,
    environment: Vec<(&'static str, String)>,
}

impl Podman {
    pub fn new(user: &str, password: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ep-")
            .tempdir()
            .context("make a folder for podman")?;
        fs::write(folder.path().join("policy.json"), POLICY).context("write a policy")?;
        Ok(Self {
            folder,
            credentials: format!("{user}:{password}"),
            environment: Vec::new(),
        })
    }

    /// Speaks TLS with whoever answers, through `proxy`.
    #[must_use]
    pub fn behind(mut self, proxy: &Proxy) -> Self {
        self.environment = vec![(Proxy::VARIABLE, proxy.url())];
        self
    }

    /// Pulls `image` (`host:port/repository:tag`) and returns its id: the digest
    /// of its configuration.
    pub async fn pull(&self, image: &str, platform: Option<&str>) -> Result<String> {
        let mut rest = vec!["--quiet"];
        if let Some(platform) = platform {
            rest.extend(["--platform", platform]);
        }
        rest.push(image);
        let id = self.remote(&["pull"], &rest).await?;
        Ok(format!("sha256:{id}"))
    }

    /// Pushes an image that was pulled, under another name, and returns the
    /// digest of the manifest.
    pub async fn push(&self, image: &str, to: &str) -> Result<String> {
        self.run(&["tag", image, to]).await?;
        let digest = self.path("digest");
        self.remote(&["push"], &["--quiet", "--digestfile", &digest, to])
            .await?;
        read(&digest)
    }

    /// Makes an index of images in a registry, each for a platform
    /// (`os/architecture/variant`), pushes it with all of them, and returns its
    /// digest.
    pub async fn push_index(&self, images: &[(String, &str)], to: &str) -> Result<String> {
        self.run(&["manifest", "create", "index"]).await?;
        for (image, platform) in images {
            let image = format!("docker://{image}");
            let flags = ["--os", "--arch", "--variant"].into_iter();
            let flags = flags
                .zip(platform.split('/'))
                .flat_map(|(flag, part)| [flag, part]);
            let rest: Vec<&str> = flags.chain(["index", &image]).collect();
            self.remote(&["manifest", "add"], &rest).await?;
        }
        let digest = self.path("digest");
        let to = format!("docker://{to}");
        let rest = ["--quiet", "--all", "--digestfile", &digest, "index", &to];
        self.remote(&["manifest", "push"], &rest).await?;
        self.run(&["manifest", "rm", "index"]).await?;
        read(&digest)
    }

    /// Pulls without credentials; a non-zero exit is no error here.
    pub async fn pull_as_nobody(&self, image: &str) -> Result<Finished> {
        self.try_run(&["pull", "--quiet", "--tls-verify=false", image])
            .await
    }

    /// Forgets every image, so that the next pull brings everything.
    pub async fn forget(&self) -> Result<()> {
        self.run(&["rmi", "--all", "--force"]).await?;
        Ok(())
    }

    /// A command that speaks to a registry: the words of its name, and the rest.
    async fn remote(&self, name: &[&str], rest: &[&str]) -> Result<String> {
        let how = ["--tls-verify=false", "--creds", &self.credentials];
        self.run(&[name, &how, rest].concat()).await
    }

    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let finished = self.try_run(arguments).await?.success()?;
        Ok(finished.stdout.trim().to_owned())
    }

    async fn try_run(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = as_root_with(&self.environment, "podman");
        command
            .args(["--root", &self.path("root"), "--runroot", &self.path("run")])
            // Works on top of every file system, and the images are small.
            .args(["--storage-driver", "vfs"])
            .args(["--events-backend", "none"])
            .args(["--cgroup-manager", "cgroupfs"])
            .args(arguments);
        run(command, DEADLINE).await
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its folders belong to root.
        let _ = as_root("rm")
            .args(["-rf", &self.path("root"), &self.path("run")])
            .status();
    }
}

fn read(path: &str) -> Result<String> {
    let text = fs::read_to_string(Path::new(path)).context("read the digest of a push")?;
    Ok(text.trim().to_owned())
}
