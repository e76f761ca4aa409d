//! What the registry's answer says: a token, or why there is none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::failure::Failure;
use crate::key::AccessKey;
use crate::plain::plain;
use crate::request::Answer;
use crate::server::Server;

/// A server's own words are cut after so many characters.
const SERVER_TEXT_CHARS_MAX: usize = 300;

const OK: u16 = 200;
const TOO_MANY_REQUESTS: u16 = 429;

/// A login for registries.
#[derive(PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) user: String,
    pub(crate) password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    authorization_data: Vec<AuthorizationData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationData {
    /// Base64 of `user:password`.
    authorization_token: String,
}

/// AWS's error of JSON 1.1.
#[derive(Deserialize)]
struct Error {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

/// What `answer` of `server`, asked with `key`, says.
pub(crate) fn read(answer: &Answer, server: &Server, key: &AccessKey) -> Result<Token, Failure> {
    if answer.status == OK {
        return token(&answer.body).ok_or_else(|| Failure::NoToken {
            server: server.clone(),
        });
    }
    let server = server.clone();
    let status = answer.status;
    let Ok(error) = serde_json::from_slice::<Error>(&answer.body) else {
        return Err(match status {
            TOO_MANY_REQUESTS | 500.. => Failure::Unavailable {
                server,
                text: format!("HTTP {status}"),
            },
            _ => Failure::NotEcr { server, status },
        });
    };
    // AWS's own come with the name of a namespace.
    let kind = error.kind.rsplit('#').next().unwrap_or_default();
    let text = shown(&error.message, kind, key);
    let id = key.id().into();
    let origin = key.origin.clone();
    Err(match (kind, status) {
        (
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "InvalidClientTokenId"
            | "IncompleteSignatureException",
            _,
        ) => Failure::KeyRefused {
            server,
            id,
            origin,
            text: text.into(),
        },
        ("ExpiredTokenException", _) => Failure::KeyExpired {
            id,
            origin,
            text: text.into(),
        },
        ("AccessDeniedException", _) => Failure::Denied {
            server,
            id,
            text: text.into(),
        },
        ("ThrottlingException", _) | (_, TOO_MANY_REQUESTS | 500..) => {
            Failure::Unavailable { server, text }
        }
        _ => Failure::Refused { server, text },
    })
}

fn token(body: &[u8]) -> Option<Token> {
    let tokens: Tokens = serde_json::from_slice(body).ok()?;
    let first = tokens.authorization_data.first()?;
    let login = STANDARD.decode(&first.authorization_token).ok()?;
    let login = String::from_utf8(login).ok()?;
    match login.split_once(':')? {
        ("", _) | (_, "") => None,
        (user, password) => Some(Token {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
    }
}

/// The server's words on one line. Some servers show what was to be signed, and
/// the token of temporary credentials is a part of that.
fn shown(message: &str, kind: &str, key: &AccessKey) -> String {
    let mut text = plain(message);
    let secret = key.credentials.secret_access_key();
    for hidden in [Some(secret), key.credentials.session_token()] {
        if let Some(hidden) = hidden.filter(|hidden| !hidden.is_empty()) {
            text = text.replace(hidden, "...");
        }
    }
    if text.is_empty() {
        text = plain(kind);
    }
    if let Some((end, _)) = text.char_indices().nth(SERVER_TEXT_CHARS_MAX) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}
