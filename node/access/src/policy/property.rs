//! The evaluator against the naive one, over documents and requests made of few
//! words, so that they meet.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Map, Value, json};

use super::naive::{Texts, decide};
use super::{Context, Document, DocumentKind, Policies, Request, Resource, evaluate};
use crate::principal::tests::{session, user};
use crate::{Arn, Identity, Principal};

const CASES: u32 = 5_000;
const OWN: &str = "111122223333";
const OTHER: &str = "999988887777";

const ACTIONS: [&str; 4] = [
    "ecr:PutImage",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "sts:AssumeRole",
];
const ACTION_PATTERNS: [&str; 9] = [
    "*",
    "ecr:*",
    "ecr:Put*",
    "ECR:putimage",
    "ecr:*Image",
    "ecr:?etAuthorizationToken",
    "sts:*",
    "ecr:BatchGetImage",
    "*:*",
];
const RESOURCES: [&str; 4] = [
    "arn:aws:ecr:eu-west-1:111122223333:repository/ann/app",
    "arn:aws:ecr:eu-west-1:111122223333:repository/team/app",
    "arn:aws:ecr:us-east-1:999988887777:repository/team/app",
    "arn:aws:iam::111122223333:role/build",
];
const RESOURCE_PATTERNS: [&str; 14] = [
    "*",
    "*",
    "arn:aws:ecr:*:*:repository/*",
    "arn:aws:ecr:*:*:repository/${aws:username}/*",
    "arn:aws:ecr:*:*:repository/${aws:TagKeys}/app",
    "arn:aws:ecr:*:*:repository/${aws:missing, 'team'}/app",
    "arn:aws:ecr:*:${aws:PrincipalAccount}:repository/*",
    "arn:aws:ecr:eu-west-1:111122223333:*",
    "arn:aws:ecr:eu-west-1",
    "arn:aws:ecr",
    "arn:aws:ecr:*:repository/team/app",
    "arn:aws:ecr:us-*-1:*:repository/team/a?p",
    "arn:aws:iam::111122223333:role/build",
    "arn:*:ecr:*:*:repository/${*}",
];
const PRINCIPALS: [&str; 12] = [
    "*",
    OWN,
    OTHER,
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::999988887777:root",
    "arn:aws:iam::111122223333:user/ann",
    "arn:aws:iam::111122223333:user/team/bob",
    "arn:aws:iam::111122223333:role/build",
    "arn:aws:sts::111122223333:assumed-role/build/ci-1",
    "arn:aws:iam::999988887777:role/build",
    "AIDAANN",
    "AROABUILD",
];
const SERVICE: &str = "replication.ecr.amazonaws.com";

/// Operators that compare texts of a kind, keys, and values of policies and of
/// requests.
type Vocabulary = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);
const VOCABULARIES: [Vocabulary; 8] = [
    (
        &[
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringLike",
            "StringNotLike",
        ],
        &[
            "aws:TagKeys",
            "aws:ResourceTag/team",
            "aws:username",
            "aws:PrincipalType",
            "aws:userid",
        ],
        &[
            "a",
            "A",
            "b",
            "ann",
            "*",
            "a*",
            "?",
            "${aws:username}",
            "${aws:TagKeys}",
            "User",
            "${aws:missing, 'a'}",
            "AROA*:ci-1",
            "${*}",
        ],
    ),
    (
        &["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        &["aws:PrincipalArn", "aws:SourceArn", "aws:TagKeys"],
        &[
            "arn:aws:iam::111122223333:user/ann",
            "arn:aws:iam::*:user/*",
            "arn:aws:iam::${aws:PrincipalAccount}:role/*",
            "arn:aws:*:*:*:*",
        ],
    ),
    (
        &["IpAddress", "NotIpAddress"],
        &["aws:SourceIp", "aws:TagKeys"],
        &[
            "10.0.0.0/8",
            "10.1.2.3",
            "10.1.2.3/32",
            "2001:db8::/32",
            "0.0.0.0/0",
            "::/0",
        ],
    ),
    (
        &["Bool"],
        &[
            "aws:SecureTransport",
            "aws:PrincipalIsAWSService",
            "aws:TagKeys",
        ],
        &["true", "false", "TRUE"],
    ),
    (
        &["Null"],
        &[
            "aws:TagKeys",
            "aws:SourceIp",
            "aws:username",
            "aws:MissingKey",
        ],
        &["true", "false"],
    ),
    (
        &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
        &["aws:EpochTime", "aws:TagKeys"],
        &["1", "2", "2.0", "-1"],
    ),
    (
        &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
        &["aws:CurrentTime", "aws:TagKeys"],
        &[
            "2026-01-01T00:00:00Z",
            "2026-06-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        ],
    ),
    (
        &["BinaryEquals"],
        &["aws:TagKeys", "ecr:Blob"],
        &["AAAA", "AQID"],
    ),
];

const CONTEXT: [(&str, &[&str]); 10] = [
    ("aws:TagKeys", &["a", "b", "A", "ann", "team"]),
    ("AWS:tagkeys", &["a", "b", "c"]),
    ("aws:ResourceTag/team", &["a", "b", "*"]),
    (
        "aws:SourceArn",
        &[
            "arn:aws:iam::111122223333:user/ann",
            "arn:aws:ecr:a:1:b",
            "x",
        ],
    ),
    (
        "aws:SourceIp",
        &["10.1.2.3", "192.168.0.1", "2001:db8::1", "nowhere"],
    ),
    ("aws:SecureTransport", &["true", "false"]),
    ("aws:EpochTime", &["1", "2", "3", "soon"]),
    (
        "aws:CurrentTime",
        &["2026-01-01T00:00:00Z", "2026-08-01T00:00:00Z", "soon"],
    ),
    ("ecr:Blob", &["AAAA", "AQID", "?"]),
    // Nobody can say who they are.
    ("aws:username", &["ann"]),
];

fn principals() -> Vec<Principal> {
    let service = Principal {
        account: OWN.parse().unwrap(),
        identity: Identity::Service(SERVICE.to_owned()),
    };
    vec![
        Principal::root(OWN.parse().unwrap()),
        Principal::root(OTHER.parse().unwrap()),
        user(OWN, "/", "ann"),
        user(OWN, "/", "ann"),
        user(OWN, "/team/", "bob"),
        user(OTHER, "/", "ann"),
        session(OWN, "build", "ci-1"),
        session(OWN, "build", "ci-2"),
        session(OTHER, "build", "ci-1"),
        Principal::anonymous(OWN.parse().unwrap()),
        service,
    ]
}

// === strategies ===

/// One text, or a list.
fn texts(words: Vec<&'static str>, max: usize) -> impl Strategy<Value = Value> {
    let word = select(words);
    (vec(word, 1..=max), any::<bool>()).prop_map(|(words, is_list)| match &words[..] {
        [word] if !is_list => json!(word),
        words => json!(words),
    })
}

fn named(
    names: [&'static str; 2],
    rarely: u32,
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = (String, Value)> {
    (0..rarely, value)
        .prop_map(move |(draw, value)| (names[usize::from(draw == 0)].to_owned(), value))
}

fn condition() -> impl Strategy<Value = (String, String, Value)> {
    select(VOCABULARIES.to_vec()).prop_flat_map(|(operators, keys, values)| {
        let operator = (
            select(vec!["", "", "ForAllValues:", "ForAnyValue:"]),
            select(operators.to_vec()),
            select(vec!["", "", "IfExists"]),
        );
        let operator = operator.prop_map(|(set, name, suffix)| match name {
            "Null" => name.to_owned(),
            name => format!("{set}{name}{suffix}"),
        });
        (
            operator,
            select(keys.to_vec()).prop_map(str::to_owned),
            texts(values.to_vec(), 2),
        )
    })
}

fn conditions() -> impl Strategy<Value = Value> {
    vec(condition(), 0..3).prop_map(|conditions| {
        let mut block: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (operator, key, values) in conditions {
            block.entry(operator).or_default().insert(key, values);
        }
        json!(block)
    })
}

fn principal_member() -> impl Strategy<Value = Value> {
    let aws = texts(PRINCIPALS.to_vec(), 2);
    (aws, 0..8_u32).prop_map(|(aws, draw)| match draw {
        0 => json!("*"),
        1 => json!({"Service": SERVICE}),
        2 => json!({"AWS": aws, "Service": [SERVICE], "Federated": "accounts.example.com"}),
        _ => json!({"AWS": aws}),
    })
}

fn statement(of_resource: bool) -> impl Strategy<Value = Value> {
    let effect = select(vec!["Allow", "Allow", "Allow", "Deny"]);
    let action = named(
        ["Action", "NotAction"],
        6,
        texts(ACTION_PATTERNS.to_vec(), 2),
    );
    let resource = named(
        ["Resource", "NotResource"],
        5,
        texts(RESOURCE_PATTERNS.to_vec(), 2),
    );
    let principal = named(["Principal", "NotPrincipal"], 6, principal_member());
    let condition = weighted(0.4, conditions());
    (
        effect,
        action,
        weighted(0.7, resource),
        principal,
        condition,
    )
        .prop_map(move |(effect, action, resource, principal, condition)| {
            let mut members = Map::from_iter([("Effect".to_owned(), json!(effect)), action]);
            match resource {
                Some((name, value)) => members.insert(name, value),
                None if of_resource => None,
                None => members.insert("Resource".to_owned(), json!("*")),
            };
            members.extend(of_resource.then_some(principal));
            members.extend(condition.map(|value| ("Condition".to_owned(), value)));
            Value::Object(members)
        })
}

fn document(of_resource: bool) -> impl Strategy<Value = Value> {
    let version = select(vec!["2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"]);
    (version, vec(statement(of_resource), 1..4), any::<bool>()).prop_map(
        |(version, statements, is_list)| match &statements[..] {
            [statement] if !is_list => json!({"Version": version, "Statement": statement}),
            statements => json!({"Version": version, "Statement": statements}),
        },
    )
}

fn all_texts() -> impl Strategy<Value = Texts> {
    (
        vec(document(false), 0..3),
        weighted(0.25, document(false)),
        weighted(0.25, document(false)),
        vec(document(true), 0..3),
        proptest::bool::weighted(0.15),
    )
        .prop_map(
            |(identity, boundary, session, resource, resource_must_allow)| Texts {
                identity,
                boundary,
                session,
                resource,
                resource_must_allow,
            },
        )
}

fn context() -> impl Strategy<Value = Vec<(String, String)>> {
    let pair = select(CONTEXT.to_vec()).prop_flat_map(|(key, values)| {
        (
            Just(key.to_owned()),
            select(values.to_vec()).prop_map(str::to_owned),
        )
    });
    vec(pair, 0..8)
}

// === the test ===

fn parsed(texts: &[&Value], kind: DocumentKind) -> Vec<Document> {
    let parse = |text: &&Value| {
        Document::parse(&text.to_string(), kind).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    texts.iter().map(parse).collect()
}

#[test]
fn decides_as_the_naive_evaluator_does() {
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let tally: RefCell<BTreeMap<String, u32>> = RefCell::default();
    let resource = weighted(0.85, select(RESOURCES.to_vec()));
    let strategy = (
        select(principals()),
        select(ACTIONS.to_vec()),
        resource,
        context(),
        all_texts(),
    );
    let ran = runner.run(&strategy, |(principal, action, resource, pairs, texts)| {
        let mut context = Context::new();
        for (key, value) in &pairs {
            context.insert(key, value);
        }
        let arn: Option<Arn> = resource.map(|resource| resource.parse().unwrap());
        let request = Request {
            principal: &principal,
            action,
            resource: arn.as_ref().map_or(Resource::Any, Resource::One),
            context: &context,
        };
        let identity = parsed(
            &texts.identity.iter().collect::<Vec<_>>(),
            DocumentKind::Inline,
        );
        let others: Vec<&Value> = texts.boundary.iter().chain(&texts.session).collect();
        let others = parsed(&others, DocumentKind::Inline);
        let on_resource = parsed(
            &texts.resource.iter().collect::<Vec<_>>(),
            DocumentKind::Registry,
        );
        let (mut boundary, mut session) = (others.first(), others.get(1));
        if texts.boundary.is_none() {
            (boundary, session) = (None, boundary);
        }
        let decision = evaluate(
            &request,
            &Policies {
                identity: &identity.iter().collect::<Vec<_>>(),
                boundary,
                session,
                resource: &on_resource.iter().collect::<Vec<_>>(),
                resource_must_allow: texts.resource_must_allow,
            },
        );
        let expected = decide(&request, &pairs, &texts);
        if decision != expected {
            return Err(TestCaseError::fail(format!(
                "{decision:?}, naively {expected:?}"
            )));
        }
        *tally
            .borrow_mut()
            .entry(format!("{decision:?}"))
            .or_default() += 1;
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    // Every outcome was met, and not by accident.
    let tally = tally.into_inner();
    assert_eq!(tally.len(), 9, "{tally:?}");
    for (decision, count) in &tally {
        assert!(*count >= CASES / 200, "{decision}: {tally:?}");
    }
}
