//! What policies would decide: the same evaluation as of real requests, over the
//! policies of a user, a group or a role and those that come with the question.
//!
//! Every question is answered by itself; nothing is carried out.

use entrepot_access::policy::{
    self, Context, Decision, Document, DocumentKind, Policies, Reason, Request, Resource, Source,
    managed_policy,
};
use entrepot_access::{Arn, AssumedRole, Identity, Principal, User};
use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, AWS_POLICIES, Entity, EntityKind};

use super::roles::named;
use super::{Iam, IamError, document};

/// Questions of one request: actions times resources.
const QUESTIONS_MAX: usize = 1_000;
/// Policies that come with one request.
const POLICIES_MAX: usize = 100;
/// The session of a role that is asked for.
const SESSION: &str = "simulation";

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Simulation {
    /// ARN of the user, group or role whose policies count.
    pub source: String,
    pub actions: Vec<String>,
    /// ARNs, or `*`; none: `*`.
    pub resources: Vec<String>,
    /// More policies that it is to have.
    pub policies: Vec<String>,
    /// Instead of the boundary that it has.
    pub boundaries: Vec<String>,
    /// What the resource has as its policy.
    pub resource_policy: Option<String>,
    /// ARN of a user who asks; needed for a group with a resource's policy.
    pub caller: Option<String>,
    /// Keys of conditions and their values.
    pub context: Vec<(String, Vec<String>)>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    pub action: String,
    pub resource: String,
    pub outcome: Outcome,
    /// Policies whose statements decided it.
    pub by: Vec<Stated>,
    /// Whether the boundary allows it; none: there is no boundary.
    pub within_boundary: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Explicit,
    Implicit,
}

/// A policy, as simulations name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// `user_ann_reads`, a managed policy's name, or `PolicyInputList.1`.
    pub id: String,
    /// `user`, `group`, `role`, `aws-managed`, `user-managed`, `resource` or
    /// `none`.
    pub kind: &'static str,
}

/// All that decides.
struct Subject {
    principal: Principal,
    policies: Vec<(Stated, Document)>,
    boundary: Option<Document>,
    resource: Option<Document>,
    context: Context,
}

impl Iam<'_> {
    /// Answers each action on each resource.
    ///
    /// # Errors
    /// `NoSuchEntity`, `InvalidInput`
    pub async fn simulate(&self, asked: &Simulation) -> Result<Vec<Simulated>, IamError> {
        self.authorize(
            "iam:SimulatePrincipalPolicy",
            &asked.source,
            &Context::new(),
        )?;
        if asked.policies.len() + asked.boundaries.len() > POLICIES_MAX {
            return Err(IamError::InvalidInput(format!(
                "A simulation takes at most {POLICIES_MAX} policies."
            )));
        }
        let any = ["*".to_owned()];
        let resources = if asked.resources.is_empty() {
            &any[..]
        } else {
            &asked.resources
        };
        if asked.actions.len().saturating_mul(resources.len()) > QUESTIONS_MAX {
            return Err(IamError::InvalidInput(format!(
                "A simulation takes at most {QUESTIONS_MAX} actions times resources."
            )));
        }
        let subject = self.subject(self.view().await?.as_ref(), asked)?;
        let mut answers = Vec::new();
        for action in &asked.actions {
            for resource in resources {
                answers.push(subject.asked(action, resource)?);
            }
        }
        Ok(answers)
    }

    fn subject(&self, view: &dyn KeyValue, asked: &Simulation) -> Result<Subject, IamError> {
        let (kind, entity) = self.simulated(view, &asked.source)?;
        let mut policies = Vec::new();
        self.collect(view, kind, &entity, &mut policies)?;
        for group in &entity.groups {
            let found = query::entity(view, self.account(), EntityKind::Group, group)?;
            if let Some(group) = found {
                self.collect(view, EntityKind::Group, &group, &mut policies)?;
            }
        }
        for (at, text) in asked.policies.iter().enumerate() {
            let stated = Stated {
                id: format!("PolicyInputList.{}", at + 1),
                kind: "none",
            };
            policies.push((stated, read(text, DocumentKind::Inline)?));
        }
        let boundary = match (asked.boundaries.as_slice(), &entity.boundary) {
            ([], None) => None,
            ([], Some(arn)) => Some(self.in_force(view, arn)?),
            ([text], _) => Some(read(text, DocumentKind::Managed)?),
            _ => {
                return Err(IamError::InvalidInput(
                    "A simulation takes one permissions boundary.".to_owned(),
                ));
            }
        };
        let caller = match &asked.caller {
            Some(caller) => self.simulated(view, caller)?,
            None => (kind, entity),
        };
        let resource = asked.resource_policy.as_deref();
        let resource = resource.map(|text| read(text, DocumentKind::Repository));
        let mut context = Context::new().at(self.now_ms());
        for (key, value) in &caller.1.tags {
            context.insert(&format!("aws:PrincipalTag/{key}"), value.as_str());
        }
        for (key, values) in &asked.context {
            for value in values {
                context.insert(key, value.as_str());
            }
        }
        Ok(Subject {
            principal: self.principal(caller.0, caller.1),
            policies,
            boundary,
            resource: resource.transpose()?,
            context,
        })
    }

    /// Who is asked for.
    fn simulated(&self, view: &dyn KeyValue, text: &str) -> Result<(EntityKind, Entity), IamError> {
        let arn: Arn = text.parse().map_err(|_| IamError::arn(text))?;
        let Some((kind, name)) = named(arn.resource()) else {
            return Err(IamError::InvalidInput(format!(
                "{text} is not the ARN of a user, a group or a role."
            )));
        };
        let found = query::entity(view, self.account(), kind, name)?;
        let found = found.filter(|it| self.arn(kind, &it.path, &it.name) == text);
        let entity = found.ok_or_else(|| IamError::unknown(kind, name))?;
        Ok((kind, entity))
    }

    /// The policies that one has itself.
    fn collect(
        &self,
        view: &dyn KeyValue,
        kind: EntityKind,
        entity: &Entity,
        to: &mut Vec<(Stated, Document)>,
    ) -> Result<(), IamError> {
        for (name, text) in &entity.inline {
            let stated = Stated {
                id: format!("{}_{}_{name}", kind.name(), entity.name),
                kind: kind.name(),
            };
            to.push((stated, read(text, DocumentKind::Inline)?));
        }
        for arn in &entity.attached {
            let is_aws = arn.starts_with(AWS_POLICIES);
            let stated = Stated {
                id: arn.rsplit('/').next().unwrap_or_default().to_owned(),
                kind: if is_aws {
                    "aws-managed"
                } else {
                    "user-managed"
                },
            };
            to.push((stated, self.in_force(view, arn)?));
        }
        Ok(())
    }

    /// The managed policy of that ARN, as it is now.
    fn in_force(&self, view: &dyn KeyValue, arn: &str) -> Result<Document, IamError> {
        if let Some((_, document)) = managed_policy(arn) {
            return Ok(document.clone());
        }
        let unknown = || IamError::unknown(EntityKind::Policy, arn);
        let policy = query::policy_by_arn(view, self.account(), arn)?.ok_or_else(unknown)?;
        let (account, version) = (self.account(), policy.default_version);
        let found = query::policy_version(view, account, &policy.name, version)?;
        read(&found.ok_or_else(unknown)?.document, DocumentKind::Managed)
    }

    /// The one who would ask. A group asks for nothing itself: somebody in it does.
    fn principal(&self, kind: EntityKind, entity: Entity) -> Principal {
        let identity = match kind {
            EntityKind::Role => Identity::AssumedRole(AssumedRole {
                path: entity.path,
                role: entity.name,
                role_id: entity.id,
                session: SESSION.to_owned(),
            }),
            _ => Identity::User(User {
                path: entity.path,
                name: entity.name,
                id: entity.id,
            }),
        };
        Principal {
            account: self.account().clone(),
            identity,
        }
    }
}

/// One that cannot be read cannot be evaluated.
fn read(text: &str, kind: DocumentKind) -> Result<Document, IamError> {
    document(text, kind).map_err(|error| IamError::InvalidInput(error.to_string()))
}

// === impl Subject ===

impl Subject {
    fn asked(&self, action: &str, resource: &str) -> Result<Simulated, IamError> {
        let arn = match resource {
            "*" => None,
            text => {
                let arn: Result<Arn, _> = text.parse();
                Some(arn.map_err(|_| IamError::arn(text))?)
            }
        };
        let request = Request {
            principal: &self.principal,
            action,
            resource: arn.as_ref().map_or(Resource::Any, Resource::One),
            context: &self.context,
        };
        let identity: Vec<&Document> = self.policies.iter().map(|(_, it)| it).collect();
        let resource_policies: Vec<&Document> = self.resource.iter().collect();
        let all = Policies {
            identity: &identity,
            boundary: self.boundary.as_ref(),
            resource: &resource_policies,
            ..Policies::default()
        };
        let decision = policy::evaluate(&request, &all);
        let outcome = match decision {
            Decision::Allow => Outcome::Allowed,
            Decision::Deny(Reason::Explicit(_)) => Outcome::Explicit,
            Decision::Deny(Reason::Implicit(_)) => Outcome::Implicit,
        };
        let within_boundary = self.boundary.as_ref().map(|boundary| {
            let alone = Policies {
                identity: &[boundary],
                ..Policies::default()
            };
            policy::evaluate(&request, &alone) == Decision::Allow
        });
        Ok(Simulated {
            action: action.to_owned(),
            resource: resource.to_owned(),
            outcome,
            by: self.deciding(&request, outcome),
            within_boundary,
        })
    }

    /// Policies that by themselves say what came of it.
    fn deciding(&self, request: &Request<'_>, outcome: Outcome) -> Vec<Stated> {
        let says = |documents: &Policies<'_>, source| match policy::evaluate(request, documents) {
            Decision::Allow => outcome == Outcome::Allowed,
            Decision::Deny(reason) => {
                outcome == Outcome::Explicit && reason == Reason::Explicit(source)
            }
        };
        let of_identity = self.policies.iter().filter(|(_, document)| {
            let alone = Policies {
                identity: &[document],
                ..Policies::default()
            };
            says(&alone, Source::Identity)
        });
        let mut stated: Vec<Stated> = of_identity.map(|(stated, _)| stated.clone()).collect();
        let by_resource = self.resource.as_ref().is_some_and(|document| {
            let alone = Policies {
                resource: &[document],
                ..Policies::default()
            };
            says(&alone, Source::Resource)
        });
        if by_resource {
            stated.push(Stated {
                id: "ResourcePolicy".to_owned(),
                kind: "resource",
            });
        }
        stated
    }
}
