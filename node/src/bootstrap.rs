//! The cluster's first start: somebody has to be able to log in.
//!
//! The leader proposes the account. Where nobody was told a password, it
//! generates one, and writes it into its data folder before it is in force. The
//! invariant: the file `root-credentials` of a node is either not there, or on
//! its way to be in force, or in force. A leader may lose the race to another
//! one; then the file that it wrote goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use entrepot_access::{
    AccountCredentials, BasicCredentials, Secret, Verifier, generate_password, hash_password,
};
use entrepot_metadata::command::CreateAccount;
use entrepot_metadata::query::{self, Account};
use entrepot_metadata::{GroupId, Metadata, Refused};
use entrepot_proto::environment::{Blocking, Clock};
use tracing::{info, warn};

use crate::config::{Config, RootConfig};
use crate::files;

const RETRY: Duration = Duration::from_millis(200);
/// In the data folder.
const CREDENTIALS_FILE: &str = "root-credentials";

/// Makes the cluster's account.
pub(crate) struct Bootstrap {
    metadata: Arc<dyn Metadata>,
    /// Whether this node leads the global group, as far as it knows.
    leads: Box<dyn Fn() -> bool + Send + Sync>,
    root: RootConfig,
    /// Of the password, where it was made elsewhere.
    hash: Option<String>,
    file: PathBuf,
    clock: Arc<dyn Clock>,
    blocking: Blocking,
}

// === impl Bootstrap ===

impl Bootstrap {
    pub(crate) fn new(
        metadata: Arc<dyn Metadata>,
        leads: impl Fn() -> bool + Send + Sync + 'static,
        config: &Config,
        clock: Arc<dyn Clock>,
        blocking: Blocking,
    ) -> Self {
        Self {
            metadata,
            leads: Box::new(leads),
            root: config.root.clone(),
            hash: None,
            file: config.data.join(CREDENTIALS_FILE),
            clock,
            blocking,
        }
    }

    /// Takes this for the hash of the configured password. For simulations: a
    /// real one costs more than everything else that happens in them.
    pub(crate) fn with_hash(self, hash: Option<String>) -> Self {
        Self { hash, ..self }
    }

    /// Returns once this node's copy knows the cluster's account.
    pub(crate) async fn run(self) {
        loop {
            match self.attempt().await {
                Ok(Some(account)) => {
                    if let Err(error) = self.settle(account).await {
                        let error = format!("{error:#}");
                        warn!(error, "the file of root credentials cannot be checked");
                    }
                    return;
                }
                Ok(None) => {}
                Err(error) => warn!(
                    error = format!("{error:#}"),
                    "the account cannot be made yet"
                ),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The account, if there is one after this.
    async fn attempt(&self) -> anyhow::Result<Option<Account>> {
        if let Some(account) = self.account()? {
            return Ok(Some(account));
        }
        if !(self.leads)() {
            return Ok(None);
        }
        let global = GroupId::global();
        // A leader that has just been elected may not have applied it yet.
        self.metadata.linearize(&global).await?;
        if let Some(account) = self.account()? {
            return Ok(Some(account));
        }
        let hash = match &self.hash {
            Some(hash) => hash.clone(),
            None => self.hashed().await?,
        };
        let RootConfig { account, user, .. } = &self.root;
        let command = CreateAccount::new(account, user, &hash, self.clock.now_ms());
        let response = self.metadata.propose(&global, command.into()).await?;
        match response.into_result() {
            Ok(_) => info!(%account, user, "the cluster's account was made"),
            Err(Refused::AccountExists(id)) => {
                info!(account = id, "another node has made the cluster's account");
            }
            Err(refused) => bail!("the account was refused: {refused}"),
        }
        self.account()
    }

    async fn hashed(&self) -> anyhow::Result<String> {
        let password = match &self.root.password {
            Some(password) => password.clone(),
            None => self.generated()?,
        };
        let hashing = self.blocking.run(move || hash_password(&password));
        Ok(hashing.await??)
    }

    fn account(&self) -> anyhow::Result<Option<Account>> {
        let view = self.metadata.view(&GroupId::global())?;
        Ok(query::first_account(view.as_ref())?)
    }

    /// The password in the file, after it was generated if there was none: a
    /// start that was interrupted must not leave a file that lies.
    fn generated(&self) -> anyhow::Result<String> {
        let password = match self.kept()? {
            Some(kept) if kept.user() == self.root.user => {
                return Ok(kept.password().expose().to_owned());
            }
            // The configuration has changed since.
            Some(kept) => kept.password().expose().to_owned(),
            None => generate_password()?,
        };
        let text = format!(
            "account={}\nuser={}\npassword={password}\n",
            self.root.account, self.root.user
        );
        files::write(&self.file, &text)?;
        warn!(file = %self.file.display(), "the root password was generated and written");
        Ok(password)
    }

    /// What the file says.
    fn kept(&self) -> anyhow::Result<Option<BasicCredentials>> {
        let Some(text) = files::read(&self.file)? else {
            return Ok(None);
        };
        let value = |key| {
            let found = text.lines().find_map(|line| line.strip_prefix(key));
            found.with_context(|| {
                format!(
                    "{} has no line {key}: remove it, to have a password generated",
                    self.file.display()
                )
            })
        };
        let (user, password) = (value("user=")?.to_owned(), value("password=")?.to_owned());
        Ok(Some(BasicCredentials::new(user, Secret::new(password))))
    }

    /// Removes the file if it says what is not in force: another node, which
    /// led before or after this one, has made the account.
    async fn settle(&self, account: Account) -> anyhow::Result<()> {
        let Some(kept) = self.kept()? else {
            return Ok(());
        };
        let checking = self.blocking.run(move || {
            let account = AccountCredentials {
                user: &account.root_user,
                password_hash: &account.password_hash,
            };
            Verifier::new()?.verify(&kept, Some(&account))
        });
        if checking.await?? {
            return Ok(());
        }
        files::remove(&self.file)?;
        warn!(
            file = %self.file.display(),
            "the root password in the file is not in force, another node has made the account: it was removed"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
