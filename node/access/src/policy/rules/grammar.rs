//! Which documents are taken, and what is said of the others.

use super::{Document, DocumentKind, rows};
use crate::policy::{Problem, Version};

fn problem(text: &str, kind: DocumentKind) -> Problem {
    match Document::parse(text, kind) {
        Err(error) => error.problem,
        Ok(_) => panic!("{kind:?} is taken: {text}"),
    }
}

/// A document of one statement with these members.
fn one(members: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": [{{{members}}}]}}"#)
}

#[test]
fn documents_are_taken() {
    use DocumentKind::{Inline, Managed, Registry, Repository, Session, Trust};
    let plain = one(r#""Effect": "Allow", "Action": "ecr:*", "Resource": "*""#);
    let on_resource = one(r#""Effect": "Allow", "Action": "ecr:*", "Principal": "*""#);
    let rows = [
        (plain.clone(), vec![Managed, Inline, Session]),
        (
            r#"{"Statement": {"Effect": "Deny", "NotAction": "ecr:*", "NotResource": "*"}}"#
                .to_owned(),
            vec![Inline, Session],
        ),
        (
            r#"{"Id": "x", "Version": "2008-10-17", "Statement":
                {"Sid": "", "Effect": "Allow", "Action": "*", "Resource": "*"}}"#
                .to_owned(),
            vec![Inline],
        ),
        (on_resource.clone(), vec![Repository, Registry]),
        (
            one(
                r#""Effect": "Allow", "Action": "ecr:*", "Principal": {"AWS": "111122223333"},
                "Resource": "arn:aws:ecr:eu-west-1:111122223333:repository/*""#,
            ),
            vec![Repository, Registry],
        ),
        (
            one(
                r#""Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "x.amazonaws.com"}"#,
            ),
            vec![Trust],
        ),
    ];
    for (text, kinds) in rows {
        for kind in kinds {
            let document = Document::parse(&text, kind);
            assert!(document.is_ok(), "{kind:?} {document:?} {text}");
        }
    }
}

#[test]
fn sids_are_unique_but_on_resources() {
    let twice = |sid: &str, rest: &str| {
        let statement =
            format!(r#"{{"Sid": "{sid}", "Effect": "Allow", "Action": "ecr:*", {rest}}}"#);
        format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}, {statement}]}}"#)
    };
    let resource = r#""Resource": "*""#;
    assert_eq!(
        problem(&twice("a", resource), DocumentKind::Managed),
        Problem::SidTwice
    );
    assert_eq!(
        problem(&twice("a b", resource), DocumentKind::Inline),
        Problem::Sid
    );
    assert!(Document::parse(&twice("", resource), DocumentKind::Inline).is_ok());
    let everyone = r#""Principal": "*""#;
    for sid in ["a", "new statement"] {
        let taken = Document::parse(&twice(sid, everyone), DocumentKind::Repository);
        assert!(taken.is_ok(), "{taken:?}");
    }
}

#[test]
fn what_is_no_policy_is_a_syntax_error() {
    let good = r#""Effect": "Allow", "Action": "ecr:*", "Resource": "*""#;
    let rows = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
        r#"{"Version": "2012-10-17"}"#.to_owned(),
        r#"{"Version": "2012-10-17", "Statement": []}"#.to_owned(),
        r#"{"Version": "2012-10-17", "Statement": "x"}"#.to_owned(),
        r#"{"Version": "2012-10-17", "Statement": [[]]}"#.to_owned(),
        format!(r#"{{"Version": "2012-10-18", "Statement": {{{good}}}}}"#),
        format!(r#"{{"Version": 2012, "Statement": {{{good}}}}}"#),
        format!(r#"{{"version": "2012-10-17", "Statement": {{{good}}}}}"#),
        format!(r#"{{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": {{{good}}}}}"#),
        format!(r#"{{"Id": 1, "Version": "2012-10-17", "Statement": {{{good}}}}}"#),
        one(r#""Effect": "Permit", "Action": "ecr:*", "Resource": "*""#),
        one(r#""Action": "ecr:*", "Resource": "*""#),
        one(r#""Effect": "Allow", "effect": "Deny", "Action": "ecr:*", "Resource": "*""#),
        one(r#""Effect": "Allow", "Action": "ecr:*", "NotAction": "ecr:*", "Resource": "*""#),
        one(r#""Effect": "Allow", "Action": "ecr:*", "Resource": "*", "NotResource": "*""#),
        one(r#""Effect": "Allow", "Action": {"a": "b"}, "Resource": "*""#),
        one(r#""Effect": "Allow", "Action": [["ecr:*"]], "Resource": "*""#),
        one(r#""Effect": "Allow", "Action": null, "Resource": "*""#),
        one(&format!(r#"{good}, "Sid": 1"#)),
        one(&format!(r#"{good}, "Condition": []"#)),
        one(&format!(
            r#"{good}, "Condition": {{"StringIs": {{"aws:x": "a"}}}}"#
        )),
        one(&format!(
            r#"{good}, "Condition": {{"NullIfExists": {{"aws:x": "true"}}}}"#
        )),
        one(&format!(
            r#"{good}, "Condition": {{"ForAnyValue:Null": {{"aws:x": "true"}}}}"#
        )),
        one(&format!(
            r#"{good}, "Condition": {{"ForNoValue:StringLike": {{"aws:x": "a"}}}}"#
        )),
        one(&format!(r#"{good}, "Condition": {{"StringLike": ["a"]}}"#)),
        one(&format!(
            r#"{good}, "Condition": {{"StringLike": {{"aws:x": {{}}}}}}"#
        )),
        one(&format!(
            r#"{good}, "Condition": {{"StringLike": {{"aws:x": "${{aws:y"}}}}"#
        )),
    ];
    for text in rows {
        assert_eq!(
            problem(&text, DocumentKind::Managed),
            Problem::Syntax,
            "{text}"
        );
    }
}

/// Members of the one statement, for which kind, and what is said of them.
const PROBLEMS: &str = r#"
inline | "Effect": "allow", "Action": "*", "Resource": "*" | The policy failed legacy parsing
inline | ALL, "Condition": {"DateLessThan": {"aws:CurrentTime": "soon"}} | The policy failed legacy parsing
inline | ALL, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}} | The policy failed legacy parsing
inline | ALL, "Condition": {"NumericEquals": {"aws:x": "1e3"}} | The policy failed legacy parsing
inline | ALL, "Condition": {"Bool": {"aws:x": "yes"}} | The policy failed legacy parsing
inline | ALL, "Condition": {"Null": {"aws:x": "yes"}} | The policy failed legacy parsing
inline | ALL, "Condition": {"BinaryEquals": {"aws:x": "?"}} | The policy failed legacy parsing
inline | ALL, "Condition": {"StringLike": {"x": "a"}} | Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.
inline | "Effect": "Allow", "Resource": "*", "Action": "PutImage" | Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.
inline | "Effect": "Allow", "Resource": "*", "Action": "ecr:a:b" | Actions/Condition can contain only one colon.
inline | "Effect": "Allow", "Resource": "*", "Action": "e*r:PutImage" | Vendor e*r is not valid
inline | "Effect": "Allow", "Resource": "*", "Action": [] | Policy statement must contain actions.
inline | "Effect": "Allow", "Resource": "*" | Policy statement must contain actions.
inline | "Effect": "Allow", "Action": "*", "Resource": [] | Policy statement must contain resources.
inline | "Effect": "Allow", "Action": "*" | Policy statement must contain resources.
inline | "Effect": "Allow", "Action": "*", "Resource": "team/app" | Resource team/app must be in ARN format or "*".
inline | "Effect": "Allow", "Action": "*", "Resource": "arn:gcp:ecr:a:1:b" | Partition "gcp" is not valid for resource "arn:gcp:ecr:a:1:b".
inline | "Effect": "Allow", "Action": "*", "Resource": "arn:aws:e*:a:1:b" | Resource vendor must be fully qualified and cannot contain regexes.
inline | "Effect": "Allow", "Action": "*", "Resource": "arn:aws" | Resource vendor must be fully qualified and cannot contain regexes.
inline | ALL, "Principal": "*" | Policy document should not specify a principal.
trust | "Effect": "Allow", "Action": "sts:AssumeRole" | Missing required field Principal
trust | "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*", "Resource": "*" | Has prohibited field Resource
trust | "Effect": "Allow", "Action": "ecr:*", "Principal": "*" | AssumeRole policy may only specify STS AssumeRole actions.
trust | "Effect": "Allow", "NotAction": "sts:*", "Principal": "*" | AssumeRole policy may only specify STS AssumeRole actions.
trust | "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "ann"} | Invalid principal in policy: "AWS":"ann"
"#;

#[test]
fn each_problem_has_the_message_of_aws() {
    let all = r#""Effect": "Allow", "Action": "*", "Resource": "*""#;
    for row in rows(PROBLEMS) {
        let kind = match row[0] {
            "trust" => DocumentKind::Trust,
            _ => DocumentKind::Inline,
        };
        let text = one(&row[1].replace("ALL", all));
        let error = Document::parse(&text, kind).unwrap_err();
        assert_eq!(error.code(), "MalformedPolicyDocument");
        assert_eq!(error.message(), row[2], "{text}");
    }
    let old = format!(r#"{{"Statement": {{{all}}}}}"#);
    assert_eq!(problem(&old, DocumentKind::Managed), Problem::Version);
}

#[test]
fn each_kind_has_its_quota() {
    let long = format!(
        r#""Effect": "Allow", "Resource": "*", "Action": "ecr:{}""#,
        "a".repeat(11_000)
    );
    for (kind, code, max) in [
        (DocumentKind::Managed, "LimitExceeded", 6_144),
        (DocumentKind::Inline, "LimitExceeded", 10_240),
        (DocumentKind::Session, "PackedPolicyTooLarge", 2_048),
    ] {
        let error = Document::parse(&one(&long), kind).unwrap_err();
        assert_eq!(error.code(), code);
        let message = format!("Cannot exceed quota for PolicySize: {max}");
        assert_eq!(error.message(), message);
    }
}

#[test]
fn ecr_says_that_it_is_invalid() {
    let rows = [
        (
            DocumentKind::Repository,
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'",
        ),
        (
            DocumentKind::Registry,
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid registry policy provided'",
        ),
    ];
    for (kind, message) in rows {
        for text in ["{", &one(r#""Effect": "Allow", "Action": "ecr:*""#)] {
            let error = Document::parse(text, kind).unwrap_err();
            assert_eq!(
                (error.message().as_str(), error.code()),
                (message, "InvalidParameterException")
            );
        }
    }
}

#[test]
fn principals_are_whole_names() {
    let named = |principal: &str| {
        one(&format!(
            r#""Effect": "Allow", "Action": "ecr:*", "Principal": {principal}"#
        ))
    };
    for principal in [
        r#""ann""#,
        r#""111122223333""#,
        "{}",
        "[]",
        r#"{"AWS": []}"#,
        r#"{"AWS": ""}"#,
        r#"{"AWS": "1111"}"#,
        r#"{"AWS": "arn:aws:iam::111122223333:user/*"}"#,
        r#"{"AWS": "arn:aws:iam::111122223333:user/a?"}"#,
        r#"{"AWS": "arn:aws:iam::*:root"}"#,
        r#"{"AWS": "arn:aws:iam::111122223333:group/a"}"#,
        r#"{"AWS": "arn:aws:iam::111122223333:user/"}"#,
        r#"{"AWS": "arn:aws:iam:eu-west-1:111122223333:user/a"}"#,
        r#"{"AWS": "arn:aws:iam::aws:user/a"}"#,
        r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/build"}"#,
        r#"{"Service": "*"}"#,
        r#"{"Service": "ecr"}"#,
        r#"{"Federated": ""}"#,
        r#"{"Aws": "111122223333"}"#,
    ] {
        let text = named(principal);
        assert!(
            Document::parse(&text, DocumentKind::Repository).is_err(),
            "{principal}"
        );
    }
}

#[test]
fn blanks_count_in_ecr_alone() {
    let text = |blanks: usize, resource: &str| {
        one(&format!(
            r#""Effect": "Allow", "Action": "ecr:*", {resource}{}"#,
            " ".repeat(blanks)
        ))
    };
    let (on_identity, on_resource) = (r#""Resource": "*""#, r#""Principal": "*""#);
    assert!(Document::parse(&text(50_000, on_identity), DocumentKind::Managed).is_ok());
    let refused = problem(&text(50_000, on_resource), DocumentKind::Repository);
    assert_eq!(refused, Problem::TooLong { max: 10_240 });
    let refused = problem(&text(200_000, on_identity), DocumentKind::Managed);
    assert_eq!(refused, Problem::TooLong { max: 6_144 });
    let document = Document::parse(&text(9, on_identity), DocumentKind::Managed).unwrap();
    assert_eq!(document.version(), Version::V2012);
    assert_eq!(document.size(), text(0, on_identity).replace(' ', "").len());
    assert_eq!(document.kind(), DocumentKind::Managed);
}

#[test]
fn a_document_says_whom_it_names() {
    let text = one(
        r#""Effect": "Allow", "Action": "ecr:*", "Principal": {"Service": "x.amazonaws.com", "AWS": [
        "111122223333", "arn:aws:iam::111122223333:user/team/ann", "AIDAX", "*",
        "arn:aws:iam::999988887777:role/build", "arn:aws:sts::999988887777:assumed-role/build/ci"]}"#,
    );
    let document = Document::parse(&text, DocumentKind::Repository).unwrap();
    let named: Vec<&str> = document.identities().collect();
    assert_eq!(
        named,
        [
            "arn:aws:iam::111122223333:user/team/ann",
            "arn:aws:iam::999988887777:role/build",
        ]
    );
}
