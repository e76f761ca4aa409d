//! Who is calling: credentials as they arrive, and whether they are an account's.
//!
//! Owns: reading `Authorization`, hashing and checking passwords, making secrets,
//! and what nodes know each other by ([`trust`]): certificates and join tokens.
//! Decides over records that are passed in; never looks anything up and never
//! waits. The invariant: a secret is never printed, logged, or part of an error,
//! and how long a refusal takes does not tell why.

mod access_key;
mod basic;
mod error;
#[cfg(test)]
mod hostile;
mod password;
mod principal;
mod secret;
pub mod trust;
mod verifier;

pub use access_key::{AccessKey, SECRET_ACCESS_KEY_BYTES_MAX, generate_id};
pub use basic::{AUTHORIZATION_BYTES_MAX, BasicCredentials, parse_basic};
pub use error::AccessError;
pub use password::{PASSWORD_BYTES_MAX, hash_password};
pub use principal::{AssumedRole, Identity, Principal, User};
pub use secret::{Secret, generate_password, generate_secret};
pub use verifier::{AccountCredentials, VERIFIED_MAX, Verifier};
