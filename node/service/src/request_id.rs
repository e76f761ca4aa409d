//! The id of a request: in its answer, in each of its log lines, and the one
//! thing that an error of this node's says about itself.
//!
//! A client, or a proxy before it, may bring its own, so that its logs and ours
//! meet. The invariant: an id can stand in a header and in a log line as it is.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Registry;

/// Of a client's id; others use UUIDs, trace ids and the like.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// What one request is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

/// Draws ids, each once, from where chance began: a call of the system for each
/// is a good part of what a small answer costs.
#[derive(Debug)]
pub(crate) struct RequestIds(AtomicU64);

/// Odd, so that all numbers have their turn.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

// === impl RequestId ===

impl RequestId {
    /// Where front ends look for it, and where they put it.
    pub const HEADER: &'static str = "x-request-id";

    /// What the client sent, if it is well-formed, else a new one: 16 hex digits.
    pub fn of(sent: Option<&str>) -> Self {
        Self::sent(sent).unwrap_or_else(|| Self::new(random()))
    }

    fn sent(sent: Option<&str>) -> Option<Self> {
        let sent = sent.filter(|text| is_well_formed(text));
        sent.map(|text| Self(text.to_owned()))
    }

    fn new(number: u64) -> Self {
        Self(format!("{number:016x}"))
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

// === impl RequestIds ===

impl RequestIds {
    /// As [`RequestId::of`].
    pub(crate) fn of(&self, sent: Option<&str>) -> RequestId {
        RequestId::sent(sent).unwrap_or_else(|| {
            let number = self.0.fetch_add(STEP, Ordering::Relaxed);
            RequestId::new(mixed(number))
        })
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self(AtomicU64::new(random()))
    }
}

impl Registry {
    /// The id of a request that brought `sent`, if it did: as [`RequestId::of`],
    /// for less.
    pub fn request_id(&self, sent: Option<&str>) -> RequestId {
        self.request_ids.of(sent)
    }
}

/// Without randomness an id is merely less useful.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// Another number for each (splitmix64).
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
    use std::collections::HashSet;

    use super::{CLIENT_ID_BYTES_MAX, RequestId, RequestIds};

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

    #[test]
    fn each_is_drawn_once() {
        let (one, other) = (RequestIds::default(), RequestIds::default());
        let drawn = (0..1000).flat_map(|_| [one.of(None), other.of(Some("not well-formed"))]);
        let drawn: Vec<String> = drawn.map(|id| id.to_string()).collect();
        assert!(drawn.iter().all(|id| id.len() == 16));
        let different: HashSet<&String> = drawn.iter().collect();
        assert_eq!(different.len(), 2000);
        assert_eq!(one.of(Some("7")).as_str(), "7");
    }
}
