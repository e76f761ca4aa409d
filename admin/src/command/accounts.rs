//! `entrepot account`.

use entrepot_oci::AccountId;
use entrepot_proto::admin;

use super::print;
use crate::arguments::{Account, AccountCreate};
use crate::client::Client;
use crate::credentials::secret_access_key;
use crate::failure::Failure;
use crate::report::{AccountsReport, ChangedAccount, CreatedAccount};

pub(super) async fn account(client: &Client, command: Account, json: bool) -> Result<(), Failure> {
    match command {
        Account::Create(options) => create(client, options, json).await,
        Account::List => print(&AccountsReport::from(client.accounts().await?), json),
        Account::Disable { account } => {
            set(client, account, admin::AccountState::Disabled, json).await
        }
        Account::Enable { account } => {
            set(client, account, admin::AccountState::Active, json).await
        }
    }
}

async fn create(client: &Client, options: AccountCreate, json: bool) -> Result<(), Failure> {
    let key = match (options.access_key_id, options.secret_access_key_file) {
        (Some(id), Some(file)) => Some(admin::AccessKey {
            id,
            secret: secret_access_key(&file)?,
        }),
        _ => None,
    };
    let account = options.account.as_str();
    let made = client.create_account(account, &options.name, key).await?;
    print(&CreatedAccount::new(made)?, json)
}

async fn set(
    client: &Client,
    account: AccountId,
    state: admin::AccountState,
    json: bool,
) -> Result<(), Failure> {
    match client.set_account_state(account.as_str(), state).await {
        Ok(changed) => print(&ChangedAccount::from(changed), json),
        Err(failure) => Err(failure.or_missing(|| Failure::AccountUnknown(account))),
    }
}
