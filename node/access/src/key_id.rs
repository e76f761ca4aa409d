//! Ids as AWS writes them: of access keys, and of users, groups, roles and
//! policies.
//!
//! An id that is made here says its account, as AWS's do: 40 bits of account and
//! 40 of chance, in base32. It says so to everybody, and proves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entrepot_oci::AccountId;

use crate::secret::random;
use crate::{AccessError, Secret};

const LONG_TERM: &str = "AKIA";
const TEMPORARY: &str = "ASIA";
const CHANCE_BYTES: usize = 5;
/// Characters after the four that say what an id is of.
const KEY_CHARS: usize = 16;
const UNIQUE_CHARS: usize = 17;
const BASE_32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniqueId {
    User,
    Group,
    Role,
    Policy,
}

// === impl UniqueId ===

impl UniqueId {
    /// A new one: `AIDA` and the like, and 17 characters.
    ///
    /// # Errors
    /// [`AccessError::Random`]
    pub fn generate(self) -> Result<String, AccessError> {
        let chance = random::<11>()?;
        let characters = base_32(&chance).take(UNIQUE_CHARS);
        Ok(self.prefix().chars().chain(characters).collect())
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::User => "AIDA",
            Self::Group => "AGPA",
            Self::Role => "AROA",
            Self::Policy => "ANPA",
        }
    }
}

/// The id of a new access key of `account`: `AKIA` and 16 characters.
///
/// # Errors
/// [`AccessError::Random`]
pub(crate) fn generate_key_id(account: &AccountId) -> Result<String, AccessError> {
    Ok(key_id(LONG_TERM, account, random()?))
}

/// The account that the id of a key says, if it was made here. Ids of keys that
/// were imported say anything: look those up first.
pub fn account_of_key_id(text: &str) -> Option<AccountId> {
    let rest = [LONG_TERM, TEMPORARY]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    if rest.len() != KEY_CHARS {
        return None;
    }
    let digit = |byte| BASE_32.iter().position(|&own| own == byte);
    // The first eight characters are the account's 40 bits.
    let number = rest
        .bytes()
        .try_fold(0_u128, |sum, byte| Some(sum << 5 | digit(byte)? as u128))?;
    format!("{:012}", number >> (8 * CHANCE_BYTES)).parse().ok()
}

/// Of temporary credentials; `chance` is what makes it theirs.
pub(crate) fn temporary_key_id(account: &AccountId, chance: [u8; CHANCE_BYTES]) -> String {
    key_id(TEMPORARY, account, chance)
}

/// 40 characters of `[A-Za-z0-9_-]`.
pub(crate) fn key_secret(bytes: &[u8; 30]) -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

fn key_id(prefix: &str, account: &AccountId, chance: [u8; CHANCE_BYTES]) -> String {
    // Twelve digits are less than 2 to the power of 40.
    let number: u64 = account.as_str().parse().unwrap_or_default();
    let bytes = [&number.to_be_bytes()[3..], &chance].concat();
    prefix.chars().chain(base_32(&bytes)).collect()
}

/// Whole characters of five bits; what is left over is dropped.
fn base_32(bytes: &[u8]) -> impl Iterator<Item = char> {
    let bits = 8 * bytes.len();
    (0..bits / 5).map(move |at| {
        let bit = |index: usize| bytes[index / 8] >> (7 - index % 8) & 1;
        let digit = (5 * at..5 * at + 5).fold(0, |sum, index| sum << 1 | bit(index));
        char::from(BASE_32[usize::from(digit)])
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{UniqueId, account_of_key_id, generate_key_id, temporary_key_id};

    #[test]
    fn ids_are_new_and_say_what_they_are_of() {
        let account = "111122223333".parse().unwrap();
        let ids: HashSet<String> = (0..200)
            .map(|_| generate_key_id(&account).unwrap())
            .collect();
        assert_eq!(ids.len(), 200);
        for id in ids {
            assert!(id.starts_with("AKIA") && id.len() == 20, "{id}");
            assert_eq!(account_of_key_id(&id), Some(account.clone()));
        }
        for (of, prefix) in [
            (UniqueId::User, "AIDA"),
            (UniqueId::Group, "AGPA"),
            (UniqueId::Role, "AROA"),
            (UniqueId::Policy, "ANPA"),
        ] {
            let id = of.generate().unwrap();
            assert!(id.starts_with(prefix) && id.len() == 21, "{id}");
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            );
            assert_ne!(id, of.generate().unwrap());
        }
    }

    #[test]
    fn other_ids_say_nothing() {
        for text in [
            "",
            "AKIA",
            "AKIAEXAMPLE",
            "AIDAAAAAAAAAAAAAAAAA",
            "AKIAaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(account_of_key_id(text), None, "{text}");
        }
        // More than twelve digits.
        assert_eq!(account_of_key_id("AKIA7777777777777777"), None);
    }

    proptest! {
        #[test]
        fn every_account_reads_back(account in "[0-9]{12}", chance in any::<[u8; 5]>()) {
            let account = account.parse().unwrap();
            let id = temporary_key_id(&account, chance);
            prop_assert!(id.starts_with("ASIA") && id.len() == 20);
            prop_assert_eq!(account_of_key_id(&id), Some(account));
        }
    }
}
