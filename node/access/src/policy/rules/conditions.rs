//! Which conditions hold.

use super::{ALLOW, Case, build, rows, service};

/// Whether a condition holds over these keys.
pub(super) fn holds(condition: &str, context: &[(&str, &str)]) -> bool {
    let statement = format!(
        r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {{{condition}}}}}"#
    );
    let case = Case {
        context,
        identity: &[&statement],
        ..Case::default()
    };
    case.decision() == ALLOW
}

/// Rows of a condition, the value of the key `aws:x`, and whether it holds.
fn check(table: &str) {
    for row in rows(table) {
        let [condition, value, expected] = row[..] else {
            panic!("{row:?}");
        };
        let held = holds(condition, &[("aws:x", value)]);
        assert_eq!(held.to_string(), expected, "{row:?}");
    }
}

#[test]
fn texts_are_compared() {
    check(
        r#"
        "StringEquals": {"aws:x": "a"} | a | true
        "StringEquals": {"AWS:X": "a"} | a | true
        "stringequals": {"aws:x": "a"} | a | true
        "StringEquals": {"aws:x": "a"} | A | false
        "StringEquals": {"aws:x": ["b", "a"]} | a | true
        "StringEquals": {"aws:x": "a*"} | ab | false
        "StringEquals": {"aws:x": "a*"} | a* | true
        "StringEquals": {"aws:x": true} | true | true
        "StringNotEquals": {"aws:x": ["a", "b"]} | b | false
        "StringNotEquals": {"aws:x": ["a", "b"]} | c | true
        "StringEqualsIgnoreCase": {"aws:x": "aÉ"} | Aé | true
        "StringNotEqualsIgnoreCase": {"aws:x": "a"} | A | false
        "StringLike": {"aws:x": "a*c?"} | abcd | true
        "StringLike": {"aws:x": "a*"} | Ab | false
        "StringLike": {"aws:x": ""} |  | true
        "StringNotLike": {"aws:x": ["x*", "a*"]} | ab | false
        "BinaryEquals": {"aws:x": "AQID"} | AQID | true
        "BinaryEquals": {"aws:x": "AQID"} | AQIE | false
        "BinaryEquals": {"aws:x": "AQID"} | ? | false
        "Bool": {"aws:x": "true"} | TRUE | true
        "Bool": {"aws:x": false} | true | false
        "Bool": {"aws:x": "false"} | no | false
        "#,
    );
}

#[test]
fn numbers_and_dates_are_compared() {
    check(
        r#"
        "NumericEquals": {"aws:x": 10} | 10.0 | true
        "NumericNotEquals": {"aws:x": ["9", "10"]} | 10 | false
        "NumericNotEquals": {"aws:x": "9"} | ten | true
        "NumericLessThan": {"aws:x": "10"} | 9.5 | true
        "NumericLessThan": {"aws:x": "10"} | 10 | false
        "NumericLessThanEquals": {"aws:x": "10"} | 10 | true
        "NumericGreaterThan": {"aws:x": "-1"} | 0 | true
        "NumericGreaterThanEquals": {"aws:x": "1"} | 0.9 | false
        "NumericGreaterThan": {"aws:x": "1"} | inf | false
        "DateEquals": {"aws:x": "2026-01-01T00:00:00Z"} | 2026-01-01T01:00:00+01:00 | true
        "DateNotEquals": {"aws:x": "2026"} | 2026-01-01 | false
        "DateLessThan": {"aws:x": "2026-01-02"} | 2026-01-01T23:59:59Z | true
        "DateLessThanEquals": {"aws:x": "2026-01-02"} | 2026-01-02 | true
        "DateGreaterThan": {"aws:x": "1767225600"} | 2026-01-01T00:00:01Z | true
        "DateGreaterThanEquals": {"aws:x": "2026-01-01"} | 2025-12-31 | false
        "DateGreaterThan": {"aws:x": "2026-01-01"} | never | false
        "#,
    );
}

#[test]
fn addresses_and_arns_are_compared() {
    check(
        r#"
        "IpAddress": {"aws:x": "203.0.113.0/24"} | 203.0.113.9 | true
        "IpAddress": {"aws:x": "203.0.113.0/24"} | 203.0.114.9 | false
        "IpAddress": {"aws:x": "203.0.113.9"} | ::ffff:203.0.113.9 | true
        "IpAddress": {"aws:x": ["10.0.0.0/8", "2001:db8::/32"]} | 2001:db8:1::1 | true
        "IpAddress": {"aws:x": "0.0.0.0/0"} | 2001:db8::1 | false
        "IpAddress": {"aws:x": "0.0.0.0/0"} | unknown | false
        "NotIpAddress": {"aws:x": "10.0.0.0/8"} | 11.0.0.1 | true
        "NotIpAddress": {"aws:x": ["11.0.0.0/8", "10.0.0.0/8"]} | 11.0.0.1 | false
        "ArnLike": {"aws:x": "arn:aws:ecr:*:111122223333:repository/*"} | arn:aws:ecr:a:111122223333:repository/b | true
        "ArnEquals": {"aws:x": "arn:aws:ecr:*:1*:repository/*"} | arn:aws:ecr:a:111122223333:repository/b | true
        # A star does not reach over a colon.
        "ArnLike": {"aws:x": "arn:aws:sns:*:1:topic"} | arn:aws:sns:a:2:x:1:topic | false
        "ArnLike": {"aws:x": "arn:aws:sns"} | arn:aws:sns:a:1:topic | true
        "ArnLike": {"aws:x": "*"} | no ARN | false
        "ArnNotLike": {"aws:x": "arn:aws:sns:*:*:*"} | no ARN | true
        "ArnNotEquals": {"aws:x": "arn:aws:sns:*:*:*"} | arn:aws:sns:a:1:topic | false
        "#,
    );
}

#[test]
fn a_missing_key_is_no_match() {
    let cases = [
        (r#""StringEquals": {"aws:x": "a"}"#, false),
        (r#""StringNotEquals": {"aws:x": "a"}"#, true),
        (r#""StringNotLike": {"aws:x": "*"}"#, true),
        (r#""NotIpAddress": {"aws:x": "0.0.0.0/0"}"#, true),
        (r#""ArnNotLike": {"aws:x": "arn:aws:s3:::*"}"#, true),
        (r#""NumericNotEquals": {"aws:x": "1"}"#, true),
        (r#""DateLessThan": {"aws:x": "2030"}"#, false),
        (r#""Bool": {"aws:x": "false"}"#, false),
        (r#""StringEqualsIfExists": {"aws:x": "a"}"#, true),
        (r#""BoolIfExists": {"aws:x": "true"}"#, true),
        (r#""StringNotEqualsIfExists": {"aws:x": "a"}"#, true),
        (r#""ForAllValues:StringEquals": {"aws:x": "a"}"#, true),
        (r#""ForAllValues:StringNotEquals": {"aws:x": "a"}"#, true),
        (r#""ForAnyValue:StringEquals": {"aws:x": "a"}"#, false),
        (r#""ForAnyValue:StringNotEquals": {"aws:x": "a"}"#, false),
        (
            r#""ForAnyValue:StringEqualsIfExists": {"aws:x": "a"}"#,
            true,
        ),
        (r#""Null": {"aws:x": "true"}"#, true),
        (r#""Null": {"aws:x": "false"}"#, false),
        (r#""Null": {"aws:x": ["false", "true"]}"#, true),
    ];
    for (condition, expected) in cases {
        assert_eq!(holds(condition, &[]), expected, "{condition}");
    }
    check(
        r#"
        "StringEqualsIfExists": {"aws:x": "a"} | b | false
        "Null": {"aws:x": "true"} | a | false
        "Null": {"aws:x": "false"} | a | true
        "#,
    );
}

#[test]
fn several_values_are_a_set() {
    let tags: &[(&str, &str)] = &[("aws:TagKeys", "a"), ("aws:tagkeys", "b")];
    let cases = [
        (
            r#""ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b", "c"]}"#,
            true,
        ),
        (
            r#""ForAllValues:StringEquals": {"aws:TagKeys": ["a", "c"]}"#,
            false,
        ),
        (
            r#""ForAnyValue:StringEquals": {"aws:TagKeys": ["c", "b"]}"#,
            true,
        ),
        (r#""ForAnyValue:StringEquals": {"aws:TagKeys": "c"}"#, false),
        (
            r#""ForAllValues:StringNotEquals": {"aws:TagKeys": "c"}"#,
            true,
        ),
        (
            r#""ForAllValues:StringNotEquals": {"aws:TagKeys": "b"}"#,
            false,
        ),
        (
            r#""ForAnyValue:StringNotEquals": {"aws:TagKeys": "b"}"#,
            true,
        ),
        (
            r#""ForAnyValue:StringNotLike": {"aws:TagKeys": ["a", "b"]}"#,
            false,
        ),
        (r#""foranyvalue:StringLike": {"aws:TagKeys": "?"}"#, true),
    ];
    for (condition, expected) in cases {
        assert_eq!(holds(condition, tags), expected, "{condition}");
    }
}

#[test]
fn several_values_satisfy_nothing_that_is_for_one() {
    // Keys of tags that differ by case are one key of conditions.
    let tags: &[(&str, &str)] = &[("aws:ResourceTag/team", "a"), ("aws:ResourceTag/TEAM", "b")];
    for condition in [
        r#""StringEquals": {"aws:ResourceTag/team": "a"}"#,
        r#""StringEqualsIfExists": {"aws:ResourceTag/team": "b"}"#,
        r#""StringNotEquals": {"aws:ResourceTag/team": "c"}"#,
        r#""StringLike": {"aws:ResourceTag/team": "*"}"#,
    ] {
        assert!(!holds(condition, tags), "{condition}");
        let deny = format!(
            r#"{{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {{{condition}}}}}"#
        );
        let allow = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
        let denied = Case {
            context: tags,
            identity: &[allow, &deny],
            ..Case::default()
        };
        assert_ne!(denied.decision(), ALLOW, "{condition}");
    }
}

#[test]
fn all_keys_and_all_operators_must_hold() {
    let context = &[("aws:x", "a"), ("aws:y", "b")];
    assert!(holds(
        r#""StringEquals": {"aws:x": "a", "aws:y": "b"}"#,
        context
    ));
    assert!(!holds(
        r#""StringEquals": {"aws:x": "a", "aws:y": "c"}"#,
        context
    ));
    assert!(!holds(
        r#""StringEquals": {"aws:x": "a"}, "StringLike": {"aws:y": "c*"}"#,
        context
    ));
    assert!(holds("", context));
}

#[test]
fn keys_of_the_caller_and_the_resource_cannot_be_given() {
    let forged: &[(&str, &str)] = &[
        ("aws:username", "root"),
        ("aws:PrincipalAccount", "999988887777"),
        ("aws:PrincipalArn", "arn:aws:iam::999988887777:root"),
        ("aws:ResourceAccount", "999988887777"),
        ("aws:userid", "AIDAROOT"),
        ("aws:PrincipalType", "Account"),
        ("aws:PrincipalIsAWSService", "true"),
    ];
    let true_ones = [
        ("aws:username", "ann"),
        ("aws:PrincipalAccount", "111122223333"),
        ("aws:PrincipalArn", "arn:aws:iam::111122223333:user/ann"),
        ("aws:ResourceAccount", "111122223333"),
        ("aws:userid", "AIDAANN"),
        ("aws:PrincipalType", "User"),
        ("aws:PrincipalIsAWSService", "false"),
    ];
    for (key, value) in true_ones {
        let condition = format!(r#""StringEquals": {{"{key}": "{value}"}}"#);
        assert!(holds(&condition, forged), "{condition}");
    }
    for (key, value) in forged {
        let condition = format!(r#""StringEquals": {{"{key}": "{value}"}}"#);
        assert!(!holds(&condition, forged), "{condition}");
    }
}

#[test]
fn keys_of_other_callers() {
    let of = |who, condition: &str, on_resource: bool| {
        let statement = if on_resource {
            format!(
                r#"{{"Effect": "Allow", "Principal": "*", "Action": "*", "Condition": {{{condition}}}}}"#
            )
        } else {
            format!(
                r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {{{condition}}}}}"#
            )
        };
        let statements = [statement.as_str()];
        let mut case = Case {
            who: Some(who),
            ..Case::default()
        };
        if on_resource {
            case.on_resource = &statements;
        } else {
            case.identity = &statements;
        }
        case.decision() == ALLOW
    };
    // A session has its role's ARN, its own id and no user name.
    assert!(of(
        build(),
        r#""ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/build"}"#,
        false
    ));
    assert!(of(
        build(),
        r#""StringLike": {"aws:userid": "AROABUILD:*"}"#,
        false
    ));
    assert!(of(build(), r#""Null": {"aws:username": "true"}"#, false));
    assert!(of(
        service(),
        r#""Bool": {"aws:PrincipalIsAWSService": "true"}"#,
        true
    ));
    assert!(of(
        service(),
        r#""Null": {"aws:PrincipalArn": "true", "aws:PrincipalAccount": "true"}"#,
        true
    ));
}
