//! `entrepot-node dev`: a whole cluster by one command, kept between runs, and
//! the demonstration.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use entrepot_harness::{Admin, Image, Ports, Registry, binary, interrupt, run, wait_until};

use crate::support::{EU, REPLICATED, step};

const READY: Duration = Duration::from_mins(1);
const STOPPED: Duration = Duration::from_secs(20);
const DEMO: Duration = Duration::from_mins(2);
const NODES: u16 = 6;
/// Client ports are base + n, peer ports base + 1000 + n, ops base + 2000 + n.
const OFFSETS: [u16; 18] = [
    0, 1, 2, 3, 4, 5, 1000, 1001, 1002, 1003, 1004, 1005, 2000, 2001, 2002, 2003, 2004, 2005,
];
const USER: &str = "somebody";
const PASSWORD: &str = "a-password-for-dev-tests";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_keeps_everything_between_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ports = Ports::take_block(&OFFSETS)?;
    let base = ports.numbers()[0];
    let image = Image::random(1, 2, 30_000);

    let mut dev = Dev::start(folder.path(), base, true)?;
    step("six nodes serve", dev.wait_ready()).await?;
    step("it says how to use it", async {
        let said = dev.wait_said("rule put").await?;
        for needed in [
            USER,
            "skopeo",
            "docker login",
            "us-east-1",
            "eu-west-1",
            &base.to_string(),
        ] {
            ensure!(said.contains(needed), "{needed:?} is not in:\n{said}");
        }
        Ok(())
    })
    .await?;
    step("push here, pull there", async {
        let admin = Admin::new(&dev.endpoint(0), USER, PASSWORD)?;
        admin.put_rule("everything", EU, None).await?;
        dev.registry(1)?
            .push_image("dev/app", "latest", &image)
            .await?;
        admin.wait_replicated(None, 1, REPLICATED).await?;
        dev.registry(4)?
            .verify_image("dev/app", "latest", &image)
            .await
    })
    .await?;
    step("Ctrl-C stops it cleanly", dev.interrupted()).await?;

    let mut dev = Dev::start(folder.path(), base, false)?;
    step("a second start finds everything again", async {
        dev.wait_ready().await?;
        for node in 0..NODES {
            dev.registry(node)?
                .verify_image("dev/app", "latest", &image)
                .await?;
        }
        let admin = Admin::new(&dev.endpoint(3), USER, PASSWORD)?;
        let status = admin.json(&["cluster", "status"]).await?;
        let nodes = status["nodes"].as_array().map(Vec::len);
        ensure!(nodes == Some(usize::from(NODES)), "{status}");
        Ok(())
    })
    .await?;
    step("Ctrl-C stops it cleanly again", dev.interrupted()).await
}

#[tokio::test]
async fn demo_shows_the_main_job_and_ends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ports = Ports::take_block(&OFFSETS)?;
    let started = Instant::now();
    let mut command = Command::new(binary("ENTREPOT_NODE", "entrepot-node")?);
    command.current_dir(folder.path()).args([
        "dev",
        "--demo",
        "--base-port",
        &ports.numbers()[0].to_string(),
    ]);
    let finished = run(command, DEMO).await?.success()?;
    println!(
        "{}\n({:.1} s)",
        finished.stdout,
        started.elapsed().as_secs_f64()
    );
    for needed in ["us-east-1", "eu-west-1", "sha256:"] {
        ensure!(finished.stdout.contains(needed), "{needed} is not shown");
    }
    Ok(())
}

/// A running `dev`.
struct Dev {
    child: Option<Child>,
    base_port: u16,
    log: std::path::PathBuf,
}

impl Dev {
    fn start(folder: &Path, base_port: u16, with_credentials: bool) -> Result<Self> {
        let log = folder.join(format!("said-{with_credentials}"));
        let file = File::create(&log)?;
        let mut command = Command::new(binary("ENTREPOT_NODE", "entrepot-node")?);
        command
            .args(["dev", "--base-port", &base_port.to_string(), "--data"])
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        if with_credentials {
            command
                .env("ENTREPOT_ROOT_USER", USER)
                .env("ENTREPOT_ROOT_PASSWORD", PASSWORD);
        }
        let child = command.spawn().context("start dev")?;
        Ok(Self {
            child: Some(child),
            base_port,
            log,
        })
    }

    fn endpoint(&self, node: u16) -> String {
        format!("http://127.0.0.1:{}", self.base_port + node)
    }

    fn registry(&self, node: u16) -> Result<Registry> {
        Registry::new(self.endpoint(node), Some((USER, PASSWORD)))
    }

    /// Waits until every node lets the user in.
    async fn wait_ready(&mut self) -> Result<()> {
        let mut registries = Vec::new();
        for node in 0..NODES {
            registries.push(self.registry(node)?);
        }
        let ready = wait_until("dev to serve", READY, async || {
            if let Some(status) = self.ended()? {
                return Ok(Some(Some(status)));
            }
            for registry in &registries {
                registry.get("/v2/").send().await?.expect(200)?;
            }
            Ok(Some(None))
        })
        .await;
        if let Some(status) = ready.with_context(|| self.said())? {
            bail!("dev ended with {status}:\n{}", self.said());
        }
        Ok(())
    }

    /// Waits until it has printed `text`; returns everything it printed.
    async fn wait_said(&self, text: &str) -> Result<String> {
        wait_until(&format!("dev to say {text:?}"), READY, async || {
            let said = self.said();
            ensure!(said.contains(text), "it says:\n{said}");
            Ok(Some(said))
        })
        .await
    }

    /// SIGINT; it must exit with 0.
    async fn interrupted(&mut self) -> Result<()> {
        interrupt(self.child.as_ref().context("dev is not running")?.id())?;
        let status = wait_until("dev to stop", STOPPED, async || self.ended()).await;
        let status = status.with_context(|| self.said())?;
        ensure!(
            status.code() == Some(0),
            "dev ended with {status}:\n{}",
            self.said()
        );
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().context("dev is not running")?;
        let status = child.try_wait().context("look after dev")?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
