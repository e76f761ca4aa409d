//! AWS's own signing test suite: every request of it, signed in its headers and in
//! its query. `suite.json` holds the requests and what AWS says of them (from
//! "aws-signing-test-suite", Apache-2.0, as published with the crate `aws-sigv4`),
//! but for two: one with a folded header, which no HTTP server lets in here, and
//! one whose session token is not signed, which is refused.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Message, PathStyle, Payload, Signature, Signer, canonical};
use crate::Secret;

const SUITE: &str = include_str!("suite.json");
/// 2015-08-30T12:36:00Z
const NOW: i64 = 1_440_938_160_000;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    normalize: bool,
    canonical: String,
    header_signature: String,
    query_signature: String,
    token: Option<String>,
}

impl Case {
    fn style(&self) -> PathStyle {
        PathStyle {
            normalize: self.normalize,
            // The suite escapes a path once, wherever it has its escapes from.
            encode: !self.path.contains('%'),
        }
    }

    fn payload(&self) -> Payload {
        Payload::Sha256(Sha256::digest(self.body.as_bytes()).into())
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let headers = self.headers.iter();
        let wanted = headers.filter(|(name, _)| !is_added(name));
        wanted
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    fn message<'a>(&'a self, headers: &'a [(&'a str, &'a str)]) -> Message<'a> {
        Message {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers,
        }
    }
}

/// Headers that signing adds.
fn is_added(name: &str) -> bool {
    ["x-amz-date", "x-amz-security-token"]
        .iter()
        .any(|added| name.eq_ignore_ascii_case(added))
}

fn each(check: impl Fn(&Case, &Signer<'_>, &Secret)) {
    let cases: Vec<Case> = serde_json::from_str(SUITE).unwrap();
    assert_eq!(cases.len(), 36);
    let secret = Secret::new(SECRET.to_owned());
    for case in &cases {
        let signer = Signer {
            key_id: "AKIDEXAMPLE",
            secret: &secret,
            session_token: case.token.as_deref(),
            region: "us-east-1",
            service: "service",
            style: case.style(),
        };
        check(case, &signer, &secret);
    }
}

#[test]
fn signs_and_verifies_headers_as_aws_does() {
    each(|case, signer, secret| {
        let mut headers = case.headers();
        let hash = match case.payload() {
            Payload::Sha256(hash) => canonical::hex(&hash),
            Payload::Unsigned => unreachable!("the suite signs its bodies"),
        };
        if case.canonical.contains("x-amz-content-sha256:") {
            headers.push(("x-amz-content-sha256", &hash));
        }
        let added = signer.headers(&case.message(&headers), case.payload(), NOW);
        headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        let message = case.message(&headers);
        let read = Signature::read(&message).unwrap();
        let signed: Vec<&str> = read.signed_headers.iter().map(String::as_str).collect();
        let request = canonical::request(&message, &signed, case.payload(), case.style());
        assert_eq!(request, case.canonical, "{}", case.name);
        assert_eq!(read.digits, case.header_signature, "{}", case.name);
        assert_eq!(read.session_token(), case.token.as_deref());
        let verified = read.verify(&message, case.payload(), Some(secret), case.style(), NOW);
        assert_eq!(verified, Ok(()), "{}", case.name);
    });
}

#[test]
fn signs_and_verifies_queries_as_aws_does() {
    each(|case, signer, secret| {
        let headers = case.headers();
        let query = signer.query(&case.message(&headers), case.payload(), 3600, NOW);
        let message = Message {
            query: &query,
            ..case.message(&headers)
        };
        let read = Signature::read(&message).unwrap();
        assert_eq!(read.digits, case.query_signature, "{}", case.name);
        assert_eq!(read.session_token(), case.token.as_deref());
        let verified = read.verify(&message, case.payload(), Some(secret), case.style(), NOW);
        assert_eq!(verified, Ok(()), "{}", case.name);
    });
}
