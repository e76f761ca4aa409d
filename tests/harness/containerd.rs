//! A containerd of the test's own and its client `ctr`: with its own folders and
//! sockets, without networks and without Kubernetes' plugin, started and stopped
//! here. It runs no container.
//!
//! It needs root: it is started through `sudo -n` by anybody else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::daemon::Daemon;
use crate::process::{Finished, as_root, run};
use crate::proxy::Proxy;

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const COMMAND_DEADLINE: Duration = Duration::from_mins(2);

/// A running containerd, and `ctr` with one identity.
#[derive(Debug)]
pub struct Containerd {
    daemon: Daemon,
    credentials: String,
}

impl Containerd {
    pub async fn start(user: &str, password: &str) -> Result<Self> {
        let daemon = Daemon::new("containerd", "ec-", ["root", "state"])?;
        let mut containerd = Self {
            daemon,
            credentials: format!("{user}:{password}"),
        };
        let config = containerd.daemon.path("config.toml");
        fs::write(&config, containerd.config()).context("write a configuration")?;
        let mut command = as_root("containerd");
        command.arg("--config").arg(&config);
        containerd
            .daemon
            .spawn(command)
            .context("./tests/run installs Debian's containerd")?;
        containerd.wait_ready().await?;
        Ok(containerd)
    }

    fn config(&self) -> String {
        let at = |name: &str| self.daemon.path(name).display().to_string();
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {sock:?}\nuid = {uid}\ngid = {gid}\n\
             [ttrpc]\naddress = {ttrpc:?}\n",
            root = at("root"),
            state = at("state"),
            sock = at("sock"),
            ttrpc = at("ttrpc"),
        )
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let sock = self.daemon.path("sock");
        let answers = async || {
            let version = run(client(&sock, &["version"]), COMMAND_DEADLINE);
            version.await?.success()?;
            Ok(())
        };
        self.daemon.wait_ready(START_DEADLINE, answers).await
    }

    /// Pulls `image` for all its platforms.
    pub async fn pull(&self, image: &str) -> Result<()> {
        let how = [
            "images",
            "pull",
            "--plain-http",
            "--user",
            &self.credentials,
        ];
        let what = ["--all-platforms", "--snapshotter", "native", image];
        self.run(&[&how[..], &what].concat()).await
    }

    /// Pulls `image` without credentials, by TLS with whoever answers, through
    /// `proxy`; a non-zero exit is no error here.
    pub async fn pull_as_nobody(&self, image: &str, proxy: &Proxy) -> Result<Finished> {
        let how = ["images", "pull", "--skip-verify", "--all-platforms"];
        let what = ["--snapshotter", "native", image];
        let mut command = client(&self.daemon.path("sock"), &[&how[..], &what].concat());
        command.env(Proxy::VARIABLE, proxy.url());
        run(command, COMMAND_DEADLINE).await
    }

    /// Pushes the image called `image` here to `to`, with everything it names.
    pub async fn push(&self, image: &str, to: &str) -> Result<()> {
        let how = [
            "images",
            "push",
            "--plain-http",
            "--user",
            &self.credentials,
        ];
        self.run(&[&how[..], &[to, image]].concat()).await
    }

    /// The digest that a name stands for here.
    pub async fn digest(&self, image: &str) -> Result<String> {
        let name = format!("name=={image}");
        let listed = self.try_run(&["images", "list", &name]).await?.success()?;
        let digest = listed
            .stdout
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"));
        let digest = digest.with_context(|| format!("{image} is not there: {}", listed.stdout))?;
        Ok(digest.to_owned())
    }

    /// Forgets an image and its content.
    pub async fn forget(&self, image: &str) -> Result<()> {
        self.run(&["images", "rm", "--sync", image]).await
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let finished = self.try_run(arguments).await?;
        finished.success().with_context(|| self.daemon.log_tail())?;
        Ok(())
    }

    async fn try_run(&self, arguments: &[&str]) -> Result<Finished> {
        let command = client(&self.daemon.path("sock"), arguments);
        run(command, COMMAND_DEADLINE).await
    }

    pub async fn stop(self) -> Result<()> {
        self.daemon.stop(STOP_DEADLINE).await
    }
}

fn client(sock: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("ctr");
    command
        .arg("--address")
        .arg(sock)
        .args(["--namespace", "test"])
        .args(arguments);
    command
}
