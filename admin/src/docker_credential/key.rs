//! The user's access key, from the first place that has one.
//!
//! The secret is in [`Credentials`], which show none of it.

use std::fmt;

use aws_credential_types::Credentials;

use crate::environment::variable;
use crate::failure::Failure;
use crate::profile::{Found, ProfileFile};

/// What AWS's library says of where credentials come from, when it prints them.
const PROVIDER: &str = "docker-credential-entrepot";

/// AWS's own limit (IAM `accessKeyIdType`).
const KEY_ID_CHARS_MAX: usize = 128;

/// Three variables that hold an access key.
struct Variables {
    id: &'static str,
    secret: &'static str,
    session_token: &'static str,
}

const VARIABLES: [Variables; 2] = [
    Variables {
        id: "ENTREPOT_ACCESS_KEY_ID",
        secret: "ENTREPOT_SECRET_ACCESS_KEY",
        session_token: "ENTREPOT_SESSION_TOKEN",
    },
    Variables {
        id: "AWS_ACCESS_KEY_ID",
        secret: "AWS_SECRET_ACCESS_KEY",
        session_token: "AWS_SESSION_TOKEN",
    },
];

/// Where a key was found, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Variable(&'static str),
    Profile { name: Box<str>, place: Box<str> },
}

pub(crate) struct AccessKey {
    pub(crate) credentials: Credentials,
    pub(crate) origin: Origin,
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Profile { name, place } => write!(f, "the profile {name:?} of {place}"),
        }
    }
}

// === impl AccessKey ===

impl AccessKey {
    fn new(
        id: String,
        secret: String,
        session_token: Option<String>,
        origin: Origin,
    ) -> Result<Self, Failure> {
        let is_id = |id: &str| {
            id.len() <= KEY_ID_CHARS_MAX
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        // Goes into a header as it is.
        let is_token = |token: &str| token.bytes().all(|b| b.is_ascii_graphic());
        if !is_id(&id) {
            return Err(Failure::KeyIdMalformed { origin });
        }
        if !session_token.as_deref().is_none_or(is_token) {
            return Err(Failure::SessionTokenMalformed { origin });
        }
        Ok(Self {
            credentials: Credentials::new(id, secret, session_token, None, PROVIDER),
            origin,
        })
    }

    pub(crate) fn id(&self) -> &str {
        self.credentials.access_key_id()
    }
}

/// The first key there is.
pub(crate) fn read() -> Result<AccessKey, Failure> {
    for variables in &VARIABLES {
        if let Some(key) = of_variables(variables)? {
            return Ok(key);
        }
    }
    of_profile(ProfileFile::Credentials.read()?)
}

fn of_variables(variables: &Variables) -> Result<Option<AccessKey>, Failure> {
    let missing = |missing, given| Failure::HalfAKey { missing, given };
    let (id, secret) = match (variable(variables.id)?, variable(variables.secret)?) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(missing(variables.secret, variables.id)),
        (None, Some(_)) => return Err(missing(variables.id, variables.secret)),
        (Some(id), Some(secret)) => (id, secret),
    };
    let session_token = variable(variables.session_token)?;
    AccessKey::new(id, secret, session_token, Origin::Variable(variables.id)).map(Some)
}

fn of_profile(found: Found) -> Result<AccessKey, Failure> {
    let Found {
        place,
        name,
        is_named,
        profile,
    } = found;
    let Some(mut profile) = profile else {
        return Err(if is_named {
            Failure::ProfileUnknown { name, place }
        } else {
            Failure::KeyMissing { place }
        });
    };
    let mut take = |key| profile.remove(key).filter(|value| !value.is_empty());
    match (take("aws_access_key_id"), take("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            let session_token = take("aws_session_token");
            let origin = Origin::Profile {
                name: name.into(),
                place: place.into(),
            };
            AccessKey::new(id, secret, session_token, origin)
        }
        _ => Err(Failure::ProfileWithoutKey { name, place }),
    }
}

#[cfg(test)]
mod tests {
    use super::{AccessKey, Origin};

    fn key(id: &str, token: Option<&str>) -> bool {
        let origin = Origin::Variable("X");
        AccessKey::new(id.into(), "hush".into(), token.map(Into::into), origin).is_ok()
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused() {
        assert!(key("AKIA5EXAMPLE7EXAMPLE", Some("IQoJ/+=")));
        assert!(!key("AKIA 5", None));
        assert!(!key("AKIA/eu", None));
        assert!(!key(&"A".repeat(129), None));
        assert!(!key("AKIA5", Some("a b")));
        assert!(!key("AKIA5", Some("a\nb")));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let origin = Origin::Variable("X");
        let key = AccessKey::new("AKIA5".into(), "hush".into(), Some("mum".into()), origin);
        let shown = format!("{:?}", key.ok().map(|key| key.credentials));
        assert!(shown.contains("AKIA5") && !shown.contains("hush") && !shown.contains("mum"));
    }
}
