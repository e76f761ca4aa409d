//! One `entrepot-node run` process: start, stop, kill, logs, memory.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::config::NodeConfig;
use crate::http::Registry;
use crate::network::Namespace;
use crate::process::{
    Finished, Usage, open_sockets, pause, resume, run, terminate, thread_states, usage,
};
use crate::wait::wait_until;

const STOP_DEADLINE: Duration = Duration::from_secs(20);
const FROZEN_DEADLINE: Duration = Duration::from_secs(10);
const COMMAND_DEADLINE: Duration = Duration::from_mins(1);
const TAIL_LINES: usize = 30;
const TAIL_LINE_CHARS_MAX: usize = 300;

/// A node of a test cluster; its process may be down.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    program: PathBuf,
    /// Where it runs; none: where this process does.
    namespace: Option<Arc<Namespace>>,
    config_path: PathBuf,
    log_path: PathBuf,
    data_path: PathBuf,
    child: Option<Child>,
    rebuild_index: bool,
    peak_rss_bytes: u64,
}

impl Node {
    pub(crate) fn new(config: NodeConfig, program: PathBuf, folder: &Path) -> Self {
        let id = config.id;
        Self {
            config,
            program,
            namespace: None,
            config_path: folder.join(format!("node-{id}.toml")),
            log_path: folder.join(format!("node-{id}.log")),
            data_path: folder.join(format!("node-{id}")),
            child: None,
            rebuild_index: false,
            peak_rss_bytes: 0,
        }
    }

    /// It runs in a namespace from its first start on.
    pub(crate) fn within(mut self, namespace: Arc<Namespace>) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// Its program, wherever it runs.
    fn program(&self) -> Command {
        match &self.namespace {
            Some(namespace) => namespace.command(&self.program),
            None => Command::new(&self.program),
        }
    }

    pub fn id(&self) -> u64 {
        self.config.id
    }

    pub fn region(&self) -> &str {
        &self.config.region
    }

    /// `http://host:port` of the client port, or `https://`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.config.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.client_address())
    }

    /// The client port.
    pub fn client_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.config.client_port))
    }

    /// How many sockets the process has open: those that it listens on, and a
    /// connection each.
    pub fn sockets(&self) -> Result<usize> {
        let child = self.child.as_ref().context("the node is not running")?;
        open_sockets(child.id())
    }

    /// The node's own folder.
    pub fn data(&self) -> &Path {
        &self.data_path
    }

    pub fn config_path(&self) -> &Path {
        &self.config_path
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// The next start builds the index anew.
    pub(crate) fn rebuild_index_once(&mut self) {
        self.rebuild_index = true;
    }

    /// # Errors
    /// When the process ended by itself; shows the end of its log.
    pub fn expect_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the node is not running")?;
        if let Some(status) = child.try_wait().context("look after a node")? {
            bail!(
                "node {} ended by itself ({status})\n{}",
                self.id(),
                self.log_tail()
            );
        }
        Ok(())
    }

    /// Starts the process and returns its id; does not wait for it to serve.
    pub(crate) fn spawn(&mut self) -> Result<u32> {
        ensure!(
            self.child.is_none(),
            "node {} is running already",
            self.id()
        );
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log_path)
            .with_context(|| format!("open {}", self.log_path.display()))?;
        let child = self
            .program()
            .arg("run")
            .arg("--config")
            .arg(&self.config_path)
            .args(std::mem::take(&mut self.rebuild_index).then_some("--rebuild-index"))
            .env_remove("ENTREPOT_ROOT_USER")
            .env_remove("ENTREPOT_ROOT_PASSWORD")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share a log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let pid = child.id();
        self.child = Some(child);
        Ok(pid)
    }

    /// Runs the program to its end, as `entrepot-node <arguments> --config ...`.
    pub async fn command(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.program();
        command
            .args(arguments)
            .arg("--config")
            .arg(&self.config_path);
        run(command, COMMAND_DEADLINE).await
    }

    /// The peer port.
    pub fn peer_address(&self) -> SocketAddr {
        SocketAddr::from((self.config.host, self.config.peer_port))
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When the deadline passes or the process ends; shows the end of its log.
    pub(crate) async fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        let id = self.id();
        let ops = format!("http://127.0.0.1:{}", self.config.ops_port);
        let ops = Registry::new(ops, None)?;
        let child = self.child.as_mut().context("the node is not running")?;
        let mut ended = None;
        let ready = wait_until(&format!("node {id} to be ready"), deadline, async || {
            ended = child.try_wait().context("look after a node")?;
            if ended.is_some() {
                return Ok(Some(()));
            }
            ops.get("/readyz").send().await?.expect(200)?;
            Ok(Some(()))
        })
        .await;
        if let Some(status) = ended {
            self.child = None;
            bail!(
                "node {id} ended at its start ({status})\n{}",
                self.log_tail()
            );
        }
        ready.with_context(|| self.log_tail())
    }

    /// What the node counts, as text.
    pub async fn metrics(&self) -> Result<String> {
        let ops = format!("http://127.0.0.1:{}", self.config.ops_port);
        let reply = Registry::new(ops, None)?.get("/metrics").send().await?;
        Ok(String::from_utf8_lossy(&reply.expect(200)?.body).into_owned())
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill9(&mut self) -> Result<()> {
        self.note_usage();
        let mut child = self.child.take().context("the node is not running")?;
        child.kill().context("kill a node")?;
        child.wait().context("wait for a killed node")?;
        Ok(())
    }

    /// SIGSTOP: it answers nothing, and nobody is told.
    pub fn pause(&self) -> Result<()> {
        pause(self.child.as_ref().context("the node is not running")?.id())
    }

    /// As [`Self::pause`], and waits until no thread of it runs. One may be in a
    /// system call still; what that returns, it does not come to see.
    pub(crate) async fn freeze(&self) -> Result<()> {
        self.pause()?;
        let process = self.child.as_ref().context("the node is not running")?.id();
        wait_until("a node to stand still", FROZEN_DEADLINE, async || {
            let states = thread_states(process)?;
            let is_still = |state: &char| matches!(state, 'T' | 'D');
            ensure!(states.iter().all(is_still), "threads are {states:?}");
            Ok(Some(()))
        })
        .await
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        resume(self.child.as_ref().context("the node is not running")?.id())
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// When it does not exit with 0 in time.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.note_usage();
        let id = self.id();
        let mut child = self.child.take().context("the node is not running")?;
        terminate(child.id())?;
        let status = wait_until(&format!("node {id} to stop"), STOP_DEADLINE, async || {
            child.try_wait().context("look after a node")
        })
        .await;
        if status.is_err() {
            child.kill().context("kill a node")?;
            child.wait().context("wait for a killed node")?;
        }
        let status = status.with_context(|| self.log_tail())?;
        ensure!(
            status.code() == Some(0),
            "node {id} ended with {status} after SIGTERM\n{}",
            self.log_tail()
        );
        Ok(())
    }

    /// The most memory that any process of this node has held.
    pub fn peak_rss_bytes(&mut self) -> u64 {
        self.note_usage();
        self.peak_rss_bytes
    }

    /// The running process.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the node is not running")?.id())
    }

    /// Memory and CPU time of the running process.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.pid()?)
    }

    fn note_usage(&mut self) {
        if let Ok(usage) = self.usage() {
            self.peak_rss_bytes = self.peak_rss_bytes.max(usage.peak_rss_bytes);
        }
    }

    /// Whether the log holds `text`.
    pub fn log_contains(&self, text: &str) -> bool {
        fs::read_to_string(&self.log_path).is_ok_and(|log| log.contains(text))
    }

    /// How many lines of the log hold `text`.
    pub fn log_count(&self, text: &str) -> Result<u64> {
        let log = fs::read(&self.log_path)
            .with_context(|| format!("read {}", self.log_path.display()))?;
        let log = String::from_utf8_lossy(&log);
        let found = log.lines().filter(|line| line.contains(text)).count();
        Ok(found as u64)
    }

    /// The last lines of the log, for messages.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log_path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        let tail: Vec<String> = tail
            .iter()
            .map(|line| line.chars().take(TAIL_LINE_CHARS_MAX).collect())
            .collect();
        format!(
            "--- node {} ({}), end of {}\n{}",
            self.id(),
            self.region(),
            self.log_path.display(),
            tail.join("\n")
        )
    }

    /// Where this node keeps its copy of a blob, if it has one.
    pub fn blob_file(&self, digest: &str) -> Result<PathBuf> {
        let (algorithm, hex) = digest.split_once(':').context("a digest")?;
        let folder = hex.get(..2).context("a digest")?;
        let blobs = self.data_path.join("blobs").join(algorithm);
        Ok(blobs.join(folder).join(hex))
    }

    /// Files that an upload in progress has left in the node's folder: those
    /// in any folder named `staging`.
    pub fn staging_files(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        collect_staging(&self.data_path, false, &mut found)?;
        Ok(found)
    }

    pub(crate) fn write_config(&self, text: &str) -> Result<()> {
        fs::write(&self.config_path, text)
            .with_context(|| format!("write {}", self.config_path.display()))?;
        File::create(&self.log_path).context("make a log file")?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn collect_staging(folder: &Path, inside: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Removed between the listing and the look.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    for entry in entries {
        let path = entry.context("list a folder")?.path();
        if path.is_dir() {
            let inside = inside || path.file_name().is_some_and(|name| name == "staging");
            collect_staging(&path, inside, found)?;
        } else if inside {
            found.push(path);
        }
    }
    Ok(())
}
