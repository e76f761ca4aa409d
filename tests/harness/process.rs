//! Processes: finding our binaries, running a program to its end, signals by
//! process id, and what `/proc` says of memory and CPU time.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};

/// What a program that ran to its end left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command line, for messages.
    pub what: String,
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// # Errors
    /// Unless the program exited with 0; shows what it printed.
    pub fn success(self) -> Result<Self> {
        ensure!(
            self.code == Some(0),
            "`{}` ended with {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        );
        Ok(self)
    }

    /// # Errors
    /// When the program exited with 0 or was ended by a signal.
    pub fn failure(self) -> Result<Self> {
        ensure!(
            matches!(self.code, Some(code) if code != 0),
            "`{}` ended with {:?}, expected an exit code other than 0\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        );
        Ok(self)
    }
}

/// Runs `command` to its end, off the async threads.
///
/// # Errors
/// When the program is missing (naming the program) or is not done within
/// `deadline` (it is killed then). A non-zero exit is not an error here.
pub async fn run(command: Command, deadline: Duration) -> Result<Finished> {
    let what = describe(&command);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut command = tokio::process::Command::from(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("the program `{program}` is missing: ./tests/run installs what the tests need")
        }
        Err(error) => return Err(error).with_context(|| format!("start `{what}`")),
    };
    let output = tokio::time::timeout(deadline, child.wait_with_output())
        .await
        .with_context(|| format!("`{what}` was not done after {} s", deadline.as_secs()))?
        .with_context(|| format!("run `{what}`"))?;
    Ok(Finished {
        what,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A program that needs root.
pub(crate) fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// The same with more in its environment, which `sudo` would not pass on.
pub(crate) fn as_root_with(environment: &[(&'static str, String)], program: &str) -> Command {
    let mut command = as_root("env");
    let pairs = environment.iter();
    command.args(pairs.map(|(name, value)| format!("{name}={value}")));
    command.arg(program);
    command
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The path of one of our own binaries: from the environment variable
/// `variable`, else out of the target folder that this test was built into.
///
/// # Errors
/// When it has not been built.
pub fn binary(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "{variable}={}: no such file",
            path.display()
        );
        return Ok(path);
    }
    // target/<profile>/deps/<this test> -> target/<profile>/<name>
    let own = std::env::current_exe().context("find the path of this test")?;
    let folder = own.parent().and_then(|deps| deps.parent());
    let path = folder.context("find the target folder")?.join(name);
    ensure!(
        path.is_file(),
        "{} is not built: run ./tests/run, or `cargo build --workspace` first, or set {variable}",
        path.display()
    );
    Ok(path)
}

/// SIGTERM.
pub(crate) fn terminate(pid: u32) -> Result<()> {
    signal(pid, Signal::TERM)
}

/// SIGINT, as Ctrl-C sends it.
pub fn interrupt(pid: u32) -> Result<()> {
    signal(pid, Signal::INT)
}

/// SIGSTOP: the process hangs, its connections stay open.
pub(crate) fn pause(pid: u32) -> Result<()> {
    signal(pid, Signal::STOP)
}

/// SIGCONT.
pub(crate) fn resume(pid: u32) -> Result<()> {
    signal(pid, Signal::CONT)
}

/// What the kernel says of each thread: `T` is stopped, `D` waits for a disk.
pub(crate) fn thread_states(pid: u32) -> Result<Vec<char>> {
    let mut states = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("look at its threads")? {
        let stat = fs::read_to_string(thread?.path().join("stat")).context("look at a thread")?;
        // After the name, which may hold anything.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        states.push(state.context("a thread without a state")?);
    }
    Ok(states)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.context("a process id of 0")?;
    rustix::process::kill_process(pid, signal).context("send a signal")
}

/// The sockets that a process has open.
pub(crate) fn open_sockets(pid: u32) -> Result<usize> {
    let folder = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&folder).with_context(|| format!("list {folder}"))?;
    // What was closed since the listing is none.
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count())
}

/// Raises this process's own limit of open files to what the machine allows;
/// what it is now.
pub fn raise_open_files() -> Result<u64> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")?;
    Ok(hard.unwrap_or(u64::MAX))
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// `VmRSS`: the memory it holds.
    pub rss_bytes: u64,
    /// `RssAnon`: what of it is no page of a file, and so cannot be taken back.
    pub anonymous_bytes: u64,
    /// `VmHWM`: the most memory it ever held.
    pub peak_rss_bytes: u64,
    /// User and system time.
    pub cpu_s: f64,
}

/// # Errors
/// When the process is gone.
pub fn usage(pid: u32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("read the status of process {pid}"))?;
    let bytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .with_context(|| format!("process {pid} has no {key}"))
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("read the times of process {pid}"))?;
    // The second field is the program's name in parentheses and may hold
    // anything; utime and stime are fields 14 and 15 counted from 1.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u32>().ok())
    };
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
        bail!("process {pid} has no CPU times");
    };
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(Usage {
        rss_bytes: bytes("VmRSS:")?,
        anonymous_bytes: bytes("RssAnon:")?,
        peak_rss_bytes: bytes("VmHWM:")?,
        cpu_s: (f64::from(user) + f64::from(system)) / f64::from(per_second),
    })
}
