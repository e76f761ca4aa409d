//! The service `Accounts`: whose registries there are.

use entrepot_proto::admin::{
    AccessKey, Account, AccountState, CreateAccountReply, CreateAccountRequest,
    ListAccountsRequest, SetAccountStateRequest,
};

use super::{Client, PAGE_ITEMS, pages};
use crate::failure::{Effect, Failure};

impl Client {
    pub(crate) async fn create_account(
        &self,
        id: &str,
        name: &str,
        key: Option<AccessKey>,
    ) -> Result<CreateAccountReply, Failure> {
        let request = CreateAccountRequest {
            id: id.to_owned(),
            name: name.to_owned(),
            key,
        };
        let mut accounts = self.accounts.clone();
        self.timed(Effect::ChangesAccounts, request, async |request| {
            accounts.create_account(request).await
        })
        .await
    }

    pub(crate) async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        pages(async |after| {
            let request = ListAccountsRequest {
                after,
                limit: PAGE_ITEMS,
            };
            let mut accounts = self.accounts.clone();
            let reply = self
                .timed(Effect::Reads, request, async |request| {
                    accounts.list_accounts(request).await
                })
                .await?;
            Ok((reply.accounts, reply.next))
        })
        .await
    }

    pub(crate) async fn set_account_state(
        &self,
        id: &str,
        state: AccountState,
    ) -> Result<Account, Failure> {
        let request = SetAccountStateRequest {
            id: id.to_owned(),
            state: state.into(),
        };
        let mut accounts = self.accounts.clone();
        let reply = self
            .timed(Effect::ChangesAccounts, request, async |request| {
                accounts.set_account_state(request).await
            })
            .await?;
        reply
            .account
            .ok_or(Failure::Nonsense("an answer about no account"))
    }
}
