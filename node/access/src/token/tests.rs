//! Tokens are taken as they were made, where they were made for, while they last.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{
    AUTHORIZATION_TOKEN_LIFE_MS, Audience, AuthorizationToken, BearerToken, Claims,
    SESSION_LIFE_MAX_MS, SessionToken, TOKEN_CHARS_MAX, TOLERANCE_MS, TokenError,
};
use crate::principal::tests::{session, user};
use crate::trust::ClusterKey;
use crate::{Principal, Secret, account_of_key_id};

pub(super) const NOW: i64 = 1_800_000_000_000;
const ACCOUNT: &str = "111122223333";

pub(super) fn key() -> ClusterKey {
    ClusterKey::from_bytes(&[5; 32]).unwrap()
}

fn other_key() -> ClusterKey {
    ClusterKey::from_bytes(&[6; 32]).unwrap()
}

pub(super) fn claims(principal: Principal) -> Claims {
    Claims {
        principal,
        issued_ms: NOW,
        expires_ms: NOW + 3_600_000,
        key_id: Some("AKIAEXAMPLE".to_owned()),
        session_policy: Some(r#"{"Statement": []}"#.to_owned()),
    }
}

pub(super) fn region() -> entrepot_oci::RegionName {
    "eu-west-1".parse().unwrap()
}

pub(super) fn authorization() -> AuthorizationToken {
    AuthorizationToken::issue(claims(user(ACCOUNT, "/", "ann")), region(), NOW)
}

fn opened(password: &str, now_ms: i64) -> Result<AuthorizationToken, TokenError> {
    let password = Secret::new(password.to_owned());
    AuthorizationToken::open(&key(), &password, &region(), Audience::Private, now_ms)
}

fn principals() -> [Principal; 3] {
    [
        Principal::root(ACCOUNT.parse().unwrap()),
        user(ACCOUNT, "/team/", "ann"),
        session(ACCOUNT, "build", "ci-1"),
    ]
}

#[test]
fn authorization_tokens_say_who_holds_them() {
    for principal in principals() {
        let token = AuthorizationToken::issue(claims(principal), region(), NOW);
        let password = token.seal(&key()).unwrap();
        assert!(password.expose().len() < 1_000);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(password.expose().bytes().all(is_plain));
        assert_eq!(opened(password.expose(), NOW), Ok(token.clone()));
        assert_ne!(password.expose(), token.seal(&key()).unwrap().expose());
    }
}

#[test]
fn authorization_tokens_last_twelve_hours_whatever_they_come_from() {
    let token = authorization();
    assert_eq!(token.claims.expires_ms, NOW + AUTHORIZATION_TOKEN_LIFE_MS);
    let password = token.seal(&key()).unwrap();
    let end = NOW + AUTHORIZATION_TOKEN_LIFE_MS;
    // Clocks may be five minutes apart.
    for now in [NOW - TOLERANCE_MS, NOW, end, end + TOLERANCE_MS] {
        assert!(opened(password.expose(), now).is_ok(), "{now}");
    }
    let expired = opened(password.expose(), end + TOLERANCE_MS + 1).unwrap_err();
    assert_eq!(
        expired.to_string(),
        "Your authorization token has expired. Reauthenticate and try again."
    );
    let early = opened(password.expose(), NOW - TOLERANCE_MS - 1).unwrap_err();
    assert_eq!(early.to_string(), "Your Authorization Token is invalid.");
    let mut long = token;
    long.claims.expires_ms += 1;
    let long = long.seal(&key()).unwrap();
    assert_eq!(opened(long.expose(), NOW), Err(TokenError::Invalid));
}

#[test]
fn tokens_are_of_one_region_cluster_and_kind() {
    let password = authorization().seal(&key()).unwrap();
    let open = |key: &ClusterKey, region: &str| {
        AuthorizationToken::open(
            key,
            &password,
            &region.parse().unwrap(),
            Audience::Private,
            NOW,
        )
    };
    assert!(open(&key(), "eu-west-1").is_ok());
    assert_eq!(open(&key(), "us-east-1"), Err(TokenError::Invalid));
    assert_eq!(open(&other_key(), "eu-west-1"), Err(TokenError::Invalid));
    let temporary = SessionToken {
        claims: claims(session(ACCOUNT, "build", "ci-1")),
    };
    let given = temporary.credentials(&key()).unwrap();
    assert_eq!(opened(given.token.expose(), NOW), Err(TokenError::Invalid));
    let as_session = SessionToken::open(&key(), &password, &given.key_id, NOW);
    assert_eq!(as_session.unwrap_err(), TokenError::Invalid);
    let public = authorization().for_audience(Audience::Public);
    let public = public.seal(&key()).unwrap();
    assert_eq!(opened(public.expose(), NOW), Err(TokenError::Invalid));
    let open_as = |password, audience| {
        AuthorizationToken::open(&key(), password, &region(), audience, NOW).map(drop)
    };
    assert_eq!(open_as(&public, Audience::Public), Ok(()));
    let private = open_as(&password, Audience::Public);
    assert_eq!(private, Err(TokenError::Invalid));
    for (given, asked) in [
        (Audience::Private, Audience::Public),
        (Audience::Public, Audience::Private),
    ] {
        let claims = claims(user(ACCOUNT, "/", "ann"));
        let token = BearerToken::issue(claims, region(), NOW).for_audience(given);
        let token = token.seal(&key()).unwrap();
        let open = |audience| BearerToken::open(&key(), &token, &region(), audience, NOW).map(drop);
        assert_eq!(open(given), Ok(()));
        assert_eq!(open(asked), Err(TokenError::Invalid));
    }
    let sealed = key().seal("secret of the access key x", b"{}").unwrap();
    let text = base64::Engine::encode(&super::URL_SAFE_NO_PAD, sealed);
    assert_eq!(opened(&text, NOW), Err(TokenError::Invalid));
}

#[test]
fn nobody_and_services_get_no_tokens() {
    let nobody = claims(Principal::anonymous(ACCOUNT.parse().unwrap()));
    let token = AuthorizationToken::issue(nobody, region(), NOW);
    assert_eq!(token.seal(&key()).unwrap_err(), TokenError::Invalid);
}

#[test]
fn a_token_has_room_for_a_whole_session_policy() {
    let mut claims = claims(session(ACCOUNT, "build", "ci-1"));
    claims.session_policy = Some("\"".repeat(2_000));
    let temporary = SessionToken { claims };
    let given = temporary.credentials(&key()).unwrap();
    assert!(given.token.expose().len() <= TOKEN_CHARS_MAX);
    let mut claims = temporary.claims;
    claims.session_policy = Some("a".repeat(TOKEN_CHARS_MAX));
    let token = AuthorizationToken::issue(claims, region(), NOW);
    assert_eq!(token.seal(&key()).unwrap_err(), TokenError::TooLong);
    let long = "A".repeat(TOKEN_CHARS_MAX + 1);
    assert_eq!(opened(&long, NOW), Err(TokenError::Invalid));
}

#[test]
fn session_credentials_follow_from_their_token() {
    for principal in principals() {
        let temporary = SessionToken {
            claims: claims(principal),
        };
        let given = temporary.credentials(&key()).unwrap();
        assert!(given.key_id.starts_with("ASIA") && given.key_id.len() == 20);
        assert_eq!(given.secret.expose().len(), 40);
        assert_eq!(account_of_key_id(&given.key_id).unwrap().as_str(), ACCOUNT);
        let (found, secret) = SessionToken::open(&key(), &given.token, &given.key_id, NOW).unwrap();
        assert_eq!(
            (found, secret.expose()),
            (temporary.clone(), given.secret.expose())
        );
        let other = temporary.credentials(&key()).unwrap();
        assert_ne!(other.key_id, given.key_id);
        assert_ne!(other.secret.expose(), given.secret.expose());
        // Another's key with this token.
        let mixed = SessionToken::open(&key(), &given.token, &other.key_id, NOW);
        assert_eq!(mixed.unwrap_err(), TokenError::Invalid);
        let of_another = SessionToken::open(&other_key(), &given.token, &given.key_id, NOW);
        assert_eq!(of_another.unwrap_err(), TokenError::Invalid);
    }
}

#[test]
fn session_credentials_end() {
    let open = |claims: Claims, now_ms| {
        let given = SessionToken { claims }.credentials(&key()).unwrap();
        SessionToken::open(&key(), &given.token, &given.key_id, now_ms).map(drop)
    };
    let good = claims(session(ACCOUNT, "build", "ci-1"));
    let end = good.expires_ms + TOLERANCE_MS;
    assert_eq!(open(good.clone(), end), Ok(()));
    assert_eq!(open(good.clone(), end + 1), Err(TokenError::Expired));
    let expires_ms = NOW + SESSION_LIFE_MAX_MS + 1;
    let long = Claims { expires_ms, ..good };
    assert_eq!(open(long, NOW), Err(TokenError::Invalid));
}

#[test]
fn nothing_shows_a_secret() {
    let temporary = SessionToken {
        claims: claims(session(ACCOUNT, "build", "ci-1")),
    };
    let given = temporary.credentials(&key()).unwrap();
    let shown = format!("{given:?}");
    assert!(!shown.contains(given.secret.expose()) && !shown.contains(given.token.expose()));
}

proptest! {
    #[test]
    fn no_bit_of_a_token_can_be_changed(at in any::<usize>(), bit in 0..8_u8) {
        let password = authorization().seal(&key()).unwrap();
        let mut bytes = password.expose().as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert_eq!(opened(&text, NOW), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn no_bit_within_it_can_be_changed(at in any::<usize>()) {
        let temporary = SessionToken { claims: claims(session(ACCOUNT, "build", "ci-1")) };
        let given = temporary.credentials(&key()).unwrap();
        let engine = super::URL_SAFE_NO_PAD;
        let mut bytes = base64::Engine::decode(&engine, given.token.expose()).unwrap();
        let bit = at % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        let token = Secret::new(base64::Engine::encode(&engine, &bytes));
        let refused = SessionToken::open(&key(), &token, &given.key_id, NOW);
        prop_assert_eq!(refused.unwrap_err(), TokenError::Invalid);
    }

    #[test]
    fn no_part_of_a_token_is_one(start in any::<usize>(), end in any::<usize>()) {
        let password = authorization().seal(&key()).unwrap();
        let text = password.expose();
        let (start, end) = (start % text.len(), end % (text.len() + 1));
        if start < end && end - start < text.len() {
            prop_assert!(opened(&text[start..end], NOW).is_err());
        }
    }
}
