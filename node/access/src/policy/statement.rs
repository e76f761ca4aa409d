//! One statement of a document.

use super::action::Actions;
use super::condition::{self, Condition};
use super::document::DocumentKind;
use super::error::Problem;
use super::evaluate::Facts;
use super::json::Json;
use super::pattern::Unresolved;
use super::principals::{Grant, Principals};
use super::resources::Resources;

/// What a statement that applies says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// A statement, compiled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    /// Of resources' policies alone.
    principals: Option<Principals>,
    actions: Actions,
    /// None: whatever has the policy.
    resources: Option<Resources>,
    conditions: Vec<Condition>,
}

/// The members of a statement, as they are written.
#[derive(Default)]
struct Members<'a> {
    sid: Option<&'a Json>,
    effect: Option<&'a Json>,
    principal: Option<(&'a Json, bool)>,
    action: Option<(&'a Json, bool)>,
    resource: Option<(&'a Json, bool)>,
    condition: Option<&'a Json>,
}

// === impl Statement ===

impl Statement {
    /// `variables`: whether the document's version knows them.
    pub(super) fn parse(
        value: &Json,
        kind: DocumentKind,
        variables: bool,
    ) -> Result<Self, Problem> {
        let Json::Object(members) = value else {
            return Err(Problem::Syntax);
        };
        let members = Members::of(members)?;
        let effect = match members.effect {
            Some(Json::Text(effect)) => effect_of(effect)?,
            _ => return Err(Problem::Syntax),
        };
        let sid = match members.sid {
            None => None,
            Some(Json::Text(sid)) => Some(sid.clone()),
            Some(_) => return Err(Problem::Syntax),
        };
        let principals = match members.principal {
            Some(_) if !kind.is_of_a_resource() => return Err(Problem::HasPrincipal),
            None if kind.is_of_a_resource() => return Err(Problem::NoPrincipal),
            None => None,
            Some((value, negated)) => Some(Principals::parse(value, negated)?),
        };
        let (value, negated) = members.action.ok_or(Problem::NoActions)?;
        let names = texts(value)?;
        let is_of_sts = |name: &String| name.to_ascii_lowercase().starts_with("sts:");
        if kind == DocumentKind::Trust && (negated || !names.iter().all(is_of_sts)) {
            return Err(Problem::TrustAction);
        }
        let actions = Actions::parse(&names, negated)?;
        let resources = match members.resource {
            Some(_) if kind == DocumentKind::Trust => return Err(Problem::TrustResource),
            None if !kind.is_of_a_resource() => return Err(Problem::NoResources),
            None => None,
            Some((value, negated)) => Some(Resources::parse(&texts(value)?, negated, variables)?),
        };
        let conditions = match members.condition {
            None => Vec::new(),
            Some(value) => condition::parse(value, variables)?,
        };
        Ok(Self {
            sid,
            effect,
            principals,
            actions,
            resources,
            conditions,
        })
    }

    /// Whether it is about this action on this resource under these conditions,
    /// whoever the principal is.
    pub(super) fn applies(&self, facts: &Facts<'_>) -> bool {
        self.actions.matches(facts.action())
            && self.is_about(facts)
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(facts, self.effect))
    }

    /// Whether more counts than who asks for which action on which resource.
    pub(super) fn has_conditions(&self) -> bool {
        let resources = self.resources.as_ref();
        !self.conditions.is_empty() || resources.is_some_and(Resources::has_variables)
    }

    /// The users and roles that it names by their ARNs.
    pub(super) fn identities(&self) -> impl Iterator<Item = &str> {
        self.principals.iter().flat_map(Principals::identities)
    }

    /// What it gives the caller, or takes, as one whom it names.
    pub(super) fn grant(&self, facts: &Facts<'_>) -> Grant {
        let principals = self.principals.as_ref();
        principals.map_or(Grant::None, |principals| principals.grant(facts))
    }

    /// A resource whose variable has no value is no resource; `NotResource` with
    /// one allows nothing.
    fn is_about(&self, facts: &Facts<'_>) -> bool {
        let Some(resources) = &self.resources else {
            return true;
        };
        match (resources.has(facts.resource(), facts), resources.negated) {
            (Ok(has), negated) => has != negated,
            (Err(Unresolved), true) => self.effect == Effect::Deny,
            (Err(Unresolved), false) => false,
        }
    }
}

// === impl Members ===

impl<'a> Members<'a> {
    fn of(members: &'a [(String, Json)]) -> Result<Self, Problem> {
        let mut found = Self::default();
        for (name, value) in members {
            let pair = match name.as_str() {
                "Sid" => {
                    found.sid = Some(value);
                    continue;
                }
                "Effect" => {
                    found.effect = Some(value);
                    continue;
                }
                "Condition" => {
                    found.condition = Some(value);
                    continue;
                }
                "Principal" | "NotPrincipal" => &mut found.principal,
                "Action" | "NotAction" => &mut found.action,
                "Resource" | "NotResource" => &mut found.resource,
                _ => return Err(Problem::Syntax),
            };
            // Both of a pair exclude each other.
            if pair.replace((value, name.starts_with("Not"))).is_some() {
                return Err(Problem::Syntax);
            }
        }
        Ok(found)
    }
}

fn effect_of(text: &str) -> Result<Effect, Problem> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ if text.eq_ignore_ascii_case("allow") || text.eq_ignore_ascii_case("deny") => {
            Err(Problem::Legacy)
        }
        _ => Err(Problem::Syntax),
    }
}

/// One text or a list of them; booleans and numbers are written as texts.
pub(super) fn texts(value: &Json) -> Result<Vec<String>, Problem> {
    let text = |value: &Json| match value {
        Json::Text(text) => Ok(text.clone()),
        Json::Bool(value) => Ok(value.to_string()),
        Json::Number(value) => Ok(value.to_string()),
        _ => Err(Problem::Syntax),
    };
    match value {
        Json::List(values) => values.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}
