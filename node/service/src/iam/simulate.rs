//! What policies would decide: the same evaluation as of real requests, over the
//! policies of a user, a group or a role and those that come with the question.
//!
//! Every question is answered by itself; nothing is carried out. That takes the
//! longer the more is asked: it is bounded, and done beside the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use entrepot_access::policy::{
    self, Context, Decision, Document, DocumentKind, Policies, Reason, Request, Resource, Source,
    managed_policy,
};
use entrepot_access::{Arn, AssumedRole, Identity, Principal, User};
use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, AWS_POLICIES, Entity, EntityKind};
use tokio::time::timeout;

use super::roles::named;
use super::{Iam, IamError, document};
use crate::ServiceError;

/// Simulations that are answered at a time.
pub(crate) const AT_ONCE_MAX: usize = 2;
/// For simulations that came before.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Questions of one request: actions times resources.
const QUESTIONS_MAX: usize = 1_000;
/// Policies that come with one request.
const POLICIES_MAX: usize = 100;
/// Bytes of all the policies that count, times the questions.
const WORK_BYTES_MAX: usize = 64 * 1024 * 1024;
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

/// Policies that count, and the bytes of all that were read.
#[derive(Default)]
struct Collected {
    policies: Vec<(Stated, Document)>,
    bytes: usize,
}

/// All that decides.
struct Subject {
    principal: Principal,
    policies: Vec<(Stated, Document)>,
    /// Of all policies here.
    bytes: usize,
    boundary: Option<Document>,
    resource: Option<Document>,
    context: Context,
}

impl Iam<'_> {
    /// Answers each action on each resource.
    ///
    /// # Errors
    /// `NoSuchEntity`, `InvalidInput`; `Unavailable` when others take too long.
    pub async fn simulate(&self, asked: Simulation) -> Result<Vec<Simulated>, IamError> {
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
        let questions = asked.actions.len() * asked.resources.len().max(1);
        if questions > QUESTIONS_MAX {
            return Err(IamError::InvalidInput(format!(
                "A simulation takes at most {QUESTIONS_MAX} actions times resources."
            )));
        }
        let subject = self.subject(self.view().await?.as_ref(), &asked)?;
        if subject.bytes.saturating_mul(questions) > WORK_BYTES_MAX {
            return Err(IamError::InvalidInput(format!(
                "A simulation takes at most {WORK_BYTES_MAX} bytes of policies times questions: \
                 ask for fewer actions or resources."
            )));
        }
        let turn = Arc::clone(&self.registry.simulations).acquire_owned();
        let Ok(Ok(turn)) = timeout(WAIT_MAX, turn).await else {
            return Err(ServiceError::unavailable(
                "this node has as many simulations in hand as it may; try again",
            )
            .into());
        };
        let answering = self.registry.blocking.run(move || {
            let answers = subject.answers(&asked.actions, asked.resources);
            // The turn lasts until here, even when the caller goes away.
            drop(turn);
            answers
        });
        let answers = answering.await;
        answers.map_err(|error| ServiceError::internal(&error))?
    }

    fn subject(&self, view: &dyn KeyValue, asked: &Simulation) -> Result<Subject, IamError> {
        let (kind, entity) = self.simulated(view, &asked.source)?;
        let mut all = Collected::default();
        self.collect(view, kind, &entity, &mut all)?;
        for group in &entity.groups {
            let found = query::entity(view, self.account(), EntityKind::Group, group)?;
            if let Some(group) = found {
                self.collect(view, EntityKind::Group, &group, &mut all)?;
            }
        }
        for (at, text) in asked.policies.iter().enumerate() {
            let stated = Stated {
                id: format!("PolicyInputList.{}", at + 1),
                kind: "none",
            };
            let document = all.read(text, DocumentKind::Inline)?;
            all.policies.push((stated, document));
        }
        let boundary = match (asked.boundaries.as_slice(), &entity.boundary) {
            ([], None) => None,
            ([], Some(arn)) => Some(self.in_force(view, arn, &mut all)?),
            ([text], _) => Some(all.read(text, DocumentKind::Managed)?),
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
        let resource = resource.map(|text| all.read(text, DocumentKind::Repository));
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
            boundary,
            resource: resource.transpose()?,
            policies: all.policies,
            bytes: all.bytes,
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
        to: &mut Collected,
    ) -> Result<(), IamError> {
        for (name, text) in &entity.inline {
            let stated = Stated {
                id: format!("{}_{}_{name}", kind.name(), entity.name),
                kind: kind.name(),
            };
            let document = to.read(text, DocumentKind::Inline)?;
            to.policies.push((stated, document));
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
            let document = self.in_force(view, arn, to)?;
            to.policies.push((stated, document));
        }
        Ok(())
    }

    /// The managed policy of that ARN, as it is now.
    fn in_force(
        &self,
        view: &dyn KeyValue,
        arn: &str,
        all: &mut Collected,
    ) -> Result<Document, IamError> {
        if let Some((policy, document)) = managed_policy(arn) {
            all.bytes += policy.document.len();
            return Ok(document.clone());
        }
        let unknown = || IamError::unknown(EntityKind::Policy, arn);
        let policy = query::policy_by_arn(view, self.account(), arn)?.ok_or_else(unknown)?;
        let (account, version) = (self.account(), policy.default_version);
        let found = query::policy_version(view, account, &policy.name, version)?;
        all.read(&found.ok_or_else(unknown)?.document, DocumentKind::Managed)
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

// === impl Collected ===

impl Collected {
    /// One that cannot be read cannot be evaluated.
    fn read(&mut self, text: &str, kind: DocumentKind) -> Result<Document, IamError> {
        self.bytes += text.len();
        document(text, kind).map_err(|error| IamError::InvalidInput(error.to_string()))
    }
}

// === impl Subject ===

impl Subject {
    /// Of each action on each resource; on `*` where there are none.
    fn answers(
        &self,
        actions: &[String],
        mut resources: Vec<String>,
    ) -> Result<Vec<Simulated>, IamError> {
        if resources.is_empty() {
            resources.push("*".to_owned());
        }
        let mut answers = Vec::with_capacity(actions.len() * resources.len());
        for action in actions {
            for resource in &resources {
                answers.push(self.asked(action, resource)?);
            }
        }
        Ok(answers)
    }

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
