//! The secrets of access keys, as the metadata keeps them.
//!
//! They have to be read to check a signature, so they are sealed and not hashed.
//! The invariant: a sealed secret opens for the key that it was sealed for, in the
//! cluster that sealed it, and nowhere else.

use crate::Secret;
use crate::trust::{ClusterKey, TrustError};

const PURPOSE: &str = "secret of the access key ";

/// Seals the secret of the access key `key_id`.
///
/// # Errors
/// [`TrustError::Random`], [`TrustError::Crypto`]
pub fn seal_secret(key: &ClusterKey, key_id: &str, secret: &Secret) -> Result<Vec<u8>, TrustError> {
    key.seal(&format!("{PURPOSE}{key_id}"), secret.expose().as_bytes())
}

/// # Errors
/// [`TrustError::Sealed`] when it is another key's or another cluster's, or was
/// changed.
pub fn open_secret(key: &ClusterKey, key_id: &str, sealed: &[u8]) -> Result<Secret, TrustError> {
    let bytes = key.open(&format!("{PURPOSE}{key_id}"), sealed)?;
    let text = String::from_utf8(bytes).map_err(|_| TrustError::Sealed)?;
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{open_secret, seal_secret};
    use crate::Secret;
    use crate::trust::{ClusterKey, TrustError};

    fn key(byte: u8) -> ClusterKey {
        ClusterKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn sealed(text: &str) -> Vec<u8> {
        seal_secret(&key(1), "AKIA1", &Secret::new(text.to_owned())).unwrap()
    }

    #[test]
    fn opens_for_its_key_and_cluster_alone() {
        let sealed = sealed("a secret");
        assert_eq!(
            open_secret(&key(1), "AKIA1", &sealed).unwrap().expose(),
            "a secret"
        );
        for (cluster, key_id) in [(1, "AKIA2"), (1, ""), (2, "AKIA1")] {
            let refused = open_secret(&key(cluster), key_id, &sealed).unwrap_err();
            assert_eq!(refused, TrustError::Sealed);
        }
        assert_eq!(
            open_secret(&key(1), "AKIA1", &[]).unwrap_err(),
            TrustError::Sealed
        );
    }

    #[test]
    fn shows_nothing_and_is_never_the_same() {
        let (one, two) = (sealed("a secret"), sealed("a secret"));
        assert_ne!(one, two);
        assert!(!one.windows(6).any(|window| window == b"secret"));
    }

    proptest! {
        #[test]
        fn no_bit_can_be_changed(text in "[ -~é]{0,60}", bit in 0..10_000_usize) {
            let mut sealed = sealed(&text);
            let opened = open_secret(&key(1), "AKIA1", &sealed).unwrap();
            prop_assert_eq!(opened.expose(), text);
            let bit = bit % (8 * sealed.len());
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open_secret(&key(1), "AKIA1", &sealed).is_err());
        }
    }
}
