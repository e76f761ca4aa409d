//! Signing: for URLs that are handed out, and for requests of nodes and tests.

use std::fmt::{self, Write as _};

use super::canonical::{self, encoded};
use super::{ALGORITHM, Message, PathStyle, Payload, Scope, UNSIGNED, basic_time};
use crate::Secret;

/// Signs with one key, for one service in one region.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub key_id: &'a str,
    pub secret: &'a Secret,
    pub session_token: Option<&'a str>,
    pub region: &'a str,
    pub service: &'a str,
    pub style: PathStyle,
}

// === impl Signer ===

impl Signer<'_> {
    /// The headers that `message` lacks: `x-amz-date`, with temporary credentials
    /// `x-amz-security-token`, where the body is not signed
    /// `x-amz-content-sha256`, and `authorization`. Signs all headers that it
    /// has; `host` must be among them.
    pub fn headers(
        &self,
        message: &Message<'_>,
        payload: Payload,
        now_ms: i64,
    ) -> Vec<(&'static str, String)> {
        let time = basic_time(now_ms);
        let mut added = vec![("x-amz-date", time.clone())];
        if let Some(token) = self.session_token {
            added.push(("x-amz-security-token", token.to_owned()));
        }
        if payload == Payload::Unsigned {
            added.push(("x-amz-content-sha256", UNSIGNED.to_owned()));
        }
        let mut headers = message.headers.to_vec();
        headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        let message = Message {
            headers: &headers,
            ..*message
        };
        let names = names(&message);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let scope = self.scope(&time);
        let request = canonical::request(&message, &names, payload, self.style);
        let signature = canonical::signature(&request, &time, &scope, self.secret);
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            self.key_id,
            names.join(";"),
        );
        added.push(("authorization", authorization));
        added
    }

    /// The query of a presigned request: that of `message` with what makes it
    /// one, good for `expires_s` seconds. Signs all headers that `message` has;
    /// whoever uses it has to send them.
    pub fn query(
        &self,
        message: &Message<'_>,
        payload: Payload,
        expires_s: i64,
        now_ms: i64,
    ) -> String {
        let time = basic_time(now_ms);
        let scope = self.scope(&time);
        let names = names(message);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut query = match message.query {
            "" => String::new(),
            query => format!("{query}&"),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            query,
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={time}\
             &X-Amz-Expires={expires_s}&X-Amz-SignedHeaders={}",
            encoded(&format!("{}/{scope}", self.key_id)),
            encoded(&names.join(";")),
        );
        if let Some(token) = self.session_token {
            query.push_str("&X-Amz-Security-Token=");
            query.push_str(&encoded(token));
        }
        let message = Message {
            query: &query,
            ..*message
        };
        let request = canonical::request(&message, &names, payload, self.style);
        let signature = canonical::signature(&request, &time, &scope, self.secret);
        format!("{query}&X-Amz-Signature={signature}")
    }

    fn scope(&self, time: &str) -> Scope {
        Scope {
            date: time.chars().take(8).collect(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        }
    }
}

impl fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// In lower case, sorted, each once.
fn names(message: &Message<'_>) -> Vec<String> {
    let mut names: Vec<String> = message
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
