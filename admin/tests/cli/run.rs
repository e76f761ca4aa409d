//! Runs the built binary.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::fake::{Fake, PASSWORD, USER};

/// A run that takes longer hangs.
const RUN_TIMEOUT: Duration = Duration::from_secs(30);

/// One run of a program, in an environment that holds nothing but what the
/// test puts there.
pub(crate) struct Run {
    command: Command,
    stdin: Vec<u8>,
}

/// What a run left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `entrepot` with `arguments`, parted by blanks.
pub(crate) fn entrepot(arguments: &str) -> Run {
    Run::of(env!("CARGO_BIN_EXE_entrepot"), arguments)
}

/// `docker-credential-entrepot` with `arguments`, for a user without a home.
pub(crate) fn credential_helper(arguments: &str) -> Run {
    let program = env!("CARGO_BIN_EXE_docker-credential-entrepot");
    Run::of(program, arguments).env("HOME", "/nonexistent")
}

impl Run {
    fn of(program: &str, arguments: &str) -> Self {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).env_clear();
        Self {
            command,
            stdin: Vec::new(),
        }
    }

    /// Asks `fake`, as its user.
    pub(crate) fn asking(self, fake: &Fake) -> Self {
        self.asking_at(&fake.url())
    }

    pub(crate) fn asking_at(self, url: &str) -> Self {
        self.env("ENTREPOT_ENDPOINT", url)
            .env("ENTREPOT_USER", USER)
            .env("ENTREPOT_PASSWORD", PASSWORD)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn argument(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    pub(crate) async fn outcome(mut self) -> Outcome {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A run that does not read its input may be gone already.
        let _ = stdin.write_all(&self.stdin).await;
        drop(stdin);
        let Output {
            status,
            stdout,
            stderr,
        } = tokio::time::timeout(RUN_TIMEOUT, child.wait_with_output())
            .await
            .expect("the program ends by itself")
            .unwrap();
        Outcome {
            code: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// The output of a run that succeeds and has nothing to complain about.
    pub(crate) async fn answer(self) -> String {
        let outcome = self.outcome().await;
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
        outcome.stdout
    }

    /// The complaint of a run that fails: one line, nothing on standard output.
    pub(crate) async fn complaint(self) -> String {
        let outcome = self.outcome().await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""));
        let line = outcome.stderr.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "more than one line: {line}");
        line.strip_prefix("entrepot: ").unwrap().to_owned()
    }

    /// What docker is told by a run that fails; people are told the same.
    pub(crate) async fn refusal(self) -> String {
        let outcome = self.outcome().await;
        assert_eq!(outcome.code, 1, "{outcome:?}");
        let line = outcome.stdout.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "more than one line: {line}");
        assert_eq!(
            outcome.stderr,
            format!("docker-credential-entrepot: {line}\n")
        );
        line.to_owned()
    }
}
