//! `entrepot.admin.v1.Accounts`: the accounts of the cluster.

use std::sync::Arc;

use entrepot_oci::AccountId;
use entrepot_proto::admin;
use entrepot_proto::admin::accounts_server::Accounts;
use entrepot_service::{AccessKey, AccountInfo, AccountState, NewAccount, Registry, Secret};
use tonic::{Request, Response, Status};

use crate::caller;
use crate::request::{given, limit};
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct AccountsServer {
    registry: Arc<Registry>,
}

// === impl AccountsServer ===

impl AccountsServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Accounts for AccountsServer {
    async fn create_account(
        &self,
        request: Request<admin::CreateAccountRequest>,
    ) -> Result<Response<admin::CreateAccountReply>, Status> {
        let who = caller::of(&request)?;
        let asked = request.into_inner();
        let is_given = asked.key.is_some();
        let new = NewAccount {
            id: parse(&asked.id)?,
            name: asked.name,
            key: asked.key.map(|key| AccessKey {
                id: key.id,
                secret: Secret::new(key.secret),
            }),
        };
        let made = self.registry.create_account(&who, new).await;
        let made = made.map_err(|error| status(&error))?;
        let secret = if is_given {
            String::new()
        } else {
            made.key.secret.expose().to_owned()
        };
        Ok(Response::new(admin::CreateAccountReply {
            account: Some(account(made.account)),
            key: Some(admin::AccessKey {
                id: made.key.id,
                secret,
            }),
        }))
    }

    async fn list_accounts(
        &self,
        request: Request<admin::ListAccountsRequest>,
    ) -> Result<Response<admin::ListAccountsReply>, Status> {
        let who = caller::of(&request)?;
        let asked = request.into_inner();
        let after = given(&asked.after).map(parse).transpose()?;
        let page = self
            .registry
            .accounts(&who, after.as_ref(), limit(asked.limit))
            .await
            .map_err(|error| status(&error))?;
        let last = page.accounts.last().filter(|_| page.more);
        let next = last.map_or_else(String::new, |account| account.id.to_string());
        Ok(Response::new(admin::ListAccountsReply {
            accounts: page.accounts.into_iter().map(account).collect(),
            next,
        }))
    }

    async fn set_account_state(
        &self,
        request: Request<admin::SetAccountStateRequest>,
    ) -> Result<Response<admin::SetAccountStateReply>, Status> {
        let who = caller::of(&request)?;
        let asked = request.into_inner();
        let state = match asked.state() {
            admin::AccountState::Active => AccountState::Active,
            admin::AccountState::Disabled => AccountState::Disabled,
            admin::AccountState::Unspecified => {
                return Err(Status::invalid_argument("the request has no state"));
            }
        };
        let id = parse(&asked.id)?;
        let changed = self.registry.set_account_state(&who, &id, state).await;
        Ok(Response::new(admin::SetAccountStateReply {
            account: Some(account(changed.map_err(|error| status(&error))?)),
        }))
    }
}

fn account(info: AccountInfo) -> admin::Account {
    let state = match info.state {
        AccountState::Active => admin::AccountState::Active,
        AccountState::Disabled => admin::AccountState::Disabled,
    };
    admin::Account {
        id: info.id.to_string(),
        name: info.name,
        state: state.into(),
        root_user: info.root_user,
        created_at_ms: info.created_at_ms,
        first: info.is_first,
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn parse(text: &str) -> Result<AccountId, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("{error}")))
}
