//! One row for each rule: what the decision is, and what of a document is taken.

mod conditions;
mod decisions;
mod grammar;
mod scope;

use super::{
    Context, Decision, Document, DocumentKind, Policies, Reason, Request, Resource, Source,
    evaluate,
};
use crate::principal::tests::{session, user};
use crate::{Arn, Identity, Principal};

const OWN: &str = "111122223333";
const OTHER: &str = "999988887777";
const APP: &str = "arn:aws:ecr:eu-west-1:111122223333:repository/team/app";
const THEIRS: &str = "arn:aws:ecr:eu-west-1:999988887777:repository/team/app";

/// A question. Documents are lists of statements.
#[derive(Clone, Debug, Default)]
struct Case<'a> {
    who: Option<Principal>,
    action: Option<&'a str>,
    /// None: [`APP`]. `*`: nothing by name.
    resource: Option<&'a str>,
    context: &'a [(&'a str, &'a str)],
    identity: &'a [&'a str],
    boundary: Option<&'a str>,
    session: Option<&'a str>,
    on_resource: &'a [&'a str],
    resource_must_allow: bool,
}

fn document(statements: &str, kind: DocumentKind) -> Document {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    Document::parse(&text, kind).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl Case<'_> {
    fn decision(&self) -> Decision {
        let who = self.who.clone().unwrap_or_else(ann);
        let mut context = Context::new();
        for (key, value) in self.context {
            context.insert(key, *value);
        }
        let arn: Option<Arn> = match self.resource {
            Some("*") => None,
            other => Some(other.unwrap_or(APP).parse().unwrap()),
        };
        let of_identity = |text: &&str| document(text, DocumentKind::Inline);
        let identity: Vec<Document> = self.identity.iter().map(of_identity).collect();
        let boundary = self
            .boundary
            .map(|text| document(text, DocumentKind::Managed));
        let session = self
            .session
            .map(|text| document(text, DocumentKind::Session));
        let of_repository = |text: &&str| document(text, DocumentKind::Repository);
        let on_resource: Vec<Document> = self.on_resource.iter().map(of_repository).collect();
        let request = Request {
            principal: &who,
            action: self.action.unwrap_or("ecr:PutImage"),
            resource: arn.as_ref().map_or(Resource::Any, Resource::One),
            context: &context,
        };
        evaluate(
            &request,
            &Policies {
                identity: &identity.iter().collect::<Vec<_>>(),
                boundary: boundary.as_ref(),
                session: session.as_ref(),
                resource: &on_resource.iter().collect::<Vec<_>>(),
                resource_must_allow: self.resource_must_allow,
            },
        )
    }
}

/// The rows of a table: a line each, with its cells between `|`. Lines that start
/// with `#` are headings.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().map(str::trim);
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| row.split('|').map(str::trim).collect())
        .collect()
}

// === callers ===

fn ann() -> Principal {
    user(OWN, "/", "ann")
}

fn build() -> Principal {
    session(OWN, "build", "ci-1")
}

fn root() -> Principal {
    Principal::root(OWN.parse().unwrap())
}

fn anonymous() -> Principal {
    Principal::anonymous(OWN.parse().unwrap())
}

fn service() -> Principal {
    Principal {
        account: OWN.parse().unwrap(),
        identity: Identity::Service("replication.ecr.amazonaws.com".to_owned()),
    }
}

// === outcomes ===

const ALLOW: Decision = Decision::Allow;

const fn explicit(source: Source) -> Decision {
    Decision::Deny(Reason::Explicit(source))
}

const fn implicit(source: Source) -> Decision {
    Decision::Deny(Reason::Implicit(source))
}

// === statements ===

const ALL: &str = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
const DENY: &str = r#"{"Effect": "Deny", "Action": "*", "Resource": "*"}"#;
const OTHER_ACTION: &str = r#"{"Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": "*"}"#;
