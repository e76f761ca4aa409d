//! Who asks: a user and a password, for HTTP Basic (RFC 7617).
//!
//! The password is read from a file, standard input or the environment. It must
//! never be an argument, be printed, or be part of an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tonic::metadata::{Ascii, MetadataValue};

use crate::arguments::Connection;
use crate::failure::Failure;

/// Where a password is looked for when no option says.
const PASSWORD_VARIABLE: &str = "ENTREPOT_PASSWORD";

/// More than this is not a password but the wrong file.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// A user and the header that proves it.
pub(crate) struct Credentials {
    pub(crate) user: String,
    /// The `authorization` value, marked as sensitive.
    pub(crate) authorization: MetadataValue<Ascii>,
}

impl Credentials {
    /// The user that the options name, and the password from where they say.
    pub(crate) fn read(options: &Connection) -> Result<Self, Failure> {
        let user = match options.user.as_deref() {
            None | Some("") => return Err(Failure::UserMissing),
            // A colon ends the user in Basic: the rest would be sent as password.
            Some(user) if user.contains(|c: char| c == ':' || c.is_control()) => {
                return Err(Failure::UserInvalid);
            }
            Some(user) => user,
        };
        Self::new(user, &password(options)?)
    }

    fn new(user: &str, password: &str) -> Result<Self, Failure> {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        // Base64 is ASCII: this cannot fail, and if it did, it must not panic.
        let mut authorization: MetadataValue<Ascii> =
            basic.parse().map_err(|_| Failure::UserInvalid)?;
        authorization.set_sensitive(true);
        Ok(Self {
            user: user.to_owned(),
            authorization,
        })
    }
}

fn password(options: &Connection) -> Result<String, Failure> {
    if let Some(path) = &options.password_file {
        let place = path.display().to_string();
        return match File::open(path) {
            Ok(file) => single_line(file, &place),
            Err(cause) => Err(Failure::PasswordUnreadable { place, cause }),
        };
    }
    if options.password_stdin {
        return single_line(io::stdin().lock(), "standard input");
    }
    match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) if !password.is_empty() => Ok(password),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::PasswordMalformed {
            place: PASSWORD_VARIABLE.to_owned(),
        }),
        _ => Err(Failure::PasswordMissing),
    }
}

/// A secret access key, which is read as a password is.
pub(crate) fn secret_access_key(path: &Path) -> Result<String, Failure> {
    let place = path.display().to_string();
    let read = match File::open(path) {
        Ok(file) => single_line(file, &place),
        Err(cause) => return Err(Failure::SecretUnreadable { place, cause }),
    };
    read.map_err(|failure| match failure {
        Failure::PasswordUnreadable { place, cause } => Failure::SecretUnreadable { place, cause },
        _ => Failure::SecretMalformed { place },
    })
}

/// The one line that `source` holds, without its end.
fn single_line(source: impl Read, place: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source
        .take(PASSWORD_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| Failure::PasswordUnreadable {
            place: place.to_owned(),
            cause,
        })?;
    let malformed = || Failure::PasswordMalformed {
        place: place.to_owned(),
    };
    if bytes.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(malformed());
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(char::is_control) {
        return Err(malformed());
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Credentials, PASSWORD_BYTES_MAX, single_line};
    use crate::failure::Failure;

    #[test]
    fn one_line_is_the_password_whatever_ends_it() {
        for text in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(single_line(text.as_bytes(), "here").unwrap(), "secret");
        }
        assert_eq!(single_line(" a b \n".as_bytes(), "here").unwrap(), " a b ");
    }

    #[test]
    fn no_line_several_lines_and_binary_are_refused() {
        let long = vec![b'a'; usize::try_from(PASSWORD_BYTES_MAX).unwrap() + 1];
        for bytes in [
            &b""[..],
            b"\n",
            b"a\nb\n",
            b"a\n\n",
            b"a\0b",
            b"\xff\xfe",
            &long,
        ] {
            let refused = single_line(bytes, "here");
            assert!(
                matches!(refused, Err(Failure::PasswordMalformed { .. })),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn the_header_is_basic_and_hides_itself() {
        let credentials = Credentials::new("root", "pässword").unwrap();
        // RFC 7617 section 2.1: UTF-8.
        assert_eq!(credentials.authorization, "Basic cm9vdDpww6Rzc3dvcmQ=");
        assert!(!format!("{:?}", credentials.authorization).contains("cm9v"));
    }
}
