//! The cluster's first start: somebody has to be able to log in.
//!
//! Every node that knows what the root credentials shall be proposes the
//! account; the first wins and the others find that it exists. Where nobody
//! was told a password, the leader generates one and writes it into its data
//! folder before it is in force.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use entrepot_access::{generate_password, hash_password};
use entrepot_consensus::Consensus;
use entrepot_metadata::command::CreateAccount;
use entrepot_metadata::query;
use entrepot_metadata::{GroupId, Metadata};
use entrepot_proto::environment::Clock;
use tracing::{info, warn};

use crate::config::RootConfig;

const RETRY: Duration = Duration::from_millis(200);
/// In the data folder.
const CREDENTIALS_FILE: &str = "root-credentials";

/// Returns once this node's copy knows the cluster's account.
pub(crate) async fn ensure_account(
    consensus: Arc<Consensus>,
    root: RootConfig,
    data: &Path,
    clock: Arc<dyn Clock>,
    own: u64,
) {
    loop {
        match attempt(&consensus, &root, data, clock.as_ref(), own).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => warn!(
                error = format!("{error:#}"),
                "the account cannot be made yet"
            ),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn attempt(
    consensus: &Arc<Consensus>,
    root: &RootConfig,
    data: &Path,
    clock: &dyn Clock,
    own: u64,
) -> anyhow::Result<bool> {
    let global = GroupId::global();
    if query::any_account(consensus.view(&global)?.as_ref())?.is_some() {
        return Ok(true);
    }
    let leads = consensus
        .status()
        .iter()
        .any(|group| group.group == global && group.leader == Some(own));
    if !leads {
        return Ok(false);
    }
    // A leader that has just been elected may not have applied it yet.
    consensus.linearize(&global).await?;
    if query::any_account(consensus.view(&global)?.as_ref())?.is_some() {
        return Ok(true);
    }
    let password = match &root.password {
        Some(password) => password.clone(),
        None => generated(&data.join(CREDENTIALS_FILE), root)?,
    };
    let hash = tokio::task::spawn_blocking(move || hash_password(&password)).await??;
    let command = CreateAccount::new(&root.account, &root.user, &hash, clock.now_ms());
    consensus.propose(&global, command.into()).await?;
    info!(account = %root.account, user = root.user, "the cluster's account was made");
    Ok(true)
}

/// The password in the file, after it was generated if there was none: a start
/// that was interrupted must not leave a file that lies.
fn generated(path: &Path, root: &RootConfig) -> anyhow::Result<String> {
    if let Ok(text) = std::fs::read_to_string(path)
        && let Some(password) = text.lines().find_map(|line| line.strip_prefix("password="))
    {
        return Ok(password.to_owned());
    }
    let password = generate_password()?;
    let text = format!(
        "account={}\nuser={}\npassword={password}\n",
        root.account, root.user
    );
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    warn!(file = %path.display(), "the root password was generated and written");
    Ok(password)
}
