//! Secrets: how they are held, and how new ones are made.
//!
//! The invariant: nothing prints a `Secret` unless it asks for it by name.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::AccessError;

/// 24 bytes make 32 characters of base64.
const PASSWORD_RANDOM_BYTES: usize = 24;
const SECRET_RANDOM_BYTES: usize = 32;

/// A text that must not be seen. No `Display`, no comparison with `==` (which
/// would stop at the first difference); `Debug` shows no more than that it is one.
#[derive(Clone)]
pub struct Secret(String);

// === impl Secret ===

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for hashing it and for sending it where it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

// === making them ===

/// A new password: 32 characters of `[A-Za-z0-9_-]` that start with a letter (so
/// that no command line takes it for an option), 191 random bits.
///
/// # Errors
/// [`AccessError::Random`]
pub fn generate_password() -> Result<String, AccessError> {
    let mut bytes = random::<PASSWORD_RANDOM_BYTES>()?;
    // The first character stands for the top six bits; below 32 it is a letter.
    bytes[0] &= 0x7f;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// A new secret for machines: 43 characters of `[A-Za-z0-9_-]`, 256 random bits.
///
/// # Errors
/// [`AccessError::Random`]
pub fn generate_secret() -> Result<String, AccessError> {
    random::<SECRET_RANDOM_BYTES>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(AccessError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Secret, generate_password, generate_secret};

    #[test]
    fn debug_hides_the_text() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:#?}", Some(secret)).find("hunter2"), None);
    }

    #[test]
    fn passwords_are_32_url_safe_characters_and_never_the_same() {
        let passwords: HashSet<String> = (0..500).map(|_| generate_password().unwrap()).collect();
        assert_eq!(passwords.len(), 500);
        for password in passwords {
            assert_eq!(password.len(), 32);
            assert!(password.starts_with(|c: char| c.is_ascii_alphabetic()));
            assert!(password.bytes().all(is_url_safe), "{password}");
        }
    }

    #[test]
    fn secrets_are_43_url_safe_characters_and_never_the_same() {
        let secret = generate_secret().unwrap();
        assert_eq!(secret.len(), 43);
        assert!(secret.bytes().all(is_url_safe), "{secret}");
        assert_ne!(secret, generate_secret().unwrap());
    }

    fn is_url_safe(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
    }
}
