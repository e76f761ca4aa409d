//! Pages: how many, and where the next one starts.
//!
//! A token is opaque to clients and says where its page ended. It is no secret
//! and no proof: whoever makes one up gets a page of what they may see anyway.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Unless the client says how many.
pub(crate) const SIZE_DEFAULT: usize = 100;
/// Items that a client may name, where the model does not say.
const NAMED_MAX: usize = 100;

/// Where a page starts.
///
/// # Errors
/// A token that is none of ours.
pub(crate) fn start<T: DeserializeOwned>(token: Option<&str>) -> Result<Option<T>, ApiError> {
    let Some(token) = token else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let start = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    start.map(Some).ok_or_else(|| {
        ApiError::new(
            "InvalidParameterException",
            "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'",
        )
    })
}

/// The token of the page that starts at `next`.
pub(crate) fn token<T: Serialize>(next: &T) -> String {
    // What is serialised here is strings and numbers, which cannot fail.
    let bytes = serde_json::to_vec(next).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// That nothing is said of pages where items are named.
///
/// # Errors
/// `InvalidParameterException` when both were given.
pub(crate) fn alone(paged: bool, named: &str) -> Result<(), ApiError> {
    if !paged {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidParameterException",
        format!(
            "Invalid parameter at '{named}' failed to satisfy constraint: 'nextToken and \
             maxResults cannot be used with {named}'"
        ),
    ))
}

/// That no more items are named than a page may have.
///
/// # Errors
/// `InvalidParameterException` when there are.
pub(crate) fn few(named: usize, at: &str) -> Result<(), ApiError> {
    if named <= NAMED_MAX {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidParameterException",
        format!(
            "Invalid parameter at '{at}' failed to satisfy constraint: 'Member must have length \
             less than or equal to {NAMED_MAX}'"
        ),
    ))
}

/// How many items a page has. The model has looked at the bounds.
pub(crate) fn size(asked: Option<i64>) -> usize {
    asked
        .and_then(|asked| usize::try_from(asked).ok())
        .unwrap_or(SIZE_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::{start, token};

    #[test]
    fn a_token_says_where_to_go_on() {
        let next = ("sha256:00".to_owned(), 7_usize);
        assert_eq!(start(Some(&token(&next))).unwrap(), Some(next));
        assert_eq!(start::<String>(None).unwrap(), None);
        for wrong in ["", "!", "e30"] {
            let error = start::<String>(Some(wrong)).unwrap_err();
            assert_eq!(error.code, "InvalidParameterException");
        }
    }
}
