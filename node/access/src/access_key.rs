//! Access keys: the ids and secrets that are made for root users and users, and
//! whether one that was sent is right.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use crate::secret::random;
use crate::trust::{ClusterKey, TrustError};
use crate::{AccessError, Secret};

/// Signs after the prefix of an id, as AWS has them.
const ID_CHARS: usize = 16;
/// Base32 (RFC 4648): no sign that looks like another one.
const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 30 bytes make 40 signs of base64.
const SECRET_RANDOM_BYTES: usize = 30;

/// Bytes of a secret that somebody brings along.
pub const SECRET_ACCESS_KEY_BYTES_MAX: usize = 256;

/// An access key, and the secret that proves it.
#[derive(Clone, Debug)]
pub struct AccessKey {
    pub id: String,
    pub secret: Secret,
}

// === impl AccessKey ===

impl AccessKey {
    /// A new one: `AKIA` and 16 signs, 80 random bits; the secret has 40 signs of
    /// base64, 240 random bits.
    ///
    /// # Errors
    /// [`AccessError::Random`]
    pub fn generate() -> Result<Self, AccessError> {
        let secret = STANDARD.encode(random::<SECRET_RANDOM_BYTES>()?);
        Ok(Self {
            id: generate_id("AKIA")?,
            secret: Secret::new(secret),
        })
    }

    /// The secret as it is stored: nobody can open it as that of another id.
    ///
    /// # Errors
    /// [`TrustError::Random`], [`TrustError::Crypto`]
    pub fn seal(&self, key: &ClusterKey) -> Result<Vec<u8>, TrustError> {
        key.seal(&purpose(&self.id), self.secret.expose().as_bytes())
    }

    /// The key of that id whose secret was sealed.
    ///
    /// # Errors
    /// [`TrustError::Sealed`] when it was not, or under another key.
    pub fn open(id: &str, sealed: &[u8], key: &ClusterKey) -> Result<Self, TrustError> {
        let plain = key.open(&purpose(id), sealed)?;
        let secret = String::from_utf8(plain).map_err(|_| TrustError::Sealed)?;
        Ok(Self {
            id: id.to_owned(),
            secret: Secret::new(secret),
        })
    }

    /// Whether `secret` is this key's; how long that takes tells nothing but
    /// whether the lengths are the same.
    pub fn is_proved_by(&self, secret: &Secret) -> bool {
        let (own, given) = (self.secret.expose(), secret.expose());
        own.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

fn purpose(id: &str) -> String {
    format!("secret access key of {id}")
}

/// A new id of an identity: a prefix that says what it is of (`AIDA`: a user) and
/// 16 signs of `[A-Z2-7]`.
///
/// # Errors
/// [`AccessError::Random`]
pub fn generate_id(prefix: &str) -> Result<String, AccessError> {
    let mut id = String::with_capacity(prefix.len() + ID_CHARS);
    id.push_str(prefix);
    // 256 is a multiple of 32: every sign is as likely.
    let signs = random::<ID_CHARS>()?;
    id.extend(signs.map(|byte| char::from(ID_ALPHABET[usize::from(byte) % ID_ALPHABET.len()])));
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::{AccessKey, generate_id};
    use crate::Secret;
    use crate::trust::{ClusterKey, TrustError};

    #[test]
    fn keys_look_as_clients_expect_them() {
        let (key, other) = (
            AccessKey::generate().unwrap(),
            AccessKey::generate().unwrap(),
        );
        assert!(key.id.starts_with("AKIA") && key.id.len() == 20, "{key:?}");
        let upper = |sign: char| sign.is_ascii_uppercase() || ('2'..='7').contains(&sign);
        assert!(key.id.chars().all(upper), "{key:?}");
        assert_eq!(key.secret.expose().len(), 40);
        assert_ne!(key.id, other.id);
        assert_ne!(key.secret.expose(), other.secret.expose());
        assert!(generate_id("AIDA").unwrap().starts_with("AIDA"));
    }

    #[test]
    fn a_sealed_secret_opens_under_its_key_and_for_its_id_alone() {
        let (cluster, other) = (
            ClusterKey::generate().unwrap(),
            ClusterKey::generate().unwrap(),
        );
        let key = AccessKey::generate().unwrap();
        let sealed = key.seal(&cluster).unwrap();
        let opened = AccessKey::open(&key.id, &sealed, &cluster).unwrap();
        assert_eq!(opened.secret.expose(), key.secret.expose());
        let wrong_id = AccessKey::open("AKIAX", &sealed, &cluster);
        assert!(matches!(wrong_id, Err(TrustError::Sealed)));
        let wrong_key = AccessKey::open(&key.id, &sealed, &other);
        assert!(matches!(wrong_key, Err(TrustError::Sealed)));
    }

    #[test]
    fn one_secret_proves_a_key() {
        let key = AccessKey {
            id: "AKIA1".to_owned(),
            secret: Secret::new("correct horse".to_owned()),
        };
        let proved = |secret: &str| key.is_proved_by(&Secret::new(secret.to_owned()));
        assert!(proved("correct horse"));
        for wrong in ["", "correct hors", "correct horsf", "correct horse "] {
            assert!(!proved(wrong), "{wrong:?}");
        }
        assert!(!format!("{key:?}").contains("horse"));
    }
}
