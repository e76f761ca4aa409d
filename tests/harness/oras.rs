//! oras, the Python client: images and indexes out of OCI layouts, and artifacts
//! made of files, as users write it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::run;
use crate::proxy::Proxy;

const DEADLINE: Duration = Duration::from_mins(1);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/oras_client.py");
/// Where `./tests/run` puts the interpreter that finds it.
const VARIABLE: &str = "ENTREPOT_ORAS_PYTHON";
const IN_TARGET: &str = "oras/bin/python";

/// oras with one identity.
#[derive(Debug)]
pub struct Oras {
    python: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Oras {
    /// # Errors
    /// When it is not installed.
    pub fn new(user: &str, password: &str) -> Result<Self> {
        let user = ("ORAS_USER", user.to_owned());
        Self::with(vec![user, ("ORAS_PASS", password.to_owned())])
    }

    /// Without a login, by TLS through `proxy`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn as_nobody(proxy: &Proxy) -> Result<Self> {
        Self::with(vec![
            ("ORAS_TLS", "1".to_owned()),
            (Proxy::VARIABLE, proxy.url()),
        ])
    }

    fn with(environment: Vec<(&'static str, String)>) -> Result<Self> {
        let python = match std::env::var_os(VARIABLE) {
            Some(path) => PathBuf::from(path),
            None => in_target_folder()?,
        };
        if !python.is_file() {
            bail!(
                "the Python client oras is missing ({}): ./tests/run installs it, or set {VARIABLE}",
                python.display()
            );
        }
        Ok(Self {
            python,
            environment,
        })
    }

    /// Pushes `name` out of an OCI layout and returns its digest.
    pub async fn push_layout(&self, layout: &Path, name: &str, image: &str) -> Result<String> {
        let layout = layout.display().to_string();
        self.run(&["push_layout", &layout, name, image]).await
    }

    /// Pulls an image or an index into a new OCI layout and returns the digests
    /// of every file in it.
    pub async fn pull_layout(&self, image: &str, layout: &Path) -> Result<Vec<String>> {
        let folder = layout.display().to_string();
        self.run(&["pull_layout", image, &folder]).await?;
        let blobs = layout.join("blobs/sha256");
        let mut digests = Vec::new();
        for entry in fs::read_dir(&blobs).with_context(|| format!("list {}", blobs.display()))? {
            let content = fs::read(entry.context("list a layout")?.path());
            let content = content.context("read a pulled file")?;
            digests.push(crate::image::digest_of(&content));
        }
        Ok(digests)
    }

    /// Pushes an artifact of files, with a subject's descriptor if there is one,
    /// and returns its digest.
    pub async fn push_files(
        &self,
        image: &str,
        subject: Option<&Value>,
        files: &[&str],
    ) -> Result<String> {
        let subject = subject.map(Value::to_string).unwrap_or_default();
        let words = ["push_files", image, &subject];
        self.run(&[&words[..], files].concat()).await
    }

    /// Pulls the files of an artifact into a folder.
    pub async fn pull_files(&self, image: &str, folder: &Path) -> Result<()> {
        let folder = folder.display().to_string();
        self.run(&["pull_files", image, &folder]).await?;
        Ok(())
    }

    pub async fn tags(&self, repository: &str) -> Result<Vec<String>> {
        let listed = self.run(&["tags", repository]).await?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    async fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.python);
        command
            .env_remove("ORAS_USER")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .arg(SCRIPT)
            .args(words);
        let finished = run(command, DEADLINE).await?.success()?;
        let last = finished.stdout.trim().to_owned();
        Ok(last)
    }
}

/// target/<profile>/deps/<this test> -> target/oras/bin/python
fn in_target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the path of this test")?;
    let target = own.ancestors().nth(3).context("find the target folder")?;
    Ok(target.join(IN_TARGET))
}
