//! Who is calling: credentials as they arrive, and whether they are an account's.
//!
//! Owns: reading `Authorization`, hashing and checking passwords, making secrets,
//! what callers are named ([`Principal`], [`Arn`]) and what policies decide about
//! them ([`policy`]), signatures of requests ([`sigv4`]), tokens that need no
//! records ([`token`]), access keys, what nodes know each other by ([`trust`]):
//! certificates and join tokens, and what webhooks know this cluster by.
//! Decides over records that are passed in; never looks anything up and never
//! waits. The invariant: a secret is never printed, logged, or part of an error,
//! and how long a refusal takes does not tell why.

mod access_key;
mod arn;
mod basic;
mod clock;
mod error;
#[cfg(test)]
mod hostile;
mod key_id;
mod password;
pub mod policy;
mod principal;
mod secret;
pub mod sigv4;
pub mod token;
pub mod trust;
mod verifier;
mod web_identity;
mod webhook;

pub use access_key::{AccessKey, SECRET_ACCESS_KEY_BYTES_MAX};
pub use arn::{ARN_BYTES_MAX, Arn, ArnError};
pub use basic::{AUTHORIZATION_BYTES_MAX, BasicCredentials, parse_basic};
pub use error::AccessError;
pub use key_id::{UniqueId, account_of_key_id};
pub use password::{PASSWORD_BYTES_MAX, hash_password};
pub use principal::{AssumedRole, Identity, Principal, User};
pub use secret::{Secret, generate_password, generate_secret};
pub use verifier::{AccountCredentials, Mark, VERIFIED_MAX, Verifier};
pub use web_identity::{WEB_IDENTITY_BYTES_MAX, WebClaims, WebIdentity, WebIdentityError, WebKeys};
pub use webhook::WebhookSecret;
