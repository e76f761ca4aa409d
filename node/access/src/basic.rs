//! HTTP's Basic scheme (RFC 7617): from an `Authorization` header to a user and
//! a password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{AccessError, Secret};

/// The longest `Authorization` value that is looked at, in bytes. Tokens are sent
/// as Basic passwords and take some thousands.
pub const AUTHORIZATION_BYTES_MAX: usize = 8 * 1024;

/// A user and a password as the caller sent them, not yet checked.
#[derive(Clone, Debug)]
pub struct BasicCredentials {
    user: String,
    password: Secret,
}

// === impl BasicCredentials ===

impl BasicCredentials {
    pub fn new(user: String, password: Secret) -> Self {
        Self { user, password }
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn password(&self) -> &Secret {
        &self.password
    }
}

/// Reads the value of an `Authorization` header: `Basic`, in any case, and the
/// base64 of `user:password` in UTF-8. Either may be empty; the first colon ends
/// the user; control characters are refused (RFC 7617, 2).
///
/// # Errors
/// [`AccessError::HeaderTooLong`], [`AccessError::UnsupportedScheme`] or
/// [`AccessError::InvalidCredentials`]: all of them the caller's fault.
pub fn parse_basic(header: &str) -> Result<BasicCredentials, AccessError> {
    if header.len() > AUTHORIZATION_BYTES_MAX {
        return Err(AccessError::HeaderTooLong {
            max: AUTHORIZATION_BYTES_MAX,
        });
    }
    let (scheme, encoded) = header
        .trim_matches([' ', '\t'])
        .split_once(' ')
        .ok_or(AccessError::UnsupportedScheme)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(AccessError::UnsupportedScheme);
    }
    let invalid = |rule| AccessError::InvalidCredentials { rule };
    // The decoder's own error quotes a character of the secret: it is dropped.
    let decoded = STANDARD
        .decode(encoded.trim_start_matches(' '))
        .map_err(|_| invalid("must be base64"))?;
    let decoded = String::from_utf8(decoded).map_err(|_| invalid("must be UTF-8"))?;
    if decoded.contains(|c: char| c.is_control()) {
        return Err(invalid("must not contain control characters"));
    }
    let (user, password) = decoded
        .split_once(':')
        .ok_or_else(|| invalid("must have a colon between user and password"))?;
    Ok(BasicCredentials::new(
        user.to_owned(),
        Secret::new(password.to_owned()),
    ))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{AUTHORIZATION_BYTES_MAX, parse_basic};
    use crate::AccessError;

    fn header(decoded: impl AsRef<[u8]>) -> String {
        format!("Basic {}", STANDARD.encode(decoded))
    }

    fn parsed(header: &str) -> (String, String) {
        let credentials = parse_basic(header).unwrap();
        let password = credentials.password().expose().to_owned();
        (credentials.user().to_owned(), password)
    }

    fn pair(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[test]
    fn reads_the_example_of_rfc_7617() {
        let header = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(parsed(header), pair("Aladdin", "open sesame"));
    }

    #[test]
    fn scheme_is_case_insensitive_and_blanks_do_not_matter() {
        for scheme in ["basic", "BASIC", "bAsIc", " Basic", "Basic  "] {
            let header = format!("{scheme} {} ", STANDARD.encode("AWS:token"));
            assert_eq!(parsed(&header), pair("AWS", "token"), "{header:?}");
        }
    }

    #[test]
    fn first_colon_ends_the_user() {
        assert_eq!(parsed(&header("a:b:c:")), pair("a", "b:c:"));
        assert_eq!(parsed(&header(":")), pair("", ""));
    }

    #[test]
    fn what_is_not_basic_is_refused() {
        for other in ["", "Basic", "Bearer abc", "AWS4-HMAC-SHA256 x=y", "Basi c"] {
            let refusal = parse_basic(other).unwrap_err();
            assert_eq!(refusal, AccessError::UnsupportedScheme, "{other:?}");
        }
    }

    #[test]
    fn malformed_credentials_are_refused() {
        let unpadded = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ".to_owned();
        let url_safe = "Basic Pz8_Pj46".to_owned();
        for header in [
            "Basic ".to_owned() + "!!!!",
            unpadded,
            url_safe,
            header("no colon"),
            header(b"a:\xff"),
            header("a:b\n"),
            header("a\0:b"),
            header("a:\u{85}"),
        ] {
            let refusal = parse_basic(&header).unwrap_err();
            assert!(
                matches!(refusal, AccessError::InvalidCredentials { .. }),
                "{header:?}: {refusal:?}"
            );
        }
    }

    #[test]
    fn the_limit_is_the_last_length_taken() {
        let longest = header(vec![
            b':';
            (AUTHORIZATION_BYTES_MAX - "Basic ".len()) / 4 * 3
        ]);
        assert!(longest.len() <= AUTHORIZATION_BYTES_MAX);
        assert!(parse_basic(&longest).is_ok());
        let refusal = parse_basic(&"x".repeat(AUTHORIZATION_BYTES_MAX + 1)).unwrap_err();
        assert!(matches!(refusal, AccessError::HeaderTooLong { .. }));
    }

    #[test]
    fn debug_shows_the_user_alone() {
        let credentials = parse_basic(&header("alice:hunter2")).unwrap();
        let debug = format!("{credentials:?}");
        assert!(
            debug.contains("alice") && !debug.contains("hunter2"),
            "{debug}"
        );
    }

    proptest! {
        #[test]
        fn reads_back_whatever_was_encoded(user in "[^:\\pC]{0,40}", password in "[^\\pC]{0,200}") {
            let header = header(format!("{user}:{password}"));
            prop_assert_eq!(parsed(&header), (user, password));
        }

        #[test]
        fn errors_hold_nothing_of_the_header(garbage in "[A-Za-z0-9+/=!]{12,60}") {
            if let Err(error) = parse_basic(&format!("Basic {garbage}")) {
                let shown = format!("{error} {error:?}");
                prop_assert_eq!(shown.find(&garbage), None);
            }
        }
    }
}
