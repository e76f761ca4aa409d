//! A daemon of the test's own that needs root, such as a container engine: its
//! folder and log, its start and its stop. It is started through `sudo -n` by
//! anybody but root, and ended by its own process id.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::as_root;
use crate::wait::wait_until;

const LOG_TAIL_BYTES: usize = 4_000;

/// A daemon that runs or ran.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: &'static str,
    /// What is left of it in its folder may belong to root.
    folder: TempDir,
    owned_by_root: [&'static str; 2],
    child: Option<Child>,
}

// === impl Daemon ===

impl Daemon {
    /// A folder for a daemon that has not been started; `owned_by_root` are the
    /// folders in it that the daemon makes.
    pub(crate) fn new(
        name: &'static str,
        prefix: &str,
        owned_by_root: [&'static str; 2],
    ) -> Result<Self> {
        // A socket's path may have 107 bytes at most: keep it short.
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .with_context(|| format!("make a folder for {name}"))?;
        Ok(Self {
            name,
            folder,
            owned_by_root,
            child: None,
        })
    }

    /// What `name` is called in the daemon's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it; what it prints goes to its log.
    pub(crate) fn spawn(&mut self, mut command: Command) -> Result<()> {
        let log = File::create(self.path("log")).context("make a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share a log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `answers` succeeds.
    ///
    /// # Errors
    /// When the daemon ends before, or does not answer within `deadline`.
    pub(crate) async fn wait_ready(
        &mut self,
        deadline: Duration,
        mut answers: impl AsyncFnMut() -> Result<()>,
    ) -> Result<()> {
        let mut ended = None;
        let what = format!("{} to be ready", self.name);
        let ready = wait_until(&what, deadline, async || {
            ended = self.ended()?;
            if ended.is_none() {
                answers().await?;
            }
            Ok(Some(()))
        })
        .await;
        if let Some(status) = ended {
            self.child = None;
            let (name, log) = (self.name, self.log_tail());
            bail!("{name} ended at its start ({status}):\n{log}");
        }
        ready.with_context(|| self.log_tail())
    }

    /// SIGTERM, and waits for its end.
    pub(crate) async fn stop(mut self, deadline: Duration) -> Result<()> {
        self.terminate()?;
        let what = format!("{} to stop", self.name);
        let stopped = wait_until(&what, deadline, async || self.ended()).await;
        if stopped.is_ok() {
            self.child = None;
        }
        stopped.with_context(|| self.log_tail())?;
        Ok(())
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.path("log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
        let (name, tail) = (self.name, String::from_utf8_lossy(tail));
        format!("--- end of the log of {name}\n{tail}")
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().context("it is not running")?;
        child
            .try_wait()
            .with_context(|| format!("look after {}", self.name))
    }

    /// By the id in its pid file if it has one, for under sudo the child is
    /// another process; otherwise sudo passes the signal on.
    fn terminate(&self) -> Result<()> {
        let child = self.child.as_ref().context("it is not running")?;
        let pid = match fs::read_to_string(self.path("pid")) {
            Ok(pid) => pid.trim().to_owned(),
            Err(_) => child.id().to_string(),
        };
        let status = as_root("kill")
            .args(["-TERM", &pid])
            .status()
            .context("run kill")?;
        if !status.success() {
            bail!("kill -TERM {pid}: {status}");
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let asked = self.terminate();
        if let Some(mut child) = self.child.take() {
            if asked.is_err() {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
        let _ = as_root("rm")
            .arg("-rf")
            .args(self.owned_by_root.map(|name| self.path(name)))
            .status();
    }
}
