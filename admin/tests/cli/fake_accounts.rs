//! The fake node's service `Accounts`: a list, and one key for everybody.

use entrepot_proto::admin::accounts_server::Accounts;
use entrepot_proto::admin::{
    AccessKey, Account, AccountState, CreateAccountReply, CreateAccountRequest, ListAccountsReply,
    ListAccountsRequest, SetAccountStateReply, SetAccountStateRequest,
};
use tonic::{Request, Response, Status};

use crate::fake::{Answer, Service, hours_ago_ms};

pub(crate) const KEY_ID: &str = "AKIA5EXAMPLE7EXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

pub(crate) fn sample_accounts() -> Vec<Account> {
    let account = |id: &str, name: &str, state: AccountState, hours| Account {
        id: id.to_owned(),
        name: name.to_owned(),
        state: state.into(),
        root_user: "root".to_owned(),
        created_at_ms: hours_ago_ms(hours),
        first: name.is_empty(),
    };
    vec![
        account("123456789012", "", AccountState::Active, 50 * 24),
        account("210987654321", "team-a", AccountState::Disabled, 3),
    ]
}

#[tonic::async_trait]
impl Accounts for Service {
    async fn create_account(
        &self,
        request: Request<CreateAccountRequest>,
    ) -> Answer<CreateAccountReply> {
        let asked = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        if state.accounts.iter().any(|known| known.id == asked.id) {
            return Err(Status::aborted(format!("account {} exists", asked.id)));
        }
        let account = Account {
            id: asked.id,
            name: asked.name,
            state: AccountState::Active.into(),
            root_user: "root".to_owned(),
            created_at_ms: hours_ago_ms(0),
            first: false,
        };
        state.accounts.push(account.clone());
        let key = match asked.key {
            // Only who has it may know it.
            Some(key) => AccessKey {
                secret: String::new(),
                id: format!("{}={}", key.id, key.secret),
            },
            None => AccessKey {
                id: KEY_ID.to_owned(),
                secret: SECRET.to_owned(),
            },
        };
        Ok(Response::new(CreateAccountReply {
            account: Some(account),
            key: Some(key),
        }))
    }

    async fn list_accounts(
        &self,
        request: Request<ListAccountsRequest>,
    ) -> Answer<ListAccountsReply> {
        self.enter(request).await?;
        let accounts = self.0.lock().unwrap().accounts.clone();
        Ok(Response::new(ListAccountsReply {
            accounts,
            next: String::new(),
        }))
    }

    async fn set_account_state(
        &self,
        request: Request<SetAccountStateRequest>,
    ) -> Answer<SetAccountStateReply> {
        let asked = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        let mut accounts = state.accounts.iter_mut();
        let found = accounts.find(|known| known.id == asked.id);
        let account = found.ok_or_else(|| Status::not_found("account is unknown"))?;
        account.state = asked.state;
        Ok(Response::new(SetAccountStateReply {
            account: Some(account.clone()),
        }))
    }
}
