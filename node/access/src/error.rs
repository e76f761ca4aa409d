//! What can go wrong with credentials.
//!
//! No variant carries anything of what the caller sent: an error is logged and
//! may be shown, and even a fragment of a password is too much.

/// Errors of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error("authorization header is longer than {max} bytes")]
    HeaderTooLong { max: usize },
    #[error("unsupported authorization scheme: must be Basic")]
    UnsupportedScheme,
    #[error("invalid basic credentials: {rule}")]
    InvalidCredentials { rule: &'static str },
    #[error("password is longer than {max} bytes")]
    PasswordTooLong { max: usize },
    #[error("cannot hash the password")]
    Hash(#[source] argon2::password_hash::Error),
    #[error("the account's password hash is not a usable argon2id hash: {rule}")]
    StoredHash { rule: &'static str },
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
}
