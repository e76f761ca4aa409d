//! Hostile bytes: documents as anybody who may put a policy can send them. What is
//! taken is asked about, and the answer costs no more than the sizes say.

use std::fmt::Write as _;

use entrepot_fuzz::{Verdict, target, uncounted};

use super::{Context, Document, DocumentKind, Policies, Request, Resource, evaluate};
use crate::principal::tests::user;

const KINDS: [DocumentKind; 6] = [
    DocumentKind::Managed,
    DocumentKind::Inline,
    DocumentKind::Session,
    DocumentKind::Trust,
    DocumentKind::Repository,
    DocumentKind::Registry,
];
/// Four bytes a character, two excerpts, and the sentence around them.
const ERROR_BYTES_MAX: usize = 1_200;
/// A list of `"*"` is compiled into some hundred bytes for each, and a document
/// is read as every kind in turn.
const MEMORY: (u64, u64) = (64 * 1024, 200);

const PLAIN: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow",
    "Action":["ecr:*"],"Resource":"arn:aws:ecr:*:*:repository/${aws:username}/*",
    "Condition":{"ForAnyValue:StringLikeIfExists":{"aws:TagKeys":["a*","${aws:userid,'x'}"]},
    "IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"DateLessThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"},
    "NumericEquals":{"aws:EpochTime":1},"Bool":{"aws:SecureTransport":true},
    "ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"},"Null":{"aws:x":"true"}}}]}"#;
const ON_A_REPOSITORY: &str = r#"{"Version":"2008-10-17","Statement":{"Sid":"all of it","Effect":"Deny",
    "NotPrincipal":{"AWS":["111122223333","arn:aws:iam::111122223333:user/ann"],
    "Service":"replication.ecr.amazonaws.com"},"NotAction":"ecr:Get*"}}"#;
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;

/// As dear as ten thousand characters get: many pieces that almost fit.
fn dear(pattern: &str, times: usize) -> String {
    let mut text = "arn:aws:ecr:*:*:repository/".to_owned();
    for _ in 0..times {
        let _ = write!(text, "{pattern}");
    }
    format!(r#"{{"Statement":{{"Effect":"Allow","Action":"ecr:*","Resource":"{text}b"}}}}"#)
}

/// Each of them is looked for in each tag, and found in none.
fn many_patterns() -> String {
    let patterns = [r#""*a*a*b""#; 1_000].join(",");
    format!(
        r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"*",
        "Condition":{{"ForAnyValue:StringLike":{{"aws:TagKeys":[{patterns}]}}}}}}}}"#
    )
}

fn context(values: usize) -> Context {
    let mut context = Context::new().at(1_800_000_000_000);
    for _ in 0..values {
        context.insert("aws:TagKeys", "a".repeat(128));
    }
    context.insert("aws:SourceIp", "10.1.2.3");
    context
}

#[test]
fn policy_document() {
    let principal = user("111122223333", "/", "ann");
    let long = format!("arn:aws:ecr:a:111122223333:repository/{}", "a".repeat(256));
    let arn = long.parse().unwrap();
    let context = context(50);
    let request = Request {
        principal: &principal,
        action: "ecr:PutImage",
        resource: Resource::One(&arn),
        context: &context,
    };
    let tags = format!(
        r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"*",
        "Condition":{{"ForAnyValue:StringLike":{{"aws:TagKeys":"{}b"}}}}}}}}"#,
        "?*a".repeat(3_000)
    );
    target!("policy-document")
        .seed("good-plain", PLAIN)
        .seed("good-on-a-repository", ON_A_REPOSITORY)
        .seed("good-trust", TRUST)
        .seed("good-many-stars", dear("*a", 4_900))
        .seed("good-many-marks", dear("*?a", 3_200))
        .seed("good-one-long-piece", dear("?", 9_000))
        .seed("good-many-tags", tags)
        .seed("good-many-patterns", many_patterns())
        .seed(
            "bad-deep",
            format!("{{\"Statement\":{}", "[".repeat(20_000)),
        )
        .seed("bad-long", " ".repeat(200_000))
        .seed("bad-twice", r#"{"Statement":[],"Statement":[]}"#)
        .words([
            "\"Effect\":\"Allow\",",
            "\"NotAction\":",
            "\"NotResource\":",
            "\"NotPrincipal\":",
            "\"Principal\":\"*\",",
            "\"Condition\":{",
            "ForAllValues:",
            "IfExists",
            "${aws:username}",
            "arn:aws:ecr:",
            "*",
            "?",
            "2012-10-17",
            "2008-10-17",
            "[",
            "{",
            "\\u0000",
        ])
        .longest(24 * 1024)
        .memory(MEMORY.0, MEMORY.1)
        .check_text(|text| {
            let mut is_taken = false;
            for kind in KINDS {
                match Document::parse(text, kind) {
                    Ok(document) => {
                        is_taken = true;
                        assert!(document.size() <= kind.size_max());
                        let own = [&document];
                        uncounted(|| {
                            let policies = Policies {
                                identity: &own,
                                ..Policies::default()
                            };
                            let _ = evaluate(&request, &policies);
                            let policies = Policies {
                                resource: &own,
                                ..Policies::default()
                            };
                            let _ = evaluate(&request, &policies);
                        });
                    }
                    Err(error) => {
                        assert!(format!("{error} {error:?}").len() <= ERROR_BYTES_MAX);
                        assert!(error.message().len() <= ERROR_BYTES_MAX);
                    }
                }
            }
            Verdict::taken(is_taken)
        });
}
