//! How documents of several kinds make one decision, and whom they name.

use super::{
    ALL, APP, Case, DENY, Decision, OTHER, OTHER_ACTION, OWN, Principal, Source, THEIRS, ann,
    anonymous, build, explicit, implicit, root, rows, service, user,
};
use crate::policy::{Context, Reason, Request, Resource, denial};
use crate::principal::tests::session;

/// One rule a row: who, on what, by which documents, and what comes of it.
const RULES: &str = "
# rule                                     | who       | resource | identity  | boundary | session | on the resource  | decision
# -- within an account one side is enough, and a deny ends it
nothing allows                             | ann       | own      |           |          |         |                  | no identity
the identity's allows                      | ann       | own      | all       |          |         |                  | allow
the repository's allows                    | ann       | own      |           |          |         | to-ann           | allow
a second document of the identity          | ann       | own      | other all |          |         |                  | allow
a second document of the resource          | ann       | own      |           |          |         | to-account to-ann | allow
another action alone                       | ann       | own      | other     |          |         |                  | no identity
the identity's denies                      | ann       | own      | all deny  |          |         | to-ann           | denied identity
one document allows and denies             | ann       | own      | all+deny  |          |         |                  | denied identity
the repository's denies                    | ann       | own      | all       |          |         | to-ann deny-all  | denied resource
a deny alone allows nothing                | bob       | own      |           |          |         | deny-ann         | no identity
# -- what has no name: a token
a token by an identity's policy            | ann       | none     | all       |          |         |                  | allow
a token needs all resources                | ann       | none     | all-ecr   |          |         |                  | no identity
# -- across accounts both sides must allow
the identity's alone                       | ann       | theirs   | all       |          |         |                  | no resource
the resource's alone                       | ann       | theirs   |           |          |         | to-ann           | no identity
both, to the account                       | ann       | theirs   | all       |          |         | to-account       | allow
both, to the user                          | ann       | theirs   | all       |          |         | to-ann           | allow
both, to everyone                          | ann       | theirs   | all       |          |         | to-all           | allow
to everyone, the own account does not      | ann       | theirs   |           |          |         | to-all           | no identity
both, to another user                      | bob       | theirs   | all       |          |         | to-ann           | no resource
a user of another account by that name     | their-ann | own      | all       |          |         | to-ann           | no resource
a role of another account by that name     | their-ci  | own      | all       |          |         | to-role          | no resource
root, which is not named                   | root      | theirs   |           |          |         |                  | no resource
root, whose account is named               | root      | theirs   |           |          |         | to-account       | allow
a boundary, also for who is named          | ann       | theirs   | all       | other    |         | to-ann           | no boundary
a session's policy, also for who is named  | ci        | theirs   | all       |          | other   | to-session       | no session
a deny over both                           | ann       | theirs   | all deny  |          |         | to-ann           | denied identity
# -- a session's policy intersects
it takes away                              | ci        | own      | all       |          | other   |                  | no session
it gives nothing by itself                 | ci        | own      |           |          | all     |                  | no identity
both allow                                 | ci        | own      | all       |          | all     |                  | allow
it denies                                  | ci        | own      | all       |          | deny    |                  | denied session
it limits what the role is given           | ci        | own      |           |          | other   | to-role          | no session
it limits what everyone is given           | ci        | own      |           |          | other   | to-all           | no session
not what the session itself is given       | ci        | own      |           |          | other   | to-session       | allow
but its deny does                          | ci        | own      |           |          | deny    | to-session       | denied session
# -- a boundary intersects
it takes away                              | ann       | own      | all       | other    |         |                  | no boundary
it gives nothing by itself                 | ann       | own      |           | all      |         |                  | no identity
it denies                                  | ann       | own      | all       | deny     |         |                  | denied boundary
it limits what a role is given             | ci        | own      |           | other    |         | to-role          | no boundary
it limits what everyone is given           | ann       | own      |           | other    |         | to-all           | no boundary
not what a user itself is given            | ann       | own      |           | other    |         | to-ann           | allow
# -- root may everything in its account that nothing denies
without documents                          | root      | own      |           |          |         |                  | allow
denied by the resource                     | root      | own      |           |          |         | deny-all         | denied resource
a session of it is limited                 | root      | own      |           |          | other   |                  | no session
# -- whom a resource's policy names
everyone                                   | ann       | own      |           |          |         | to-all           | allow
everyone, the other spelling               | ann       | own      |           |          |         | to-aws-all       | allow
a user, by its ARN                         | bob       | own      |           |          |         | to-ann           | no identity
a user of a path by that name              | path-ann  | own      |           |          |         | to-ann           | no identity
a user of a path, by its ARN               | path-ann  | own      |           |          |         | to-path-ann      | allow
a user, by its id                          | ann       | own      |           |          |         | to-ann-id        | allow
another user's id                          | bob       | own      |           |          |         | to-ann-id        | no identity
one of a list                              | ann       | own      |           |          |         | to-list          | allow
the session of a role, by the role's ARN   | ci        | own      |           |          |         | to-role          | allow
the session of a role, by the role's id    | ci        | own      |           |          |         | to-role-id       | allow
a session, by its own ARN                  | ci        | own      |           |          |         | to-session       | allow
another session of the role                | ci-2      | own      |           |          |         | to-session       | no identity
a user is no role of that name             | ann       | own      |           |          |         | to-role          | no identity
a provider of identities                   | ann       | own      |           |          |         | to-federated     | no identity
a federated user                           | ann       | own      |           |          |         | to-fed-user      | no identity
a service                                  | service   | own      |           |          |         | to-service       | allow
another service                            | service   | own      |           |          |         | to-ecs           | no resource
a user is no service                       | ann       | own      |           |          |         | to-service       | no identity
a service is no part of an account         | service   | own      |           |          |         | to-account       | no resource
nobody, where everyone may                 | nobody    | own      |           |          |         | to-all           | allow
nobody, the other spelling                 | nobody    | own      |           |          |         | to-aws-all       | allow
nobody is no part of an account            | nobody    | own      |           |          |         | to-account       | no resource
nobody, where it is denied                 | nobody    | own      |           |          |         | to-all deny-all  | denied resource
# -- an account as such: its own policies say who
the account, by its number                 | ann       | own      |           |          |         | to-account       | no identity
the account, by its root's ARN             | ann       | own      |           |          |         | to-root          | no identity
the account and the identity's             | ann       | own      | all       |          |         | to-account       | allow
a deny meets everyone of an account        | ann       | own      | all       |          |         | deny-account     | denied resource
and its sessions                           | ci        | own      | all       |          |         | deny-account     | denied resource
and its root                               | root      | own      |           |          |         | deny-account     | denied resource
and nobody else                            | their-ann | own      | all       |          |         | deny-account     | no resource
# -- NotPrincipal spares whom it names
who is named                               | ann       | own      | all       |          |         | but-ann          | allow
who is not                                 | bob       | own      | all       |          |         | but-ann          | denied resource
root, which is not                         | root      | own      |           |          |         | but-ann          | denied resource
nobody                                     | nobody    | own      |           |          |         | to-all but-ann   | denied resource
a session, by its role                     | ci        | own      | all       |          |         | but-role         | allow
an account spares its root                 | root      | own      |           |          |         | but-account      | allow
and not its users                          | ann       | own      | all       |          |         | but-account      | denied resource
# -- a role is assumed by whom it trusts
an identity's policy is not enough         | ann       | role     | all       |          |         |                  | no resource
who is named needs no other                | ann       | role     |           |          |         | to-ann           | allow
an account that is named leaves it open    | ann       | role     |           |          |         | to-account       | no identity
with the identity's policy                 | ann       | role     | all       |          |         | to-account       | allow
from another account both are needed       | their-ann | role     |           |          |         | to-their-ann     | no identity
with both                                  | their-ann | role     | all       |          |         | to-their-ann     | allow
not even root without trust                | root      | role     |           |          |         |                  | no resource
";

const ROLE: &str = "arn:aws:iam::111122223333:role/build";

fn who(name: &str) -> Principal {
    match name {
        "ann" => ann(),
        "bob" => user(OWN, "/", "bob"),
        "path-ann" => user(OWN, "/team/", "ann"),
        "their-ann" => user(OTHER, "/", "ann"),
        "ci" => build(),
        "ci-2" => session(OWN, "build", "ci-2"),
        "their-ci" => session(OTHER, "build", "ci-1"),
        "root" => root(),
        "service" => service(),
        "nobody" => anonymous(),
        other => panic!("{other}"),
    }
}

/// A document of an identity.
fn plain(name: &str) -> String {
    match name {
        "all" => ALL.to_owned(),
        "deny" => DENY.to_owned(),
        "all+deny" => format!("{ALL}, {DENY}"),
        "other" => OTHER_ACTION.to_owned(),
        "all-ecr" => ALL.replace("\"Resource\": \"*\"", "\"Resource\": \"arn:aws:ecr:*:*:*\""),
        other => panic!("{other}"),
    }
}

/// A document of a resource: `to-`, `deny-` or `but-` someone.
fn on_resource(name: &str) -> String {
    let (verb, whom) = name.split_once('-').unwrap();
    let whom = match whom {
        "all" => r#""*""#,
        "aws-all" => r#"{"AWS": "*"}"#,
        "account" => r#"{"AWS": "111122223333"}"#,
        "root" => r#"{"AWS": "arn:aws:iam::111122223333:root"}"#,
        "ann" => r#"{"AWS": "arn:aws:iam::111122223333:user/ann"}"#,
        "path-ann" => r#"{"AWS": "arn:aws:iam::111122223333:user/team/ann"}"#,
        "their-ann" => r#"{"AWS": "arn:aws:iam::999988887777:user/ann"}"#,
        "ann-id" => r#"{"AWS": "AIDAANN"}"#,
        "list" => {
            r#"{"Service": "x.amazonaws.com", "AWS": ["999988887777", "arn:aws:iam::111122223333:user/ann"]}"#
        }
        "role" => r#"{"AWS": "arn:aws:iam::111122223333:role/build"}"#,
        "role-id" => r#"{"AWS": "AROABUILD"}"#,
        "session" => r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/build/ci-1"}"#,
        "federated" => r#"{"Federated": "accounts.example.com"}"#,
        "fed-user" => r#"{"AWS": "arn:aws:sts::111122223333:federated-user/ann"}"#,
        "service" => r#"{"Service": "replication.ecr.amazonaws.com"}"#,
        "ecs" => r#"{"Service": "ecs.amazonaws.com"}"#,
        other => panic!("{other}"),
    };
    let (effect, member) = match verb {
        "to" => ("Allow", "Principal"),
        "deny" => ("Deny", "Principal"),
        "but" => ("Deny", "NotPrincipal"),
        other => panic!("{other}"),
    };
    format!(r#"{{"Effect": "{effect}", "Action": "*", "{member}": {whom}}}"#)
}

fn source(name: &str) -> Source {
    match name {
        "identity" => Source::Identity,
        "boundary" => Source::Boundary,
        "session" => Source::Session,
        "resource" => Source::Resource,
        other => panic!("{other}"),
    }
}

fn decision(text: &str) -> Decision {
    match text.split_once(' ') {
        None => Decision::Allow,
        Some(("no", by)) => implicit(source(by)),
        Some(("denied", by)) => explicit(source(by)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn decisions_follow_the_rules() {
    let rows = rows(RULES);
    assert!(rows.len() > 80);
    for row in rows {
        let [_, name, on, identity, boundary, session, policies, expected] = row[..] else {
            panic!("{row:?}");
        };
        let (resource, action) = match on {
            "own" => (APP, "ecr:PutImage"),
            "theirs" => (THEIRS, "ecr:PutImage"),
            "role" => (ROLE, "sts:AssumeRole"),
            "none" => ("*", "ecr:GetAuthorizationToken"),
            other => panic!("{other}"),
        };
        let identity: Vec<String> = identity.split_whitespace().map(plain).collect();
        let policies: Vec<String> = policies.split_whitespace().map(on_resource).collect();
        let one = |name: &str| (!name.is_empty()).then(|| plain(name));
        let (boundary, session) = (one(boundary), one(session));
        let case = Case {
            who: Some(who(name)),
            action: Some(action),
            resource: Some(resource),
            identity: &identity.iter().map(String::as_str).collect::<Vec<_>>(),
            boundary: boundary.as_deref(),
            session: session.as_deref(),
            on_resource: &policies.iter().map(String::as_str).collect::<Vec<_>>(),
            resource_must_allow: on == "role",
            ..Case::default()
        };
        assert_eq!(case.decision(), decision(expected), "{row:?}");
    }
}

#[test]
fn denials_say_what_aws_says() {
    let arn = APP.parse().unwrap();
    let context = Context::new();
    let principals = [ann(), build()];
    let request = |principal| Request {
        principal,
        action: "ecr:PutImage",
        resource: Resource::One(&arn),
        context: &context,
    };
    let start = "User: arn:aws:iam::111122223333:user/ann is not authorized to perform: \
                 ecr:PutImage on resource: \
                 arn:aws:ecr:eu-west-1:111122223333:repository/team/app";
    let table = "
        no identity     | because no identity-based policy allows the ecr:PutImage action
        no resource     | because no resource-based policy allows the ecr:PutImage action
        no session      | because no session policy allows the ecr:PutImage action
        no boundary     | because no permissions boundary allows the ecr:PutImage action
        denied identity | with an explicit deny in an identity-based policy
        denied resource | with an explicit deny in a resource-based policy
        denied session  | with an explicit deny in a session policy
        denied boundary | with an explicit deny in a permissions boundary
    ";
    let said = |principal, text| match decision(text) {
        Decision::Deny(reason) => denial(&request(principal), reason),
        Decision::Allow => panic!("{text}"),
    };
    for row in rows(table) {
        assert_eq!(said(&principals[0], row[0]), format!("{start} {}", row[1]));
    }
    let of_role = said(&principals[1], "no identity");
    assert!(of_role.starts_with("User: arn:aws:sts::111122223333:assumed-role/build/ci-1 is not"));
    let of_all = Request {
        resource: Resource::Any,
        ..request(&principals[0])
    };
    let text = denial(&of_all, Reason::Implicit(Source::Identity));
    assert!(text.contains("on resource: * because"), "{text}");
}
