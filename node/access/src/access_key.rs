//! Access keys: the ids and secrets that are made for root users and users, and
//! whether one that was sent is right.

use entrepot_oci::AccountId;
use subtle::ConstantTimeEq as _;

use crate::key_id::{generate_key_id, key_secret};
use crate::secret::random;
use crate::trust::{ClusterKey, TrustError};
use crate::{AccessError, Secret};

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
    /// A new one of `account`: `AKIA` and 16 characters, and a secret of 40
    /// characters, 240 random bits.
    ///
    /// # Errors
    /// [`AccessError::Random`]
    pub fn generate(account: &AccountId) -> Result<Self, AccessError> {
        Ok(Self {
            id: generate_key_id(account)?,
            secret: key_secret(&random()?),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::AccessKey;
    use crate::Secret;
    use crate::trust::{ClusterKey, TrustError};

    fn cluster(byte: u8) -> ClusterKey {
        ClusterKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn key(secret: &str) -> AccessKey {
        AccessKey {
            id: "AKIA1".to_owned(),
            secret: Secret::new(secret.to_owned()),
        }
    }

    #[test]
    fn keys_look_as_clients_expect_them() {
        let account = "111122223333".parse().unwrap();
        let generate = || AccessKey::generate(&account).unwrap();
        let (one, other) = (generate(), generate());
        assert!(one.id.starts_with("AKIA") && one.id.len() == 20, "{one:?}");
        assert_eq!(one.secret.expose().len(), 40);
        assert_ne!(one.id, other.id);
        assert_ne!(one.secret.expose(), other.secret.expose());
    }

    #[test]
    fn a_sealed_secret_opens_under_its_key_and_for_its_id_alone() {
        let sealed = key("a secret").seal(&cluster(1)).unwrap();
        let opened = AccessKey::open("AKIA1", &sealed, &cluster(1)).unwrap();
        assert_eq!(opened.secret.expose(), "a secret");
        for (under, id) in [(1, "AKIA2"), (1, ""), (2, "AKIA1")] {
            let refused = AccessKey::open(id, &sealed, &cluster(under)).unwrap_err();
            assert_eq!(refused, TrustError::Sealed);
        }
        let nothing = AccessKey::open("AKIA1", &[], &cluster(1)).unwrap_err();
        assert_eq!(nothing, TrustError::Sealed);
    }

    #[test]
    fn what_is_sealed_shows_nothing_and_is_never_the_same() {
        let seal = || key("a secret").seal(&cluster(1)).unwrap();
        let (one, two) = (seal(), seal());
        assert_ne!(one, two);
        assert!(!one.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn one_secret_proves_a_key() {
        let key = key("correct horse");
        let proved = |secret: &str| key.is_proved_by(&Secret::new(secret.to_owned()));
        assert!(proved("correct horse"));
        for wrong in ["", "correct hors", "correct horsf", "correct horse "] {
            assert!(!proved(wrong), "{wrong:?}");
        }
        assert!(!format!("{key:?}").contains("horse"));
    }

    proptest! {
        #[test]
        fn no_bit_can_be_changed(secret in "[ -~é]{0,60}", bit in 0..10_000_usize) {
            let mut sealed = key(&secret).seal(&cluster(1)).unwrap();
            let opened = AccessKey::open("AKIA1", &sealed, &cluster(1)).unwrap();
            prop_assert_eq!(opened.secret.expose(), secret);
            let bit = bit % (8 * sealed.len());
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(AccessKey::open("AKIA1", &sealed, &cluster(1)).is_err());
        }
    }
}
