//! A network namespace: a machine room of its own, as far as the network goes.
//!
//! It has no name. It belongs to a process that waits for its input to end, and
//! ends with this one whatever becomes of that, so that nothing is left behind by
//! a test that is killed either.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

/// Something to be done inside.
type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Namespace {
    /// What keeps it.
    holder: Child,
    jobs: mpsc::Sender<Job>,
}

impl Namespace {
    /// # Errors
    /// When this process may make none: they take root.
    pub(super) fn make() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "a network of namespaces can only be made by root: run this test as root, as \
             ./tests/run in a container does"
        );
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo made && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run `unshare` of util-linux")?;
        let mut said = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        if said.trim() != "made" {
            let ended = holder.wait().context("wait for `unshare`")?;
            bail!(
                "no network namespace can be made here ({ended}): it takes root with \
                 CAP_SYS_ADMIN and CAP_NET_ADMIN"
            );
        }
        let inside = format!("/proc/{}/ns/net", holder.id());
        let inside = File::open(&inside).with_context(|| format!("open {inside}"))?;
        let (jobs, waiting) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("namespace".to_owned())
            .spawn(move || {
                let kind = Some(LinkNameSpaceType::Network);
                if move_into_link_name_space(inside.as_fd(), kind).is_ok() {
                    for job in waiting {
                        job();
                    }
                }
            })
            .context("start a thread")?;
        let namespace = Self { holder, jobs };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A command that runs inside.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        command.arg("--").arg(program.as_ref());
        command
    }

    /// `ip ...`
    pub(super) fn ip(&self, arguments: &[&str]) -> Result<()> {
        self.run("ip", arguments)
    }

    /// Runs a program inside to its end.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let what = format!("{program} {}", arguments.join(" "));
        let ended = self.command(program).args(arguments).output();
        let ended = ended.with_context(|| format!("run `{what}`"))?;
        ensure!(
            ended.status.success(),
            "`{what}` in a namespace ended with {}: {}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr).trim_end()
        );
        Ok(())
    }

    /// Sets a parameter of the kernel for what is inside.
    pub(super) fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let value = value.to_owned();
        let set = self.inside_now(move || std::fs::write(&path, value))?;
        set.with_context(|| format!("set {key}"))
    }

    /// Segments that TCP sent once more, of all connections inside.
    pub(super) fn sent_again(&self) -> Result<u64> {
        let path = format!("/proc/{}/net/snmp", self.holder.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (lines.next(), lines.next());
        let mut found = names.into_iter().flat_map(str::split_whitespace);
        let place = found.position(|name| name == "RetransSegs");
        let value = place.and_then(|place| values?.split_whitespace().nth(place));
        let value = value.with_context(|| format!("no RetransSegs in {path}"))?;
        value.parse().with_context(|| format!("{value} in {path}"))
    }

    /// Does something in a thread that is inside.
    pub(super) async fn inside<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.start(job)?.await.context("a namespace is gone")
    }

    /// As [`Self::inside`], without a runtime.
    pub(super) fn inside_now<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (done, result) = mpsc::channel();
        self.start(move || drop(done.send(job())))?;
        result.recv().context("a namespace is gone")
    }

    /// A connection to a port on loopback inside.
    pub(super) async fn connect(&self, port: u16) -> Result<TcpStream> {
        let made = self.inside(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        Ok(made.await??)
    }

    fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || drop(done.send(job())));
        self.jobs.send(job).ok().context("a namespace is gone")?;
        Ok(result)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // With its end the kernel takes the namespace down, once no process is left
        // in it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
