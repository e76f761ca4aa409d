//! The clients of AWS's APIs: boto3, the SDK for JavaScript, and the `aws` programs
//! of `PyPI` and of Debian.
//! What they are asked to do is written in Python, as their users write it: the
//! walks in `tests/aws`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::cluster::Cluster;
use crate::process::run;

const DEADLINE: Duration = Duration::from_mins(6);
const LOGIN_DEADLINE: Duration = Duration::from_mins(1);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/aws/run.py");
/// Where `./tests/run` puts what comes from `PyPI`, under the target folder.
const BOTO3: Installed = Installed {
    what: "boto3",
    variable: "ENTREPOT_BOTO3_PYTHON",
    path: "boto3/bin/python",
};
const PYPI: Installed = Installed {
    what: "the aws program of PyPI",
    variable: "ENTREPOT_AWSCLI",
    path: "awscli/bin/aws",
};
/// The SDK for JavaScript: the folder of its modules.
const JAVASCRIPT: Installed = Installed {
    what: "AWS's SDK for JavaScript",
    variable: "ENTREPOT_AWS_JAVASCRIPT",
    path: "aws-javascript/node_modules/@aws-sdk/client-ecr/package.json",
};
/// Debian's package has it there; another one may come first in `PATH`.
const DEBIAN: &str = "/usr/bin/aws";

/// One call of a client, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCall {
    /// `ecr`, `ecr-public`, `iam` or `sts`.
    pub service: String,
    pub operation: String,
    /// `boto3`, `sdk-javascript`, `aws-pypi` or `aws-debian`.
    pub client: String,
    /// The error's code; none: it worked.
    pub error: Option<String>,
    pub message: Option<String>,
}

/// An account of a cluster, with its root user's access key.
#[derive(Clone, Debug)]
pub struct AwsAccount {
    pub id: String,
    pub key_id: String,
    pub secret: String,
}

struct Installed {
    what: &'static str,
    variable: &'static str,
    path: &'static str,
}

// === impl AwsAccount ===

impl AwsAccount {
    /// Makes an account of that number.
    pub async fn create(cluster: &Cluster, id: &str) -> Result<Self> {
        let admin = cluster.admin(1)?;
        let asked = ["account", "create", id, "--json"];
        let text = admin.try_run(&asked).await?.success()?.stdout;
        let made: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let text = |key: &str| {
            let found = made[key].as_str().map(str::to_owned);
            found.with_context(|| format!("no {key}: {made}"))
        };
        Ok(Self {
            id: text("account")?,
            key_id: text("access_key_id")?,
            secret: text("secret_access_key")?,
        })
    }
}

impl AwsAccount {
    /// What `aws ecr get-login-password` prints, by the oldest program that there
    /// is to be found, for the registry that `endpoint` serves.
    pub async fn login_password(&self, endpoint: &str, region: &str) -> Result<String> {
        let asked = ["ecr", "get-login-password"];
        self.aws(&asked, endpoint, region, None).await
    }

    /// What that program prints when it is asked; it trusts `authority`, if one is
    /// named.
    pub async fn aws(
        &self,
        asked: &[&str],
        endpoint: &str,
        region: &str,
        authority: Option<&Authority>,
    ) -> Result<String> {
        let mut command = Command::new(debian()?);
        command
            .args(asked)
            .args(["--endpoint-url", endpoint, "--region", region])
            .env("AWS_ACCESS_KEY_ID", &self.key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_PROFILE");
        if let Some(authority) = authority {
            command.env("AWS_CA_BUNDLE", authority.file());
        }
        let finished = run(command, LOGIN_DEADLINE).await?.success()?;
        Ok(finished.stdout.trim_end().to_owned())
    }
}

/// Runs the walk `name` of `tests/aws` against a cluster; the calls that it made.
///
/// # Errors
/// A client is not installed, or a step of the walk failed; it says which.
pub async fn walk(cluster: &Cluster, name: &str, accounts: &[AwsAccount]) -> Result<Vec<AwsCall>> {
    let scratch = cluster.scratch(&format!("aws-{name}"))?;
    let record = scratch.join("calls");
    let mut nodes = Vec::new();
    for id in cluster.ids() {
        let node = cluster.node(id)?;
        nodes.push(json!({"region": node.region(), "endpoint": node.endpoint()}));
    }
    let accounts: Vec<Value> = accounts
        .iter()
        .map(|it| json!({"id": it.id, "key_id": it.key_id, "secret": it.secret}))
        .collect();
    let world = json!({
        "walk": name,
        "nodes": nodes,
        "admin": {"user": cluster.user(), "password": cluster.password()},
        "accounts": accounts,
        "programs": {"aws-pypi": PYPI.find()?, "aws-debian": debian()?,
            "sdk-javascript": javascript()?},
        "scratch": scratch,
        "record": record,
    });
    let told = scratch.join("world.json");
    std::fs::write(&told, world.to_string()).context("write what a walk is told")?;
    std::fs::write(&record, "").context("make the record of a walk")?;
    let mut command = Command::new(BOTO3.find()?);
    command.arg("-B").arg(SCRIPT).arg(&told);
    // Whatever this machine has set for its own users.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("AWS_") {
            command.env_remove(variable);
        }
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let finished = run(command, DEADLINE).await?.success()?;
    println!("{}", finished.stdout.trim_end());
    calls(&record)
}

fn calls(record: &Path) -> Result<Vec<AwsCall>> {
    let text = std::fs::read_to_string(record).context("read the record of a walk")?;
    text.lines()
        .map(|line| {
            let call: (String, String, String, Option<String>, Option<String>) =
                serde_json::from_str(line).with_context(|| format!("a call: {line}"))?;
            let (service, operation, client, error, message) = call;
            Ok(AwsCall {
                service,
                operation,
                client,
                error,
                message,
            })
        })
        .collect()
}

/// The folder from which its modules are found.
fn javascript() -> Result<PathBuf> {
    let package = JAVASCRIPT.find()?;
    let folder = package.ancestors().nth(4).context("find the modules")?;
    Ok(folder.to_owned())
}

fn debian() -> Result<PathBuf> {
    let path = PathBuf::from(DEBIAN);
    if !path.is_file() {
        bail!("{DEBIAN} is missing: ./tests/run installs it (Debian's package awscli)");
    }
    Ok(path)
}

// === impl Installed ===

impl Installed {
    fn find(&self) -> Result<PathBuf> {
        let path = if let Some(path) = std::env::var_os(self.variable) {
            PathBuf::from(path)
        } else {
            // target/<profile>/deps/<this test>
            let own = std::env::current_exe().context("find the path of this test")?;
            let target = own.ancestors().nth(3).context("find the target folder")?;
            target.join(self.path)
        };
        if !path.is_file() {
            bail!(
                "{} is missing ({}): ./tests/run installs it, or set {}",
                self.what,
                path.display(),
                self.variable
            );
        }
        Ok(path)
    }
}
