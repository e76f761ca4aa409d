//! The id of a request: in its answer, in each of its log lines, and the one
//! thing that an error of this node's says about itself.
//!
//! A client, or a proxy before it, may bring its own, so that its logs and ours
//! meet. The invariant: an id can stand in a header and in a log line as it is.

use std::fmt;

/// Of a client's id; others use UUIDs, trace ids and the like.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// What one request is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

// === impl RequestId ===

impl RequestId {
    /// Where front ends look for it, and where they put it.
    pub const HEADER: &'static str = "x-request-id";

    /// What the client sent, if it is well-formed, else a new one: 16 hex digits.
    pub fn of(sent: Option<&str>) -> Self {
        sent.filter(|text| is_well_formed(text))
            .map_or_else(Self::random, |text| Self(text.to_owned()))
    }

    fn random() -> Self {
        // Without randomness the id is merely less useful.
        Self(format!("{:016x}", getrandom::u64().unwrap_or_default()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Nothing that could end a field of a log line, or begin another.
fn is_well_formed(text: &str) -> bool {
    (1..=CLIENT_ID_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::{CLIENT_ID_BYTES_MAX, RequestId};

    fn id(sent: &str) -> RequestId {
        RequestId::of(Some(sent))
    }

    #[test]
    fn a_clients_id_is_kept() {
        let longest = "x".repeat(CLIENT_ID_BYTES_MAX);
        for sent in [
            "7",
            "0af7651916cd43dd",
            "b9c7c9f0-9d6c-4b6f-8d5e-0f5b7a1c2d3e",
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            "a.b:c/d_e+f=",
            &longest,
        ] {
            assert_eq!(id(sent).as_str(), sent);
        }
    }

    #[test]
    fn what_could_be_mistaken_in_a_log_is_not() {
        let too_long = "x".repeat(CLIENT_ID_BYTES_MAX + 1);
        for sent in [
            "", "a b", "a\tb", "a\"b", "{a}", "a,b", "a;b", "\u{e9}", &too_long,
        ] {
            let id = id(sent);
            assert_eq!(id.as_str().len(), 16, "{sent:?}");
            assert!(id.as_str().bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
        assert_ne!(RequestId::of(None), RequestId::of(None));
    }
}
