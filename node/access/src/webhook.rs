//! Signatures of what is sent to webhooks, as Standard Webhooks 1.0 has them:
//! whoever knows the secret can tell that a message is ours, which one it is and
//! when it was sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::trust::{ClusterKey, TrustError};
use crate::{AccessError, Secret};

/// What secrets begin with, where people see them.
const PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;

/// What the messages to one webhook are signed with.
#[derive(Debug, Clone)]
pub struct WebhookSecret(Secret);

// === impl WebhookSecret ===

impl WebhookSecret {
    /// A new one: `whsec_` and 32 random bytes in base64.
    ///
    /// # Errors
    /// [`AccessError::Random`]
    pub fn generate() -> Result<Self, AccessError> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(AccessError::Random)?;
        Ok(Self(Secret::new(format!(
            "{PREFIX}{}",
            STANDARD.encode(bytes)
        ))))
    }

    /// As it was told once. None: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        key_of(text)?;
        Some(Self(Secret::new(text.to_owned())))
    }

    /// For the one who receives the messages.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// As it is stored. `of`: whose it is; nobody can open it as another's.
    ///
    /// # Errors
    /// [`TrustError::Random`], [`TrustError::Crypto`]
    pub fn seal(&self, of: &str, key: &ClusterKey) -> Result<Vec<u8>, TrustError> {
        key.seal(&purpose(of), self.0.expose().as_bytes())
    }

    /// # Errors
    /// [`TrustError::Sealed`] when it was sealed as another's, or under another
    /// key.
    pub fn open(of: &str, sealed: &[u8], key: &ClusterKey) -> Result<Self, TrustError> {
        let plain = key.open(&purpose(of), sealed)?;
        let text = String::from_utf8(plain).map_err(|_| TrustError::Sealed)?;
        Self::parse(&text).ok_or(TrustError::Sealed)
    }

    /// The header `webhook-signature` of the message `id`, sent at `at_s` (seconds
    /// since 1970).
    pub fn sign(&self, id: &str, at_s: i64, body: &[u8]) -> String {
        // It was looked at when it was made.
        let key = key_of(self.0.expose()).unwrap_or_default();
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        context.update(format!("{id}.{at_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

fn key_of(text: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
    (24..=64).contains(&key.len()).then_some(key)
}

fn purpose(of: &str) -> String {
    format!("secret of the webhook {of}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_the_specification_has_it() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_sealed_as_one_webhooks() {
        let key = ClusterKey::from_secret(b"a cluster");
        let secret = WebhookSecret::generate().unwrap();
        let sealed = secret.seal("111122223333/ci", &key).unwrap();
        let opened = WebhookSecret::open("111122223333/ci", &sealed, &key).unwrap();
        assert_eq!(opened.expose(), secret.expose());
        assert!(WebhookSecret::open("111122223333/cd", &sealed, &key).is_err());
        let other = ClusterKey::from_secret(b"another");
        assert!(WebhookSecret::open("111122223333/ci", &sealed, &other).is_err());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "whsec_",
            "whsec_AAAA",
            "whsec_not base64",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert!(WebhookSecret::parse(text).is_none(), "{text}");
        }
        let shown = format!("{:?}", WebhookSecret::generate().unwrap());
        assert!(!shown.contains(PREFIX), "{shown}");
    }
}
