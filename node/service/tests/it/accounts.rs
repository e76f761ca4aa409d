//! The accounts of a cluster: who makes them, who is let in as whom, and what
//! one sees of another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_access::{Principal, hash_password};
use entrepot_metadata::command::{
    CreateAccessKey, CreateAccount, DeleteAccessKey, NewAccessKey, SetAccessKeyState,
};
use entrepot_metadata::query::AccessKeyState;
use entrepot_metadata::{Command, GroupId, Metadata};
use entrepot_oci::AccountId;
use entrepot_service::{AccessKey, AccountState, Caller, NewAccount, Secret, ServiceError, Source};

use crate::cluster::{Cluster, EAST, Plan, root};

const PASSWORD: &str = "correct horse";

fn other() -> AccountId {
    "210987654321".parse().unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn login(cluster: &Cluster, user: &str, password: &str) -> Result<Caller, ServiceError> {
    let header = basic(user, password);
    let registry = &cluster.node(1).registry;
    let caller = registry
        .authenticate(Some(&header), Source::default())
        .await?;
    // By what they proved it is not asked here.
    Ok(Caller::of(caller.principal))
}

async fn propose(cluster: &Cluster, command: impl Into<Command>) {
    let global = GroupId::global();
    let response = cluster.metadata.propose(&global, command.into()).await;
    response.unwrap().into_result().unwrap();
}

/// A cluster with its first account, and another one with a key.
async fn with_other() -> (Cluster, AccessKey) {
    let operator = root();
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let hash = hash_password(PASSWORD).unwrap();
    propose(
        &cluster,
        CreateAccount::new(&operator.principal.account, "root", &hash, 1),
    )
    .await;
    let new = NewAccount {
        id: other(),
        name: "other".to_owned(),
        key: None,
    };
    let made = cluster.node(1).registry.create_account(&operator, new);
    let key = made.await.unwrap().key;
    (cluster, key)
}

fn other_root() -> Caller {
    Caller::of(Principal::root(other()))
}

#[tokio::test]
async fn a_login_names_its_account() {
    let (cluster, key) = with_other().await;
    let (first, secret) = (root().account.to_string(), key.secret.expose());
    for (user, password, who) in [
        ("root", PASSWORD, root()),
        (&first, PASSWORD, root()),
        (&format!("{first}/root"), PASSWORD, root()),
        ("210987654321", secret, other_root()),
        ("210987654321/root", secret, other_root()),
        (&key.id, secret, other_root()),
    ] {
        // The second time from memory, where there is something to remember.
        for _ in 0..2 {
            assert_eq!(
                login(&cluster, user, password).await,
                Ok(who.clone()),
                "{user}"
            );
        }
    }
    for (user, password) in [
        ("root", secret),
        (&first, secret),
        ("210987654321", PASSWORD),
        ("210987654321", ""),
        ("210987654321/", secret),
        ("210987654321/alice", secret),
        ("999999999999", secret),
        (&key.id, PASSWORD),
        ("AKIAUNKNOWN", secret),
        (&format!("{first}/{}", key.id), secret),
    ] {
        let refused = login(&cluster, user, password).await;
        assert_eq!(refused, Err(ServiceError::Unauthorized), "{user}");
    }
}

#[tokio::test]
async fn a_key_lets_in_while_it_is_there_and_active() {
    let (cluster, key) = with_other().await;
    let secret = key.secret.expose();
    let unauthorized = Err(ServiceError::Unauthorized);
    let set = |state| SetAccessKeyState::new(&other(), "", &key.id, state);
    propose(&cluster, set(AccessKeyState::Inactive)).await;
    assert_eq!(login(&cluster, &key.id, secret).await, unauthorized);
    assert_eq!(login(&cluster, "210987654321", secret).await, unauthorized);
    propose(&cluster, set(AccessKeyState::Active)).await;
    assert_eq!(login(&cluster, &key.id, secret).await, Ok(other_root()));
    propose(&cluster, DeleteAccessKey::new(&other(), "", &key.id)).await;
    assert_eq!(login(&cluster, &key.id, secret).await, unauthorized);
}

#[tokio::test]
async fn a_secret_that_was_sealed_for_another_id_is_an_internal_error() {
    let (cluster, key) = with_other().await;
    let torn = NewAccessKey::new("torn", &b"not sealed"[..]);
    propose(&cluster, CreateAccessKey::new(&other(), "", torn, 1)).await;
    let refused = login(&cluster, "torn", key.secret.expose()).await;
    assert!(matches!(refused, Err(ServiceError::Internal { .. })));
}

#[tokio::test]
async fn nobody_of_a_disabled_account_is_let_in() {
    let operator = root();
    let team = other();
    let (cluster, key) = with_other().await;
    let registry = &cluster.node(1).registry;
    let disabled = registry.set_account_state(&operator, &team, AccountState::Disabled);
    assert_eq!(disabled.await.unwrap().state, AccountState::Disabled);
    let refused = login(&cluster, "210987654321", key.secret.expose()).await;
    let told = ServiceError::Denied("account 210987654321 is disabled".to_owned());
    assert_eq!(refused, Err(told));
    // Only whoever has the secret hears of it.
    let guessed = login(&cluster, "210987654321", "guess").await;
    assert_eq!(guessed, Err(ServiceError::Unauthorized));
    let enabled = registry.set_account_state(&operator, &team, AccountState::Active);
    assert_eq!(enabled.await.unwrap().state, AccountState::Active);
    let let_in = login(&cluster, "210987654321", key.secret.expose()).await;
    assert_eq!(let_in, Ok(other_root()));

    let first = registry.set_account_state(
        &operator,
        &operator.principal.account,
        AccountState::Disabled,
    );
    assert!(matches!(first.await, Err(ServiceError::Conflict(_))));
    let nobody = "999999999999".parse().unwrap();
    let unknown = registry.set_account_state(&operator, &nobody, AccountState::Disabled);
    assert!(matches!(unknown.await, Err(ServiceError::NotFound(_))));
}

#[tokio::test]
async fn the_cluster_is_the_first_accounts() {
    let operator = root();
    let (cluster, _) = with_other().await;
    let registry = &cluster.node(1).registry;
    let who = other_root();
    assert_eq!(registry.operates(&operator), Ok(()));
    let denied = |error: ServiceError| matches!(error, ServiceError::Denied(_));
    assert!(denied(registry.operates(&who).unwrap_err()));
    let new = NewAccount {
        id: "333333333333".parse().unwrap(),
        name: String::new(),
        key: None,
    };
    assert!(denied(
        registry.create_account(&who, new).await.unwrap_err()
    ));
    assert!(denied(
        registry.accounts(&who, None, None).await.unwrap_err()
    ));
    let state =
        registry.set_account_state(&who, &operator.principal.account, AccountState::Disabled);
    assert!(denied(state.await.unwrap_err()));
}

#[tokio::test]
async fn accounts_are_listed_in_pages_and_made_once() {
    let operator = root();
    let (cluster, key) = with_other().await;
    let registry = &cluster.node(1).registry;
    let new = |id: &str, key_id: &str, secret: &str| NewAccount {
        id: id.parse().unwrap(),
        name: String::new(),
        key: Some(AccessKey {
            id: key_id.to_owned(),
            secret: Secret::new(secret.to_owned()),
        }),
    };
    let third = registry.create_account(&operator, new("333333333333", "mine", "hush"));
    assert_eq!(third.await.unwrap().key.id, "mine");
    assert!(login(&cluster, "mine", "hush").await.is_ok());
    for (again, is_conflict) in [
        (new("333333333333", "other", "hush"), true),
        (new("444444444444", &key.id, "hush"), true),
        (new("444444444444", "a b", "hush"), false),
        (new("444444444444", "other", ""), false),
        (new("444444444444", "other", "a\nb"), false),
    ] {
        let refused = registry.create_account(&operator, again).await.unwrap_err();
        let conflict = matches!(refused, ServiceError::Conflict(_));
        let invalid = matches!(refused, ServiceError::Invalid(_));
        assert!(if is_conflict { conflict } else { invalid }, "{refused}");
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = registry.accounts(&operator, after.as_ref(), Some(1)).await;
        let page = page.unwrap();
        after = page.accounts.last().map(|account| account.id.clone());
        seen.extend(page.accounts.into_iter().map(|it| (it.id, it.is_first)));
        if !page.more {
            break;
        }
    }
    let third = "333333333333".parse().unwrap();
    assert_eq!(
        seen,
        [
            (root().principal.account, true),
            (other(), false),
            (third, false)
        ]
    );
}
