//! Two accounts, their users, and the words of policies.

use entrepot_access::hash_password;
use entrepot_metadata::command::{
    AttachPolicy, CreateAccount, CreateEntity, CreateRepository, PutInlinePolicy,
    PutRepositoryText, SetAccountState,
};
use entrepot_metadata::query::{AccountState, EntityKind, TextKind};
use entrepot_metadata::{Command, Metadata};
use entrepot_oci::AccountId;
use entrepot_service::{
    AccessKey, Caller, Identity, NewAccount, Principal, Registry, ServiceError, Target, User,
};
use std::sync::Arc;

use crate::cluster::{Cluster, EAST, Plan, app, group};

/// Every resource.
pub(crate) const ANY: &str = "*";
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

/// A node, and two accounts with a repository of the same name.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    /// Of the other account's root user.
    pub(crate) key: AccessKey,
}

pub(crate) fn first() -> AccountId {
    "123456789012".parse().unwrap()
}

pub(crate) fn other() -> AccountId {
    "210987654321".parse().unwrap()
}

pub(crate) fn user_id(name: &str) -> String {
    format!("AIDA{:X<12}", name.to_uppercase())
}

pub(crate) fn user_of(account: &AccountId, name: &str) -> Caller {
    Caller::of(Principal {
        account: account.clone(),
        identity: Identity::User(User {
            path: "/".to_owned(),
            name: name.to_owned(),
            id: user_id(name),
        }),
    })
}

pub(crate) fn root_of(account: &AccountId) -> Caller {
    Caller::of(Principal::root(account.clone()))
}

pub(crate) fn service(account: &AccountId, name: &str) -> Caller {
    Caller::of(Principal {
        account: account.clone(),
        identity: Identity::Service(name.to_owned()),
    })
}

// === policies ===

pub(crate) fn policy(statements: &[String]) -> String {
    let statements = statements.join(", ");
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

pub(crate) fn allow(action: &str, resource: &str) -> String {
    format!(r#"{{"Effect": "Allow", "Action": "{action}", "Resource": "{resource}"}}"#)
}

pub(crate) fn deny(action: &str, resource: &str) -> String {
    allow(action, resource).replace("Allow", "Deny")
}

/// Of a resource's policy: to these ARNs.
pub(crate) fn to(arns: &str, action: &str) -> String {
    format!(r#"{{"Effect": "Allow", "Principal": {{"AWS": ["{arns}"]}}, "Action": "{action}"}}"#)
}

pub(crate) fn denied_to(arns: &str, action: &str) -> String {
    to(arns, action).replace("Allow", "Deny")
}

// === commands ===

pub(crate) fn inline(account: &AccountId, name: &str, document: &str) -> PutInlinePolicy {
    PutInlinePolicy {
        account: account.to_string(),
        kind: EntityKind::User.into(),
        name: name.to_owned(),
        policy: "own".to_owned(),
        document: document.to_owned(),
    }
}

pub(crate) fn attach(account: &AccountId, kind: EntityKind, name: &str, arn: &str) -> AttachPolicy {
    AttachPolicy {
        account: account.to_string(),
        kind: kind.into(),
        name: name.to_owned(),
        policy_arn: arn.to_owned(),
    }
}

// === impl World ===

impl World {
    pub(crate) async fn new() -> Self {
        let cluster = Plan::new(&[(EAST, 1)]).start().await;
        let hash = hash_password("of root").unwrap();
        let command = CreateAccount::new(&first(), "root", &hash, 1).into();
        let global = entrepot_metadata::GroupId::global();
        let made = cluster.metadata.propose(&global, command).await.unwrap();
        made.into_result().unwrap();
        let new = NewAccount {
            id: other(),
            name: String::new(),
            key: None,
        };
        let root = Caller::of(Principal::root(first()));
        let made = cluster.node(1).registry.create_account(&root, new).await;
        let key = made.unwrap().key;
        let world = Self { cluster, key };
        for account in [first(), other()] {
            world
                .region(CreateRepository::new(&account, &app(), 1))
                .await;
        }
        world
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.cluster.node(1).registry
    }

    pub(crate) fn ask(
        &self,
        who: &Caller,
        action: &str,
        target: Target<'_>,
    ) -> Result<(), ServiceError> {
        self.registry().authorize(who, action, target)
    }

    pub(crate) async fn global(&self, command: impl Into<Command>) {
        let global = entrepot_metadata::GroupId::global();
        let response = self.cluster.metadata.propose(&global, command.into()).await;
        response.unwrap().into_result().unwrap();
    }

    pub(crate) async fn region(&self, command: impl Into<Command>) {
        let metadata = &self.cluster.metadata;
        let response = metadata.propose(&group(EAST), command.into()).await;
        response.unwrap().into_result().unwrap();
    }

    /// Who may nothing.
    pub(crate) async fn user(&self, account: &AccountId, name: &str) -> Caller {
        let id = user_id(name);
        self.global(CreateEntity::user(account, name, &id, 1)).await;
        user_of(account, name)
    }

    /// Who may everything that its account can give.
    pub(crate) async fn admin(&self, account: &AccountId, name: &str) -> Caller {
        let user = self.user(account, name).await;
        let attached = attach(account, EntityKind::User, name, ADMINISTRATOR);
        self.global(attached).await;
        user
    }

    pub(crate) async fn group(&self, account: &AccountId, name: &str) {
        self.global(CreateEntity::group(account, name, "AGPATEAMTEAMTEAM", 1))
            .await;
    }

    /// Empty: none any more.
    pub(crate) async fn repository_policy(&self, account: &AccountId, text: &str) {
        let put = PutRepositoryText::new(account, &app(), TextKind::Policy, text, 1);
        self.region(put).await;
    }

    pub(crate) async fn disable(&self, account: &AccountId) {
        // The first account stays; of a closed one nobody is served.
        let state = SetAccountState::new(account, AccountState::Disabled);
        self.global(state).await;
    }
}
