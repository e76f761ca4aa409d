//! Hostile bytes: passwords that say to be tokens, and session tokens.

use entrepot_fuzz::{Verdict, target, uncounted};

use super::tests::{NOW, authorization, claims, key, region};
use super::{Audience, AuthorizationToken, SessionToken, TOKEN_CHARS_MAX};
use crate::Secret;
use crate::principal::tests::session;

#[test]
fn authorization_token() {
    let good = authorization().seal(&key()).unwrap();
    target!("authorization-token")
        .seed("good-token", good.expose())
        .seed("bad-empty", "")
        .seed("bad-long", "A".repeat(TOKEN_CHARS_MAX + 1))
        .words(["AAAA", "=", "_", "-", ":"])
        .check_text(|text| {
            let password = Secret::new(text.to_owned());
            let opened = uncounted(|| {
                AuthorizationToken::open(&key(), &password, &region(), Audience::Private, NOW)
            });
            if opened.is_ok() {
                assert_eq!(text, good.expose());
            }
            Verdict::of(&opened)
        });
}

#[test]
fn session_token() {
    let temporary = SessionToken {
        claims: claims(session("111122223333", "build", "ci-1")),
    };
    let good = temporary.credentials(&key()).unwrap();
    target!("session-token")
        .seed("good-token", good.token.expose())
        .seed("bad-empty", "")
        .words(["AAAA", "=", "_", "-"])
        .check_text(|text| {
            let token = Secret::new(text.to_owned());
            let opened = uncounted(|| SessionToken::open(&key(), &token, &good.key_id, NOW));
            if opened.is_ok() {
                assert_eq!(text, good.token.expose());
            }
            Verdict::of(&opened)
        });
}
