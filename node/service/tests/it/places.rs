//! The places that a node has for uploads: who gets one when all are taken.

use std::time::Duration;

use entrepot_metadata::command::{AttachPolicy, CreateAccount, CreateEntity};
use entrepot_metadata::query::EntityKind;
use entrepot_metadata::{Command, GroupId, Metadata};
use entrepot_service::{Caller, Identity, Principal, ServiceError, User};

use crate::cluster::{Cluster, EAST, Plan, app, root};
use crate::content::{KIB, body, chunk, content, empty, is_unavailable, sha256};

/// What one principal may have of the places for uploads, and of those that have
/// brought more than a few KiB.
const SHARE: usize = 7_500;
const RECEIVING_SHARE: usize = 1_500;

/// With another user, who may do everything.
async fn one_node() -> Cluster {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let account = root().principal.account;
    let attach = AttachPolicy {
        account: account.to_string(),
        kind: EntityKind::User.into(),
        name: "other".to_owned(),
        policy_arn: "arn:aws:iam::aws:policy/AdministratorAccess".to_owned(),
    };
    let commands: [Command; 3] = [
        CreateAccount::new(&account, "root", "no password", 1).into(),
        CreateEntity::user(&account, "other", "AIDAOTHEROTHER12", 1).into(),
        attach.into(),
    ];
    for command in commands {
        let global = GroupId::global();
        let proposed = cluster.metadata.propose(&global, command);
        proposed.await.unwrap().into_result().unwrap();
    }
    cluster
}

fn other() -> Caller {
    let user = User {
        path: "/".to_owned(),
        name: "other".to_owned(),
        id: "AIDAOTHEROTHER12".to_owned(),
    };
    Caller::of(Principal {
        account: root().principal.account,
        identity: Identity::User(user),
    })
}

async fn open(cluster: &Cluster, who: &Caller) -> Result<String, ServiceError> {
    let registry = &cluster.node(1).registry;
    let opened = registry.open_upload(who, &app(), None).await;
    opened.map(|state| state.session)
}

/// The size of the upload after `bytes` more.
async fn append(
    cluster: &Cluster,
    who: &Caller,
    session: &str,
    bytes: usize,
) -> Result<u64, ServiceError> {
    let registry = &cluster.node(1).registry;
    let chunk = match bytes {
        0 => chunk(None, None, empty()),
        bytes => chunk(None, None, body(&content(1, bytes))),
    };
    let state = registry.append_upload(who, &app(), session, chunk).await;
    state.map(|state| state.size)
}

#[tokio::test(start_paused = true)]
async fn who_opens_uploads_without_end_keeps_nobody_else_out() {
    let cluster = one_node().await;
    let first = open(&cluster, &root()).await.unwrap();
    for _ in 1..SHARE {
        let session = open(&cluster, &root()).await.unwrap();
        append(&cluster, &root(), &session, 1).await.unwrap();
    }
    let refused = open(&cluster, &root()).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    open(&cluster, &other()).await.unwrap();

    // A blob in one request takes none of these places.
    let content = content(2, 9 * KIB);
    let registry = &cluster.node(1).registry;
    let digest = sha256(&content);
    let pushed = registry
        .push_blob(&root(), &app(), digest, None, body(&content))
        .await;
    assert_eq!(pushed.unwrap().digest, digest);

    // A place that is given back is free.
    registry
        .cancel_upload(&root(), &app(), &first)
        .await
        .unwrap();
    open(&cluster, &root()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn small_uploads_that_rest_give_their_places_to_new_ones() {
    let cluster = one_node().await;
    let mut sessions = Vec::new();
    for number in 0..SHARE {
        let session = open(&cluster, &root()).await.unwrap();
        append(&cluster, &root(), &session, 1).await.unwrap();
        sessions.push(session);
        if number == 0 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
    let others = open(&cluster, &other()).await.unwrap();
    tokio::time::advance(Duration::from_secs(10)).await;
    // This one is in use.
    append(&cluster, &root(), &sessions[1], 1).await.unwrap();

    let new = open(&cluster, &root()).await.unwrap();
    let gone = append(&cluster, &root(), &sessions[0], 1).await;
    assert_eq!(gone, Err(ServiceError::UploadUnknown));
    for _ in 0..100 {
        open(&cluster, &root()).await.unwrap();
    }
    assert_eq!(append(&cluster, &root(), &sessions[1], 0).await, Ok(2));
    assert_eq!(append(&cluster, &root(), &new, 0).await, Ok(0));
    // One's own make room, not those of others.
    assert_eq!(append(&cluster, &other(), &others, 0).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn larger_uploads_that_rest_for_long_do_too() {
    let cluster = one_node().await;
    let mut sessions = Vec::new();
    for _ in 0..RECEIVING_SHARE {
        let session = open(&cluster, &root()).await.unwrap();
        append(&cluster, &root(), &session, 7 * KIB).await.unwrap();
        sessions.push(session);
    }
    let new = open(&cluster, &root()).await.unwrap();
    let refused = append(&cluster, &root(), &new, 7 * KIB).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    let others = open(&cluster, &other()).await.unwrap();
    let taken = append(&cluster, &other(), &others, 7 * KIB).await;
    assert_eq!(taken, Ok(7 * KIB as u64));

    tokio::time::advance(Duration::from_mins(10)).await;
    for session in &sessions[1..] {
        append(&cluster, &root(), session, 0).await.unwrap();
    }
    let taken = append(&cluster, &root(), &new, 7 * KIB).await;
    assert_eq!(taken, Ok(7 * KIB as u64));
    let gone = append(&cluster, &root(), &sessions[0], 0).await;
    assert_eq!(gone, Err(ServiceError::UploadUnknown));
}
