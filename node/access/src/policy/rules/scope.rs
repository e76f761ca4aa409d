//! Which statements apply: actions, resources, variables; and what it costs.

use super::conditions::holds;
use super::{ALLOW, Case, DocumentKind, Source, ann, build, document, explicit, implicit, user};
use crate::policy::{Context, Decision, Document, Policies, Request, Resource, evaluate};

/// Whether a statement with these members, an allow of an identity, lets ann put.
fn allows(members: &str) -> bool {
    let statement = format!(r#"{{"Effect": "Allow", {members}}}"#);
    let case = Case {
        identity: &[&statement],
        ..Case::default()
    };
    case.decision() == ALLOW
}

#[test]
fn actions_are_patterns_without_case() {
    let cases = [
        (r#""Action": "ecr:PutImage""#, true),
        (r#""Action": "ECR:PUTIMAGE""#, true),
        (r#""Action": ["s3:*", "ecr:Put*"]"#, true),
        (r#""Action": "ecr:P?tImage""#, true),
        (r#""Action": "*""#, true),
        (r#""Action": "ecr:PutImageTag*""#, false),
        (r#""Action": "ecr-public:*""#, false),
        (r#""NotAction": "ecr:Get*""#, true),
        (r#""NotAction": ["iam:*", "ecr:Put*"]"#, false),
        (r#""NotAction": "*""#, false),
    ];
    for (action, expected) in cases {
        assert_eq!(
            allows(&format!(r#"{action}, "Resource": "*""#)),
            expected,
            "{action}"
        );
    }
}

#[test]
fn resources_are_patterns_with_case() {
    let cases = [
        (
            r#""Resource": "arn:aws:ecr:eu-west-1:111122223333:repository/team/app""#,
            true,
        ),
        (
            r#""Resource": "arn:aws:ecr:eu-west-1:111122223333:repository/team/*""#,
            true,
        ),
        (
            r#""Resource": "arn:aws:ecr:eu-west-1:111122223333:repository/team""#,
            false,
        ),
        (
            r#""Resource": "arn:aws:ecr:eu-west-1:111122223333:repository/Team/app""#,
            false,
        ),
        (r#""Resource": "arn:aws:ecr:*:*:repository/*/a?p""#, true),
        (r#""Resource": "arn:aws:ecr:us-*:*:repository/*""#, false),
        (
            r#""Resource": "arn:aws:ecr:*:999988887777:repository/*""#,
            false,
        ),
        (
            r#""Resource": ["arn:aws:s3:::x", "arn:aws:ecr:*:*:*"]"#,
            true,
        ),
        // What is missing is everything.
        (r#""Resource": "arn:aws:ecr""#, true),
        (r#""Resource": "arn:aws:ecr:eu-west-1""#, true),
        (r#""Resource": "arn:aws:ecr:us-east-1""#, false),
        (r#""Resource": "arn:aws:ecr:eu-west-1:*""#, true),
        // A star at the end of a part goes on beyond it.
        (
            r#""Resource": "arn:aws:ecr:eu-*:repository/team/app""#,
            true,
        ),
        (
            r#""NotResource": "arn:aws:ecr:*:*:repository/other/*""#,
            true,
        ),
        (
            r#""NotResource": "arn:aws:ecr:*:*:repository/team/*""#,
            false,
        ),
        (r#""NotResource": ["arn:aws:s3:::x", "*"]"#, false),
    ];
    for (resource, expected) in cases {
        assert_eq!(
            allows(&format!(r#""Action": "*", {resource}"#)),
            expected,
            "{resource}"
        );
    }
}

#[test]
fn variables_stand_for_keys() {
    let own =
        |path: &str| format!(r#""Action": "*", "Resource": "arn:aws:ecr:*:*:repository/{path}""#);
    let of = |who, path: &str| {
        let statement = format!(r#"{{"Effect": "Allow", {}}}"#, own(path));
        let case = Case {
            who: Some(who),
            resource: Some("arn:aws:ecr:eu-west-1:111122223333:repository/ann/app"),
            identity: &[&statement],
            ..Case::default()
        };
        case.decision() == ALLOW
    };
    assert!(of(ann(), "${aws:username}/*"));
    assert!(!of(user("111122223333", "/", "bob"), "${aws:username}/*"));
    // A role has no user name.
    assert!(!of(build(), "${aws:username}/*"));
    assert!(of(build(), "${aws:username, 'ann'}/*"));
    // A name with a star stands for itself.
    assert!(!of(user("111122223333", "/", "*"), "${aws:username}/app"));
    assert!(holds(
        r#""StringEquals": {"aws:x": "${aws:username}"}"#,
        &[("aws:x", "ann")]
    ));
    assert!(holds(
        r#""StringLike": {"aws:x": "${*}*"}"#,
        &[("aws:x", "*b")]
    ));
    assert!(!holds(
        r#""StringLike": {"aws:x": "${*}*"}"#,
        &[("aws:x", "b*")]
    ));
    assert!(holds(
        r#""ArnLike": {"aws:x": "arn:aws:iam::${aws:PrincipalAccount}:*"}"#,
        &[("aws:x", "arn:aws:iam::111122223333:root")]
    ));
}

#[test]
fn a_variable_without_value_lets_nobody_through() {
    let of_build = Case {
        who: Some(build()),
        ..Case::default()
    };
    let allow = |members: &str| format!(r#"{{"Effect": "Allow", "Action": "*", {members}}}"#);
    let deny = |members: &str| {
        let all = super::ALL;
        format!(r#"{all}, {{"Effect": "Deny", "Action": "*", {members}}}"#)
    };
    let not_own = r#""NotResource": "arn:aws:ecr:*:*:repository/${aws:username}/*""#;
    let own = r#""Resource": "arn:aws:ecr:*:*:repository/${aws:username}/*""#;
    let not_named =
        r#""Resource": "*", "Condition": {"StringNotEquals": {"aws:userid": "${aws:username}"}}"#;
    let not_like = r#""Resource": "*",
        "Condition": {"ArnNotLike": {"aws:userid": "arn:aws:iam::*:user/${aws:username}"}}"#;
    let cases = [
        (allow(not_own), implicit(Source::Identity)),
        (allow(own), implicit(Source::Identity)),
        (allow(not_named), implicit(Source::Identity)),
        (allow(not_like), implicit(Source::Identity)),
        (deny(not_own), explicit(Source::Identity)),
        (deny(own), ALLOW),
        (deny(not_named), explicit(Source::Identity)),
    ];
    for (statements, expected) in cases {
        let case = Case {
            identity: &[&statements],
            ..of_build.clone()
        };
        assert_eq!(case.decision(), expected, "{statements}");
    }
}

#[test]
fn the_old_version_knows_no_variables() {
    let statement = r#"{"Effect": "Allow", "Action": "*",
        "Resource": "arn:aws:ecr:*:*:repository/${aws:username}/*"}"#;
    let old = format!(r#"{{"Version": "2008-10-17", "Statement": {statement}}}"#);
    let none = format!(r#"{{"Statement": {statement}}}"#);
    let who = user("111122223333", "/", "team");
    let context = Context::new();
    let arn = super::APP.parse().unwrap();
    let request = Request {
        principal: &who,
        action: "ecr:PutImage",
        resource: Resource::One(&arn),
        context: &context,
    };
    let decide = |document: &Document| {
        evaluate(
            &request,
            &Policies {
                identity: &[document],
                ..Policies::default()
            },
        )
    };
    assert_eq!(decide(&document(statement, DocumentKind::Inline)), ALLOW);
    for text in [old, none] {
        let document = Document::parse(&text, DocumentKind::Inline).unwrap();
        assert_eq!(decide(&document), implicit(Source::Identity));
    }
}

/// What an answer costs is counted: once compiled, a document is never copied.
#[test]
fn a_typical_decision_takes_few_allocations() {
    let power_user = crate::policy::managed_policy(
        "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser",
    );
    let (_, power_user) = power_user.unwrap();
    let own = document(
        r#"{"Effect": "Allow", "Action": "ecr:*",
            "Resource": "arn:aws:ecr:*:*:repository/${aws:username}/*",
            "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}"#,
        DocumentKind::Inline,
    );
    let on_repository = document(
        r#"{"Effect": "Deny", "Action": "ecr:BatchDeleteImage",
            "Principal": {"AWS": "arn:aws:iam::111122223333:role/build"}}"#,
        DocumentKind::Repository,
    );
    let who = ann();
    let context = Context::new()
        .at(1_800_000_000_000)
        .with("aws:SourceIp", "10.1.2.3");
    let arn = super::APP.parse().unwrap();
    let request = Request {
        principal: &who,
        action: "ecr:PutImage",
        resource: Resource::One(&arn),
        context: &context,
    };
    let policies = Policies {
        identity: &[power_user, &own],
        resource: &[&on_repository],
        ..Policies::default()
    };
    let mut decision = None;
    let counted = allocation_counter::measure(|| decision = Some(evaluate(&request, &policies)));
    assert_eq!(decision, Some(Decision::Allow));
    assert!(counted.count_total <= 24, "{counted:?}");
    assert!(counted.bytes_total <= 2_048, "{counted:?}");
}
