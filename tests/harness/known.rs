//! Debian's `docker-registry`: a registry that is known to work. The harness
//! is proved against it, and the benchmark compares with it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::http::Registry;
use crate::ports::Ports;
use crate::process::{Usage, usage};
use crate::wait::wait_until;

const PROGRAM: &str = "/usr/bin/docker-registry";
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// A running `docker-registry`: plain HTTP, no authentication.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    port: u16,
    _ports: Ports,
    _folder: TempDir,
}

impl DockerRegistry {
    pub async fn start() -> Result<Self> {
        if !Path::new(PROGRAM).is_file() {
            bail!("{PROGRAM} is missing: ./tests/run installs Debian's docker-registry");
        }
        let folder = tempfile::Builder::new()
            .prefix("docker-registry-")
            .tempdir()
            .context("make a folder for a registry")?;
        let ports = Ports::take(1)?;
        let port = ports.numbers()[0];
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n",
            data = folder.path().join("data").display()
        );
        let config_path = folder.path().join("config.yml");
        fs::write(&config_path, config).context("write a registry's configuration")?;
        let log = File::create(folder.path().join("log")).context("make a log file")?;
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config_path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share a log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {PROGRAM}"))?;
        let known = Self {
            child,
            port,
            _ports: ports,
            _folder: folder,
        };
        let registry = known.registry()?;
        wait_until("docker-registry to be ready", READY_DEADLINE, async || {
            registry.get("/v2/").send().await?.expect(200)?;
            Ok(Some(()))
        })
        .await?;
        Ok(known)
    }

    pub fn registry(&self) -> Result<Registry> {
        Registry::new(format!("http://127.0.0.1:{}", self.port), None)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn usage(&self) -> Result<Usage> {
        usage(self.child.id())
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
