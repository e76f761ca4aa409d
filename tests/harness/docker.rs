//! A Docker engine of the test's own: `dockerd` with its own folders and
//! socket, no network set-up, started and stopped here. It touches no engine
//! that runs already.
//!
//! The engine needs root: it is started through `sudo -n` by anybody else.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::aws::AwsAccount;
use crate::daemon::Daemon;
use crate::process::{Finished, as_root_with, binary, run};
use crate::proxy::Proxy;

const START_DEADLINE: Duration = Duration::from_mins(1);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const COMMAND_DEADLINE: Duration = Duration::from_mins(3);
const ENGINE_PATHS: [&str; 3] = [
    "/usr/sbin/dockerd",
    "/usr/bin/dockerd",
    "/usr/local/bin/dockerd",
];
/// overlay2 does not work on top of every file system.
const STORAGE_DRIVERS: [&str; 2] = ["overlay2", "vfs"];

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    daemon: Daemon,
    /// What the client finds in its environment, besides this test's.
    environment: Vec<(&'static str, OsString)>,
}

impl Engine {
    pub async fn start() -> Result<Self> {
        Self::start_as(&[], &[]).await
    }

    /// One that reaches `host`, a registry that speaks TLS with a certificate of
    /// anybody's, through `proxy`.
    pub async fn start_behind(proxy: &Proxy, host: &str) -> Result<Self> {
        let environment = [(Proxy::VARIABLE, proxy.url())];
        Self::start_as(&environment, &["--insecure-registry", host]).await
    }

    async fn start_as(environment: &[(&'static str, String)], flags: &[&str]) -> Result<Self> {
        let Some(program) = ENGINE_PATHS
            .into_iter()
            .find(|path| Path::new(path).is_file())
        else {
            bail!("no Docker engine (dockerd) here: ./tests/run installs Debian's docker.io");
        };
        let mut failures = String::new();
        for driver in STORAGE_DRIVERS {
            let mut command = as_root_with(environment, program);
            command.args(flags);
            match Self::start_with(command, driver).await {
                Ok(engine) => return Ok(engine),
                Err(error) => failures = format!("{failures}\nwith {driver}: {error:#}"),
            }
        }
        bail!("the Docker engine does not start: {failures}")
    }

    async fn start_with(mut command: Command, driver: &str) -> Result<Self> {
        let mut daemon = Daemon::new("the Docker engine", "ed-", ["data", "exec"])?;
        fs::create_dir(daemon.path("config")).context("make a client's folder")?;
        // Not the machine's own configuration.
        fs::write(daemon.path("daemon.json"), "{}").context("write a configuration")?;
        let at = |name: &str| daemon.path(name).display().to_string();
        command
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args([
                "--pidfile",
                &at("pid"),
                "--host",
                &format!("unix://{}", at("sock")),
            ])
            .args(["--group", &rustix::process::getgid().as_raw().to_string()])
            .args(["--config-file", &at("daemon.json")])
            .args([
                "--storage-driver",
                driver,
                "--insecure-registry",
                "127.0.0.0/8",
            ])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        daemon.spawn(command)?;
        let mut engine = Self {
            daemon,
            environment: Vec::new(),
        };
        engine.wait_ready().await?;
        Ok(engine)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let (config, sock) = (self.daemon.path("config"), self.daemon.path("sock"));
        let answers = async || {
            let version = ["version", "--format", "{{.Server.Version}}"];
            client(&config, &sock, &[], &version).await?.success()?;
            Ok(())
        };
        self.daemon.wait_ready(START_DEADLINE, answers).await
    }

    /// Runs the client against this engine; a non-zero exit is no error here.
    pub async fn try_run(&self, arguments: &[&str]) -> Result<Finished> {
        let (config, sock) = (self.daemon.path("config"), self.daemon.path("sock"));
        client(&config, &sock, &self.environment, arguments).await
    }

    /// Runs the client and returns what it prints.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let finished = self.try_run(arguments).await?;
        let finished = finished.success().with_context(|| self.daemon.log_tail())?;
        Ok(finished.stdout.trim().to_owned())
    }

    /// Makes an index of images in a registry, pushes it, and returns its digest.
    pub async fn push_index(&self, images: &[String], to: &str) -> Result<String> {
        let images = images.iter().map(String::as_str);
        let create = ["manifest", "create", "--insecure", to].into_iter();
        self.run(&create.chain(images).collect::<Vec<_>>()).await?;
        self.run(&["manifest", "push", "--insecure", "--purge", to])
            .await
    }

    pub async fn login(&self, address: &str, user: &str, password: &str) -> Result<()> {
        self.run(&["login", "--username", user, "--password", password, address])
            .await?;
        Ok(())
    }

    /// Has the client log in to `address` by `docker-credential-entrepot`, which
    /// has the key of `account`.
    pub fn log_in_by_helper(
        &mut self,
        address: &str,
        account: &AwsAccount,
        region: &str,
    ) -> Result<()> {
        let helper = binary("ENTREPOT_CREDENTIAL_HELPER", "docker-credential-entrepot")?;
        let config = json!({"credHelpers": {address: "entrepot"}});
        fs::write(
            self.daemon.path("config").join("config.json"),
            config.to_string(),
        )
        .context("write the client's configuration")?;
        let folder = helper.parent().map(Path::to_path_buf);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = folder.into_iter().chain(env::split_paths(&path));
        self.environment = vec![
            ("PATH", env::join_paths(folders).context("name folders")?),
            ("ENTREPOT_ACCESS_KEY_ID", account.key_id.clone().into()),
            ("ENTREPOT_SECRET_ACCESS_KEY", account.secret.clone().into()),
            ("ENTREPOT_REGION", region.into()),
        ];
        Ok(())
    }

    /// SIGTERM; the engine stops its own containerd.
    pub async fn stop(self) -> Result<()> {
        self.daemon.stop(STOP_DEADLINE).await
    }
}

async fn client(
    config: &Path,
    sock: &Path,
    environment: &[(&'static str, OsString)],
    arguments: &[&str],
) -> Result<Finished> {
    let mut command = Command::new("docker");
    command
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("DOCKER_CONFIG", config)
        .env_remove("DOCKER_CONTEXT")
        .arg("--host")
        .arg(format!("unix://{}", sock.display()))
        .args(arguments);
    run(command, COMMAND_DEADLINE).await
}
