//! The verifier: right and wrong credentials, the cache, and the work done for
//! a refusal.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::{AccountCredentials, VERIFIED_MAX, Verified, Verifier, WRONG_FOR, WRONG_MAX, Wrong};
use crate::{AccessError, BasicCredentials, Secret, hash_password};

// Hashing is slow; the tests share what they can.
static HASH: LazyLock<String> = LazyLock::new(|| hash_password("right").unwrap());

fn account() -> AccountCredentials<'static> {
    AccountCredentials {
        user: "AWS",
        password_hash: &HASH,
    }
}

fn credentials(user: &str, password: &str) -> BasicCredentials {
    BasicCredentials::new(user.to_owned(), Secret::new(password.to_owned()))
}

#[test]
fn only_the_right_user_with_the_right_password_passes() {
    let verifier = Verifier::new().unwrap();
    for (user, password, expected) in [
        ("AWS", "right", true),
        ("AWS", "wrong", false),
        ("aws", "right", false),
        ("", "", false),
    ] {
        let answer = verifier.verify(&credentials(user, password), Some(&account()));
        assert_eq!(answer, Ok(expected), "{user}:{password}");
    }
}

#[test]
fn no_account_refuses_everyone() {
    let verifier = Verifier::new().unwrap();
    assert_eq!(
        verifier.verify(&credentials("AWS", "right"), None),
        Ok(false)
    );
}

#[test]
fn cache_knows_what_was_confirmed_and_nothing_else() {
    let verifier = Verifier::new().unwrap();
    let right = credentials("AWS", "right");
    assert!(!verifier.check_cached(&right, &account()));
    assert_eq!(verifier.verify(&right, Some(&account())), Ok(true));
    assert!(verifier.check_cached(&right, &account()));
    for (user, password) in [("AWS", "wrong"), ("aws", "right"), ("AWSr", "ight")] {
        let other = credentials(user, password);
        assert!(
            !verifier.check_cached(&other, &account()),
            "{user}:{password}"
        );
    }
}

#[test]
fn refusals_are_not_remembered() {
    let verifier = Verifier::new().unwrap();
    let wrong = credentials("AWS", "wrong");
    assert_eq!(verifier.verify(&wrong, Some(&account())), Ok(false));
    assert!(!verifier.check_cached(&wrong, &account()));
    assert!(verifier.verified.read().unwrap().known.is_empty());
}

#[test]
fn a_changed_record_is_a_miss_at_once() {
    let verifier = Verifier::new().unwrap();
    let right = credentials("AWS", "right");
    assert_eq!(verifier.verify(&right, Some(&account())), Ok(true));
    let new_hash = hash_password("right").unwrap();
    let new_password = AccountCredentials {
        password_hash: &new_hash,
        ..account()
    };
    let new_user = AccountCredentials {
        user: "root",
        ..account()
    };
    assert!(!verifier.check_cached(&right, &new_password));
    assert!(!verifier.check_cached(&right, &new_user));
}

#[test]
fn what_moves_between_user_and_password_changes_the_key() {
    let verifier = Verifier::new().unwrap();
    let key = |user, password| verifier.key(&credentials(user, password), &account());
    assert_ne!(key("AWS", "right"), key("AWSr", "ight"));
    assert_ne!(key("AWS", ""), key("", "AWS"));
}

#[test]
fn two_processes_share_no_cache_key() {
    let (one, other) = (Verifier::new().unwrap(), Verifier::new().unwrap());
    let right = credentials("AWS", "right");
    assert_ne!(one.key(&right, &account()), other.key(&right, &account()));
}

/// An unusable hash makes an error exactly when it is used: every refusal has
/// looked at one.
#[test]
fn every_refusal_goes_through_a_hash() {
    let mut verifier = Verifier::new().unwrap();
    verifier.dummy_hash = "broken".to_owned();
    let broken = AccountCredentials {
        password_hash: "broken",
        ..account()
    };
    let wrong_user = credentials("nobody", "wrong");
    for account in [Some(&broken), None] {
        let error = verifier.verify(&wrong_user, account).unwrap_err();
        assert!(matches!(error, AccessError::StoredHash { .. }), "{error:?}");
    }
}

#[test]
fn dummy_hash_costs_what_a_real_one_does() {
    let parameters = |hash: &str| hash.split('$').take(4).collect::<Vec<_>>().join("$");
    let verifier = Verifier::new().unwrap();
    assert_eq!(parameters(&verifier.dummy_hash), parameters(&HASH));
}

#[test]
fn cache_stays_within_its_bound_and_drops_the_oldest() {
    let mut verified = Verified::default();
    let key = |n: usize| blake3::hash(&n.to_le_bytes());
    for n in 0..VERIFIED_MAX + 10 {
        verified.insert(key(n));
        verified.insert(key(n));
    }
    assert_eq!(verified.known.len(), VERIFIED_MAX);
    assert_eq!(verified.order.len(), VERIFIED_MAX);
    assert!(!verified.known.contains(&key(9)));
    assert!(verified.known.contains(&key(10)));
}

#[test]
fn debug_shows_no_hash() {
    let debug = format!("{:?} {:?}", Verifier::new().unwrap(), account());
    assert!(!debug.contains("argon2"), "{debug}");
}

#[test]
fn what_was_wrong_is_known_for_a_moment_and_for_that_record() {
    let verifier = Verifier::new().unwrap();
    let (wrong, now) = (credentials("AWS", "wrong"), Instant::now());
    assert!(!verifier.is_known_wrong(&wrong, &account(), now));
    verifier.remember_wrong(&wrong, &account(), now);
    let just_in_time = WRONG_FOR.checked_sub(Duration::from_millis(1)).unwrap();
    assert!(verifier.is_known_wrong(&wrong, &account(), now + just_in_time));
    assert!(!verifier.is_known_wrong(&wrong, &account(), now + WRONG_FOR));
    assert!(!verifier.is_known_wrong(&credentials("AWS", "right"), &account(), now));
    let changed = AccountCredentials {
        password_hash: "another",
        ..account()
    };
    assert!(!verifier.is_known_wrong(&wrong, &changed, now));
}

#[test]
fn the_oldest_wrong_credentials_are_forgotten() {
    let mut wrong = Wrong::default();
    let key = |nth: usize| blake3::hash(&nth.to_le_bytes());
    for nth in 0..WRONG_MAX + 10 {
        wrong.insert(key(nth), Instant::now());
        wrong.insert(key(nth), Instant::now());
    }
    assert_eq!(wrong.known.len(), WRONG_MAX);
    assert_eq!(wrong.order.len(), WRONG_MAX);
    assert!(!wrong.known.contains_key(&key(9)) && wrong.known.contains_key(&key(10)));
}
