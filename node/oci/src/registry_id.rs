//! Accounts, and the two registries that each has in a region: a private one and a
//! public one.
//!
//! The private registry is called by its account's number, as in ECR. The public
//! one is called by the same number in letters, `a` for 0 to `j` for 9, which is its
//! alias as well. So both ids have 12 bytes, no text is both, and an account's
//! number can stand wherever its private registry is meant.

use std::ops::Deref;
use std::str::FromStr;

use crate::name::NameError;
use crate::text::{excerpt, text_traits, text_type};

const ID_BYTES: usize = 12;
/// Stands for 0.
const FIRST_LETTER: u8 = b'a';
/// Stands for 9.
const LAST_LETTER: u8 = b'j';

/// A registry: 12 ASCII digits for a private one, 12 of `a` to `j` for a public one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryId(Box<str>);

/// An account: exactly 12 ASCII digits. It can stand for its private registry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(RegistryId);

// === impl RegistryId ===

text_type!(RegistryId(Box<str>), is_registry_id, RegistryId);

impl RegistryId {
    /// The public registry of `account`.
    pub fn public(account: &AccountId) -> Self {
        Self(account.as_str().bytes().map(letter).collect())
    }

    pub fn is_public(&self) -> bool {
        self.0.starts_with(|first: char| first.is_ascii_lowercase())
    }

    /// Whose it is.
    pub fn account(&self) -> AccountId {
        AccountId(Self(self.digits().collect()))
    }

    /// The same as `account() == *account`, for nothing.
    pub fn is_of(&self, account: &AccountId) -> bool {
        self.digits().eq(account.as_str().chars())
    }

    fn digits(&self) -> impl Iterator<Item = char> {
        self.0.bytes().map(|byte| {
            char::from(match byte {
                FIRST_LETTER..=LAST_LETTER => byte - FIRST_LETTER + b'0',
                digit => digit,
            })
        })
    }
}

impl From<AccountId> for RegistryId {
    fn from(account: AccountId) -> Self {
        account.0
    }
}

// === impl AccountId ===

impl Deref for AccountId {
    type Target = RegistryId;

    fn deref(&self) -> &RegistryId {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_account_id(text) {
            return Ok(Self(RegistryId(text.into())));
        }
        Err(NameError::AccountId {
            value: excerpt(text),
        })
    }
}

text_traits!(AccountId);

fn is_account_id(text: &str) -> bool {
    text.len() == ID_BYTES && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_registry_id(text: &str) -> bool {
    let is_letter = |b: u8| (FIRST_LETTER..=LAST_LETTER).contains(&b);
    is_account_id(text) || (text.len() == ID_BYTES && text.bytes().all(is_letter))
}

fn letter(digit: u8) -> char {
    char::from(digit - b'0' + FIRST_LETTER)
}

#[cfg(test)]
mod tests {
    use super::{AccountId, RegistryId};

    #[test]
    fn an_account_has_two_registries_that_are_never_the_same() {
        let account: AccountId = "012345678999".parse().unwrap();
        let (private, public) = (
            RegistryId::from(account.clone()),
            RegistryId::public(&account),
        );
        assert_eq!(private.as_str(), "012345678999");
        assert_eq!(public.as_str(), "abcdefghijjj");
        assert!(public.is_public() && !private.is_public());
        for registry in [&private, &public] {
            assert_eq!(registry.account(), account);
            assert!(registry.is_of(&account));
            assert_eq!(registry.as_str().parse::<RegistryId>().unwrap(), *registry);
        }
        assert!(!public.is_of(&"012345678998".parse().unwrap()));
        assert_eq!(&*account, &private);
    }

    #[test]
    fn other_text_is_no_registry_and_a_public_one_is_no_account() {
        for wrong in [
            "",
            "01234567899",
            "0123456789999",
            "abcdefghijj",
            "abcdefghijjjj",
            "abcdefghijjk",
            "ABCDEFGHIJJJ",
            "abcdefghij12",
            "12cdefghijjj",
            "abcdefghijj\0",
            "\u{661}23456789012",
        ] {
            assert!(wrong.parse::<RegistryId>().is_err(), "{wrong}");
            assert!(wrong.parse::<AccountId>().is_err(), "{wrong}");
        }
        assert!("abcdefghijjj".parse::<AccountId>().is_err());
    }
}
