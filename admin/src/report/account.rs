//! `entrepot account create`, `list`, `disable` and `enable`

use entrepot_proto::admin;
use serde::Serialize;

use crate::failure::Failure;
use crate::human;
use crate::report::Report;

/// The one place where a secret access key is seen.
#[derive(Serialize)]
pub(crate) struct CreatedAccount {
    account: String,
    name: String,
    root_user: String,
    access_key_id: String,
    /// None: whoever asked knows it.
    secret_access_key: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AccountsReport {
    accounts: Vec<Account>,
}

#[derive(Debug, Serialize)]
struct Account {
    id: String,
    name: String,
    state: State,
    first: bool,
    root_user: String,
    created_at_ms: i64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChangedAccount {
    account: String,
    state: State,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Active,
    Disabled,
    Unknown,
}

// === impl CreatedAccount ===

impl CreatedAccount {
    /// # Errors
    /// When the answer lacks the account or its key, which no node leaves out.
    pub(crate) fn new(made: admin::CreateAccountReply) -> Result<Self, Failure> {
        let (Some(account), Some(key)) = (made.account, made.key) else {
            return Err(Failure::Nonsense("an account without its access key"));
        };
        Ok(Self {
            account: account.id,
            name: account.name,
            root_user: account.root_user,
            access_key_id: key.id,
            secret_access_key: Some(key.secret).filter(|secret| !secret.is_empty()),
        })
    }
}

impl Report for CreatedAccount {
    fn people(&self, _now_ms: i64) -> String {
        let created = format!("Created account {}.", human::plain(&self.account));
        let id = human::plain(&self.access_key_id);
        match &self.secret_access_key {
            Some(secret) => format!(
                "{created}\n\nAccess key ID:      {id}\nSecret access key:  {}\n\nThe secret is \
                 not shown again.",
                human::plain(secret)
            ),
            None => format!("{created} Its root access key is {id}."),
        }
    }
}

// === impl AccountsReport, ChangedAccount ===

impl From<Vec<admin::Account>> for AccountsReport {
    fn from(accounts: Vec<admin::Account>) -> Self {
        let accounts = accounts
            .into_iter()
            .map(|account| Account {
                state: State::from(account.state()),
                id: account.id,
                name: account.name,
                first: account.first,
                root_user: account.root_user,
                created_at_ms: account.created_at_ms,
            })
            .collect();
        Self { accounts }
    }
}

impl Report for AccountsReport {
    fn people(&self, now_ms: i64) -> String {
        human::table(
            ["ACCOUNT", "NAME", "STATE", "ROOT USER", "AGE"],
            self.accounts.iter().map(|account| {
                [
                    account.id.clone(),
                    account.name.clone(),
                    account.state.name().to_owned(),
                    account.root_user.clone(),
                    human::between(account.created_at_ms, now_ms),
                ]
            }),
        )
    }
}

impl From<admin::Account> for ChangedAccount {
    fn from(account: admin::Account) -> Self {
        Self {
            state: State::from(account.state()),
            account: account.id,
        }
    }
}

impl Report for ChangedAccount {
    fn people(&self, _now_ms: i64) -> String {
        format!(
            "Account {} is {}.",
            human::plain(&self.account),
            self.state.name()
        )
    }
}

// === impl State ===

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Unknown => "unknown",
        }
    }
}

impl From<admin::AccountState> for State {
    fn from(state: admin::AccountState) -> Self {
        match state {
            admin::AccountState::Active => Self::Active,
            admin::AccountState::Disabled => Self::Disabled,
            admin::AccountState::Unspecified => Self::Unknown,
        }
    }
}
