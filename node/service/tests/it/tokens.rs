//! Logins by tokens and by users' keys: what lets whom in, for how long, and what
//! of it ends with what it came from.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_access::token::{AuthorizationToken, Claims};
use entrepot_access::trust::ClusterKey;
use entrepot_metadata::command::{
    CreateAccessKey, DeleteAccessKey, DeleteEntity, DetachPolicy, NewAccessKey, SetAccessKeyState,
    UpdateEntity,
};
use entrepot_metadata::query::{AccessKeyState, EntityKind};
use entrepot_oci::RegionName;
use entrepot_service::{
    AccessKey, AccountState, Caller, Origin, Principal, Proof, Registry, Secret, ServiceError,
    Source,
};

use crate::authorize::world::{World, first, other, policy, root_of, to};
use crate::cluster::{app, clock, region};

const SECRET: &str = "of ann, and of nobody else";
const INVALID: Result<Caller, ServiceError> = Err(ServiceError::TokenInvalid);
const HOUR_MS: i64 = 60 * 60 * 1000;

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The cluster's own, which nobody else has.
fn cluster_key() -> ClusterKey {
    ClusterKey::from_secret("5".repeat(64).as_bytes())
}

async fn login(registry: &Registry, header: &str) -> Result<Caller, ServiceError> {
    registry.authenticate(Some(header), Source::default()).await
}

/// Who logs in with that token; twice, the second time from memory.
async fn with_token(registry: &Registry, token: &Secret) -> Result<Caller, ServiceError> {
    let header = basic("AWS", token.expose());
    let first = login(registry, &header).await;
    assert_eq!(login(registry, &header).await, first);
    first
}

/// Ann of the first account, who may get tokens, and her key.
async fn with_ann() -> (World, Caller) {
    let world = World::new().await;
    let ann = world.admin(&first(), "ann").await;
    let key = AccessKey {
        id: "AKIAANN".to_owned(),
        secret: Secret::new(SECRET.to_owned()),
    };
    let sealed = NewAccessKey::new(&key.id, key.seal(&cluster_key()).unwrap());
    world
        .global(CreateAccessKey::new(&first(), "ann", sealed, 1))
        .await;
    (world, ann.with_key("AKIAANN"))
}

#[tokio::test]
async fn a_users_key_lets_its_user_in() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    assert_eq!(login(registry, &basic("AKIAANN", SECRET)).await, Ok(ann));
    for (user, password) in [("AKIAANN", "of bob"), ("ann", SECRET), ("AKIAANN", "")] {
        let refused = login(registry, &basic(user, password)).await;
        assert_eq!(refused, Err(ServiceError::Unauthorized), "{user}");
    }
    let inactive = SetAccessKeyState::new(&first(), "ann", "AKIAANN", AccessKeyState::Inactive);
    world.global(inactive).await;
    let refused = login(registry, &basic("AKIAANN", SECRET)).await;
    assert_eq!(refused, Err(ServiceError::Unauthorized));
}

#[tokio::test]
async fn a_token_is_its_holder_for_twelve_hours() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let (token, expires_ms) = registry.authorization_token(&ann).unwrap();
    let left = expires_ms - clock().now_ms();
    assert!(left > 11 * HOUR_MS && left <= 12 * HOUR_MS, "{left}");
    assert!(!token.expose().contains(':'));
    let who = with_token(registry, &token).await.unwrap();
    assert_eq!(
        (who.principal, who.account),
        (ann.principal, first().into())
    );
    assert_eq!(who.proof.key_id.as_deref(), Some("AKIAANN"));
    // As no other user.
    for user in ["aws", "root", "", "AKIAANN"] {
        let refused = login(registry, &basic(user, token.expose())).await;
        assert_eq!(refused, Err(ServiceError::Unauthorized), "{user}");
    }
}

#[tokio::test]
async fn only_whom_a_policy_allows_it_gets_a_token() {
    let world = World::new().await;
    let registry = world.registry();
    let nobody = Caller::of(Principal::anonymous(first()));
    let ann = world.user(&first(), "ann").await;
    // What the repository says does not count, nor whose registry is meant.
    world
        .repository_policy(&first(), &policy(&[to("*", "ecr:*")]))
        .await;
    let eve = world.user(&other(), "eve").await.meaning(first());
    for who in [&nobody, &ann, &eve] {
        assert!(registry.authorization_token(who).is_err(), "{who:?}");
    }
    let boss = world.admin(&other(), "boss").await.meaning(first());
    let (token, _) = registry.authorization_token(&boss).unwrap();
    let who = with_token(registry, &token).await.unwrap();
    assert_eq!(
        who.account,
        other().into(),
        "of its own account, whatever was meant"
    );
}

#[tokio::test]
async fn a_token_of_a_session_is_limited_and_ends_like_it() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let ends_ms = clock().now_ms() + HOUR_MS;
    let limit = policy(&[super::authorize::world::allow("ecr:Get*", "*")]);
    let session = Caller {
        proof: Proof {
            session_policy: Some(limit.as_str().into()),
            expires_ms: Some(ends_ms),
            ..ann.proof.clone()
        },
        ..ann
    };
    let (token, expires_ms) = registry.authorization_token(&session).unwrap();
    assert_eq!(expires_ms, ends_ms);
    let who = with_token(registry, &token).await.unwrap();
    assert_eq!(who.proof.session_policy.as_deref(), Some(limit.as_str()));
    let denied = registry.list_tags(&who, &app(), None, 1).await;
    let Err(ServiceError::Denied(text)) = denied else {
        panic!("{denied:?}")
    };
    assert!(text.contains("no session policy allows"), "{text}");
}

#[tokio::test]
async fn what_is_taken_away_takes_its_tokens_along() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let (token, _) = registry.authorization_token(&ann).unwrap();
    let state = |state| SetAccessKeyState::new(&first(), "ann", "AKIAANN", state);
    assert!(with_token(registry, &token).await.is_ok());
    world.global(state(AccessKeyState::Inactive)).await;
    assert_eq!(with_token(registry, &token).await, INVALID);
    world.global(state(AccessKeyState::Active)).await;
    assert!(with_token(registry, &token).await.is_ok());
    world
        .global(DeleteAccessKey::new(&first(), "ann", "AKIAANN"))
        .await;
    assert_eq!(with_token(registry, &token).await, INVALID);

    // Without a key, of a password's holder, say.
    let keyless = Caller::of(ann.principal.clone());
    let (token, _) = registry.authorization_token(&keyless).unwrap();
    assert!(with_token(registry, &token).await.is_ok());
    let detach = DetachPolicy {
        account: first().to_string(),
        kind: EntityKind::User.into(),
        name: "ann".to_owned(),
        policy_arn: "arn:aws:iam::aws:policy/AdministratorAccess".to_owned(),
    };
    world.global(detach).await;
    let who = with_token(registry, &token).await.unwrap();
    assert!(registry.list_tags(&who, &app(), None, 1).await.is_err());
    let delete = DeleteEntity {
        account: first().to_string(),
        kind: EntityKind::User.into(),
        name: "ann".to_owned(),
    };
    world.global(delete).await;
    assert_eq!(with_token(registry, &token).await, INVALID);
}

#[tokio::test]
async fn a_disabled_account_takes_its_tokens_along_and_others_stay() {
    let world = World::new().await;
    let registry = world.registry();
    let root = root_of(&other()).with_key(&world.key.id);
    let (token, _) = registry.authorization_token(&root).unwrap();
    let operator = root_of(&first());
    let (own, _) = registry.authorization_token(&operator).unwrap();
    for (state, let_in) in [
        (AccountState::Active, true),
        (AccountState::Disabled, false),
        (AccountState::Active, true),
    ] {
        let account = other();
        let changed = registry.set_account_state(&operator, &account, state).await;
        assert!(changed.is_ok());
        assert_eq!(with_token(registry, &token).await.is_ok(), let_in);
        assert!(with_token(registry, &own).await.is_ok());
    }
}

#[tokio::test]
async fn tokens_of_other_times_regions_and_clusters_are_refused() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let now_ms = clock().now_ms();
    let sealed = |at_ms: i64, place: RegionName, key: &ClusterKey| {
        let claims = Claims {
            principal: ann.principal.clone(),
            issued_ms: 0,
            expires_ms: 0,
            key_id: None,
            session_policy: None,
        };
        AuthorizationToken::issue(claims, place, at_ms)
            .seal(key)
            .unwrap()
    };
    let (here, key) = (region("us-east-1"), cluster_key());
    let good = sealed(now_ms - 11 * HOUR_MS, here.clone(), &key);
    assert!(with_token(registry, &good).await.is_ok());
    let old = sealed(now_ms - 13 * HOUR_MS, here.clone(), &key);
    let refused = with_token(registry, &old).await.unwrap_err();
    assert_eq!(refused, ServiceError::TokenExpired);
    assert_eq!(
        refused.to_string(),
        "Your authorization token has expired. Reauthenticate and try again."
    );
    let elsewhere = sealed(now_ms, region("eu-west-1"), &key);
    assert_eq!(with_token(registry, &elsewhere).await, INVALID);
    let early = sealed(now_ms + HOUR_MS, here.clone(), &key);
    assert_eq!(with_token(registry, &early).await, INVALID);
    let foreign = ClusterKey::from_secret("6".repeat(64).as_bytes());
    assert_eq!(
        with_token(registry, &sealed(now_ms, here, &foreign)).await,
        INVALID
    );
}

#[tokio::test]
async fn no_bit_of_a_token_may_differ() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let (token, _) = registry.authorization_token(&ann).unwrap();
    let right = token.expose().as_bytes();
    let mut refused = 0;
    for at in 0..right.len() {
        let mut wrong = right.to_vec();
        wrong[at] ^= 1 << (at % 7);
        let Ok(wrong) = String::from_utf8(wrong) else {
            continue;
        };
        // No character that would end the user's name or the header.
        if wrong.contains(char::is_control) {
            continue;
        }
        assert_eq!(
            login(registry, &basic("AWS", &wrong)).await,
            INVALID,
            "{at}"
        );
        refused += 1;
    }
    assert!(refused > right.len() / 2);
    for wrong in [
        "",
        "x",
        &token.expose()[1..],
        &format!("{}A", token.expose()),
    ] {
        assert_eq!(login(registry, &basic("AWS", wrong)).await, INVALID);
    }
}

#[tokio::test]
async fn a_bearer_token_is_its_holder_or_nobody_where_everyone_may_pull() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let bearer =
        async |token: &Secret| login(registry, &format!("Bearer {}", token.expose())).await;
    let given = registry.bearer_token(&ann, &[]).unwrap();
    assert!(given.expires_ms - given.issued_ms <= HOUR_MS);
    assert_eq!(bearer(&given.token).await.unwrap().principal, ann.principal);
    // Of one kind each.
    assert_eq!(with_token(registry, &given.token).await, INVALID);
    let (password, _) = registry.authorization_token(&ann).unwrap();
    let unauthorized = Err(ServiceError::Unauthorized);
    assert_eq!(bearer(&password).await, unauthorized);
    // It ends with what it came from, too.
    let delete = DeleteAccessKey::new(&first(), "ann", "AKIAANN");
    world.global(delete).await;
    assert_eq!(bearer(&given.token).await, unauthorized);

    let nobody = Caller::of(Principal::anonymous(first()));
    for repositories in [&[][..], &[app()]] {
        let refused = registry.bearer_token(&nobody, repositories);
        assert_eq!(refused.unwrap_err(), ServiceError::Unauthorized);
    }
    let pull = policy(&[to("*", "ecr:BatchGetImage")]);
    world.repository_policy(&first(), &pull).await;
    let given = registry.bearer_token(&nobody, &[app()]).unwrap();
    let who = bearer(&given.token).await.unwrap();
    assert_eq!(who.principal, nobody.principal);
    assert!(matches!(
        registry
            .get_manifest(&who, &app(), &"v1".parse().unwrap())
            .await,
        Err(ServiceError::ManifestUnknown(_))
    ));
    let push = registry.open_upload(&who, &app(), None).await;
    assert_eq!(push.unwrap_err(), ServiceError::Unauthorized);
    let mixed = registry.bearer_token(&nobody, &[app(), "other".parse().unwrap()]);
    assert_eq!(mixed.unwrap_err(), ServiceError::Unauthorized);
}

#[tokio::test]
async fn a_request_means_the_registry_that_its_host_names() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let origin = || Arc::new(Origin::default());
    let header = basic("AKIAANN", SECRET);
    for (named, meant) in [(None, first()), (Some(other()), other())] {
        let caller = registry
            .caller(Some(&header), origin(), named)
            .await
            .unwrap();
        assert_eq!(
            (caller.principal, caller.account),
            (ann.principal.clone(), meant.into())
        );
    }
    for header in [None, Some("Basic Og==")] {
        for (named, meant) in [(None, first()), (Some(other()), other())] {
            let caller = registry.caller(header, origin(), named).await.unwrap();
            assert_eq!(caller, Caller::of(Principal::anonymous(meant)));
        }
    }
}

#[tokio::test]
async fn wrong_signatures_slow_down_their_source_and_nobody_else() {
    let (world, _) = with_ann().await;
    let registry = world.registry();
    let from = |last: u8| Source::address([192, 0, 2, last].into());
    let home = from(250);
    registry.has_proved(home, "AKIAANN");
    // The id of a key is no secret: who guesses at it keeps nobody out.
    for nth in 0..200 {
        assert_eq!(registry.may_try(from(nth), "AKIAANN"), Ok(()), "{nth}");
        registry.has_failed(from(nth), "AKIAANN", "wrong signature");
    }
    assert_eq!(registry.may_try(from(201), "AKIAANN"), Ok(()));
    let right = basic("AKIAANN", SECRET);
    assert!(registry.authenticate(Some(&right), from(201)).await.is_ok());
    for _ in 0..20 {
        registry.has_failed(from(202), "AKIAANN", "wrong signature");
        registry.has_failed(home, "AKIABOB", "wrong signature");
    }
    let refused = Err(ServiceError::LoginsTooMany);
    for key_id in ["AKIAANN", "AKIABOB"] {
        assert_eq!(registry.may_try(from(202), key_id), refused, "{key_id}");
    }
    // Who has signed from there before notices nothing.
    assert_eq!(registry.may_try(home, "AKIABOB"), refused);
    assert_eq!(registry.may_try(home, "AKIAANN"), Ok(()));
}

#[tokio::test]
async fn who_has_moved_to_another_path_has_no_tokens_any_more() {
    let (world, ann) = with_ann().await;
    let registry = world.registry();
    let (token, _) = registry.authorization_token(&ann).unwrap();
    assert!(with_token(registry, &token).await.is_ok());
    let moved = UpdateEntity {
        account: first().to_string(),
        kind: EntityKind::User.into(),
        name: "ann".to_owned(),
        new_name: None,
        new_path: Some("/left/".to_owned()),
    };
    world.global(moved).await;
    // Policies that name her by the old path are not to let the token in.
    assert_eq!(with_token(registry, &token).await, INVALID);
    let by_key = login(registry, &basic("AKIAANN", SECRET)).await.unwrap();
    assert_eq!(
        by_key.principal.arn(),
        "arn:aws:iam::123456789012:user/left/ann"
    );
    let (token, _) = registry.authorization_token(&by_key).unwrap();
    let by_token = with_token(registry, &token).await.unwrap();
    assert_eq!(by_token.principal, by_key.principal);
}
