//! Wrong command lines and configurations: a clear line on stderr, an exit
//! code other than 0, and nothing started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Admin, Cluster, Finished, Ports, binary, run};

use crate::support::{EU, step};

const DEADLINE: Duration = Duration::from_secs(20);
const LINES_MAX: usize = 12;

#[tokio::test]
async fn node_refuses_wrong_flags_and_configurations() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let good = good_config(folder.path())?;
    let at = |text: &str| -> Result<PathBuf> {
        let path = folder.path().join("node.toml");
        fs::write(&path, text)?;
        Ok(path)
    };

    for (arguments, named) in [
        (vec!["run", "--no-such-flag"], "--no-such-flag"),
        (vec!["no-such-command"], "no-such-command"),
        (vec!["run"], "--config"),
        (
            vec!["run", "--config", "/no/such/file.toml"],
            "/no/such/file.toml",
        ),
        (vec!["dev", "--nodes-per-region", "many"], "many"),
        (vec!["dev", "--regions", "Not A Region"], "Not A Region"),
    ] {
        step(&arguments.join(" "), refused(&arguments, named)).await?;
    }

    let no_group = "[storage]\ncopies = 3";
    for (what, text, named) in [
        (
            "an unknown key",
            format!("colour = \"blue\"\n{good}"),
            "colour",
        ),
        (
            "an unknown key in a group",
            good.replace(no_group, &format!("{no_group}\ncopiez = 1")),
            "copiez",
        ),
        (
            "an unknown group",
            format!("{good}\n[telemetry]\non = true\n"),
            "telemetry",
        ),
        (
            "a missing key",
            good.replace("region = \"us-east-1\"\ndata", "data"),
            "region",
        ),
        (
            "a region's name",
            good.replace("us-east-1", "US East"),
            "US East",
        ),
        (
            "an address",
            good.replace("client = \"127.0.0.1:", "client = \"nowhere:"),
            "client",
        ),
        (
            "no copies",
            good.replace("copies = 3", "copies = 0"),
            "copies",
        ),
        (
            "a node that is no peer",
            good.replacen("node = 1", "node = 9", 1),
            "9",
        ),
        ("an account", good.replace("000000000001", "1"), "account"),
        ("no TOML", "node = = 1".to_owned(), "node.toml"),
    ] {
        let path = at(&text)?.display().to_string();
        step(what, refused(&["run", "--config", &path], named)).await?;
    }

    step(
        "a data folder of no cluster",
        no_cluster(folder.path(), &good),
    )
    .await?;
    step("a data folder of another cluster", async {
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        let fingerprint = "00112233445566778899aabbccddeeff";
        let identity = format!(
            "version = 1\nnode = 1\nregion = \"us-east-1\"\ncluster = \"{fingerprint}\"\nnodes = []\n"
        );
        fs::write(data.join("identity"), identity)?;
        // Nothing listens there: a port that was opened first would be the error.
        let nowhere = good.replace("client = \"127.0.0.1:", "client = \"192.0.2.1:");
        let path = at(&nowhere)?.display().to_string();
        refused(&["run", "--config", &path], fingerprint).await?;
        fs::remove_dir_all(&data).context("remove the folder")
    })
    .await?;

    step("a secret that is too short", async {
        fs::write(folder.path().join("secret"), "short")?;
        let path = at(&good)?.display().to_string();
        refused(&["run", "--config", &path], "secret").await
    })
    .await
}

/// Neither is a folder that was never made a node's, nor can a listed one be.
async fn no_cluster(folder: &Path, good: &str) -> Result<()> {
    let path = folder.join("unlisted.toml");
    let listed = ["node = ", "region = ", "cluster_secret_file = "];
    let unlisted = good.split("[[peers]]").next().unwrap_or_default().lines();
    let unlisted = unlisted.filter(|line| !listed.iter().any(|key| line.starts_with(key)));
    fs::write(&path, unlisted.collect::<Vec<_>>().join("\n"))?;
    let path = path.display().to_string();
    refused(&["run", "--config", &path], "entrepot-node init").await?;
    let join = ["join", "--config", &path, "--token", "hunter2"];
    refused(&join, "not a join token").await?;
    fs::write(&path, good)?;
    let init = ["init", "--config", &path, "--region", "us-east-1"];
    refused(&init, "peers").await
}

/// The node must say `named` in a few lines and start nothing.
async fn refused(arguments: &[&str], named: &str) -> Result<()> {
    let mut command = Command::new(binary("ENTREPOT_NODE", "entrepot-node")?);
    command.args(arguments);
    let finished = run(command, DEADLINE).await?.failure()?;
    clear(&finished, named)
}

fn clear(finished: &Finished, named: &str) -> Result<()> {
    let said = finished.stderr.trim();
    ensure!(
        said.contains(named),
        "`{}` does not name {named}: {said}",
        finished.what
    );
    ensure!(
        said.lines().count() <= LINES_MAX
            && !said.contains("panicked")
            && !said.contains("RUST_BACKTRACE"),
        "`{}` is not clear: {said}",
        finished.what
    );
    Ok(())
}

fn good_config(folder: &Path) -> Result<String> {
    let ports = Ports::take(3)?;
    let [client, peer, ops] = ports.numbers() else {
        anyhow::bail!("three ports");
    };
    fs::write(folder.join("secret"), "0123456789abcdef0123456789abcdef")?;
    fs::write(folder.join("password"), "a-password-for-tests")?;
    let folder = folder.display();
    Ok(format!(
        r#"node = 1
region = "us-east-1"
data = "{folder}/data"
cluster_secret_file = "{folder}/secret"

[listen]
client = "127.0.0.1:{client}"
peer = "127.0.0.1:{peer}"
ops = "127.0.0.1:{ops}"

[root]
account = "000000000001"
user = "root"
password_file = "{folder}/password"

[storage]
copies = 3
upload_expiry_s = 3600

[[peers]]
node = 1
region = "us-east-1"
address = "127.0.0.1:{peer}"
"#
    ))
}

#[tokio::test]
async fn cli_fails_in_one_clear_line() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let admin = cluster.admin(1)?;
    for (arguments, named) in [
        (vec!["rule", "delete", "no-such-rule"], "no-such-rule"),
        (vec!["image", "list", "no/such"], "no/such"),
        (vec!["rule", "put", "nowhere", "--to", EU], EU),
        (
            vec!["rule", "put", "itself", "--to", "us-east-1"],
            "source registry",
        ),
    ] {
        step(&arguments.join(" "), one_line(&admin, &arguments, named)).await?;
    }
    for (arguments, named) in [
        (
            vec!["cluster", "status", "--no-such-flag"],
            "--no-such-flag",
        ),
        (vec!["no-such-command"], "no-such-command"),
        (vec!["rule", "put", "x"], "--to"),
        (vec!["image", "list", "Not/Valid"], "Not/Valid"),
    ] {
        let finished = admin.try_run(&arguments).await?.failure()?;
        clear(&finished, named).context(arguments.join(" "))?;
    }
    step("no node answers", async {
        let ports = Ports::take(1)?;
        let nowhere = format!("http://127.0.0.1:{}", ports.numbers()[0]);
        let admin = Admin::new(&nowhere, cluster.user(), cluster.password())?;
        one_line(&admin, &["cluster", "status"], &nowhere).await
    })
    .await?;
    step("an empty registry is no failure", async {
        let repositories = admin.list(&["repository", "list"], "repositories").await?;
        let rules = admin.list(&["rule", "list"], "rules").await?;
        ensure!(
            repositories.is_empty() && rules.is_empty(),
            "{repositories:?} {rules:?}"
        );
        ensure!(admin.tasks(None).await?.is_empty(), "there are tasks");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

async fn one_line(admin: &Admin, arguments: &[&str], named: &str) -> Result<()> {
    let finished = admin.try_run(arguments).await?.failure()?;
    clear(&finished, named)?;
    let said = finished.stderr.trim();
    ensure!(said.lines().count() == 1, "not one line: {said}");
    Ok(())
}
