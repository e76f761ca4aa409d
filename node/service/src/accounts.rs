//! The accounts of the cluster, as its operators make and close them.
//!
//! The cluster is the first account's: whoever belongs to it may ask for what
//! concerns the cluster, and nobody else may.

use entrepot_access::{AccessKey, SECRET_ACCESS_KEY_BYTES_MAX};
use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{CreateAccount, NewAccessKey, SetAccountState};
use entrepot_metadata::query::{self, Account, AccountState};
use entrepot_oci::AccountId;

use crate::admin::page;
use crate::{Caller, Registry, ServiceError, Target};

/// Of every account but the first, which has what its operators chose.
const ROOT_USER: &str = "root";

/// An account that is to be made.
#[derive(Debug)]
pub struct NewAccount {
    pub id: AccountId,
    /// For people; may be empty.
    pub name: String,
    /// The root user's first access key; none: one is made.
    pub key: Option<AccessKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountInfo {
    pub id: AccountId,
    pub name: String,
    pub state: AccountState,
    pub root_user: String,
    pub created_at_ms: i64,
    /// It is the operators'.
    pub is_first: bool,
}

#[derive(Debug)]
pub struct CreatedAccount {
    pub account: AccountInfo,
    /// Told once, and kept nowhere in the clear.
    pub key: AccessKey,
}

#[derive(Debug, Clone)]
pub struct AccountPage {
    pub accounts: Vec<AccountInfo>,
    pub more: bool,
}

impl Registry {
    /// That the caller may change what concerns the whole cluster: whom a policy
    /// of the first account allows `entrepot:OperateCluster`.
    ///
    /// # Errors
    /// `Denied` for everybody else.
    pub fn operates(&self, who: &Caller) -> Result<(), ServiceError> {
        self.of_the_cluster(who, "entrepot:OperateCluster")
    }

    /// The same for what only looks: `entrepot:DescribeCluster`.
    ///
    /// # Errors
    /// `Denied` for everybody else.
    pub fn observes(&self, who: &Caller) -> Result<(), ServiceError> {
        self.of_the_cluster(who, "entrepot:DescribeCluster")
    }

    /// Whether [`operates`](Self::operates) would let them, and nobody is told.
    pub(crate) fn may_operate(&self, who: &Caller) -> Result<bool, ServiceError> {
        self.may_in_the_cluster(who, "entrepot:OperateCluster")
    }

    /// The same of [`observes`](Self::observes).
    pub(crate) fn may_observe(&self, who: &Caller) -> Result<bool, ServiceError> {
        self.may_in_the_cluster(who, "entrepot:DescribeCluster")
    }

    /// # Errors
    /// `NotFound`: there is no such account.
    pub(crate) fn existing_account(&self, id: &AccountId) -> Result<(), ServiceError> {
        self.account_info(id).map(drop)
    }

    fn may_in_the_cluster(&self, who: &Caller, action: &str) -> Result<bool, ServiceError> {
        let view = self.metadata.view(&self.global)?;
        match query::first_account(view.as_ref())? {
            Some(first) if who.principal.belongs_to(&first.id) => {
                self.may(who, action, Target::Any)
            }
            _ => Ok(false),
        }
    }

    fn of_the_cluster(&self, who: &Caller, action: &str) -> Result<(), ServiceError> {
        let view = self.metadata.view(&self.global)?;
        match query::first_account(view.as_ref())? {
            Some(first) if who.principal.belongs_to(&first.id) => {
                self.authorize(who, action, Target::Any)
            }
            _ => Err(ServiceError::Denied(format!(
                "{} may not ask for what concerns the whole cluster: the cluster is the first \
                 account's",
                who.principal
            ))),
        }
    }

    /// Makes an account.
    ///
    /// # Errors
    /// `Conflict` when there is one of that number or a key of that id.
    pub async fn create_account(
        &self,
        who: &Caller,
        new: NewAccount,
    ) -> Result<CreatedAccount, ServiceError> {
        self.operates(who)?;
        let key = match new.key {
            Some(key) => imported(key)?,
            None => AccessKey::generate(&new.id).map_err(|error| ServiceError::internal(&error))?,
        };
        let sealed = key
            .seal(&self.sealing)
            .map_err(|error| ServiceError::internal(&error))?;
        let sealed = NewAccessKey::new(&key.id, sealed);
        let at_ms = self.clock.now_ms();
        let command = CreateAccount::additional(&new.id, &new.name, ROOT_USER, sealed, at_ms);
        self.propose_global(command).await?;
        Ok(CreatedAccount {
            account: self.account_info(&new.id)?,
            key,
        })
    }

    /// A page of the accounts by their numbers.
    pub async fn accounts(
        &self,
        who: &Caller,
        after: Option<&AccountId>,
        limit: Option<usize>,
    ) -> Result<AccountPage, ServiceError> {
        self.observes(who)?;
        self.metadata.linearize(&self.global).await?;
        let view = self.metadata.view(&self.global)?;
        let first = first(view.as_ref())?;
        let limit = page(limit);
        let mut accounts = query::accounts(view.as_ref(), after, limit + 1)?;
        let more = accounts.len() > limit;
        accounts.truncate(limit);
        Ok(AccountPage {
            accounts: accounts
                .into_iter()
                .map(|account| info(account, &first))
                .collect(),
            more,
        })
    }

    /// Lets nobody of an account in any more, or everybody again.
    ///
    /// # Errors
    /// `NotFound`, and `Conflict` for the first account, which stays active.
    pub async fn set_account_state(
        &self,
        who: &Caller,
        id: &AccountId,
        state: AccountState,
    ) -> Result<AccountInfo, ServiceError> {
        self.operates(who)?;
        self.propose_global(SetAccountState::new(id, state)).await?;
        self.account_info(id)
    }

    /// What this node's copy says, which has every command that it proposed.
    fn account_info(&self, id: &AccountId) -> Result<AccountInfo, ServiceError> {
        let view = self.metadata.view(&self.global)?;
        let account = query::account(view.as_ref(), id)?
            .ok_or_else(|| ServiceError::NotFound(format!("account {id} does not exist")))?;
        Ok(info(account, &first(view.as_ref())?))
    }
}

fn imported(key: AccessKey) -> Result<AccessKey, ServiceError> {
    let secret = key.secret.expose();
    if !(1..=SECRET_ACCESS_KEY_BYTES_MAX).contains(&secret.len())
        || secret.contains(char::is_control)
    {
        return Err(ServiceError::Invalid(format!(
            "a secret access key has 1 to {SECRET_ACCESS_KEY_BYTES_MAX} bytes and no control \
             characters"
        )));
    }
    Ok(key)
}

fn first(view: &dyn KeyValue) -> Result<AccountId, ServiceError> {
    let first = query::first_account(view)?;
    first
        .map(|first| first.id)
        .ok_or_else(|| ServiceError::unavailable("this node has not learnt the accounts yet"))
}

fn info(account: Account, first: &AccountId) -> AccountInfo {
    AccountInfo {
        is_first: account.id == *first,
        id: account.id,
        name: account.name,
        state: account.state,
        root_user: account.root_user,
        created_at_ms: account.created_at_ms,
    }
}
