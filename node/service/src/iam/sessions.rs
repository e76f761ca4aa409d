//! Sessions (STS): temporary credentials of roles and of users.
//!
//! A role or a key is looked for in this node's own copy, as policies are. Only one
//! that is not there is looked for again where all that was acknowledged is: asking
//! for sessions, which is often done, waits for no other region.
//!
//! Nothing is written down of them: a token says by itself whose it is. The
//! invariant: a session may never do more than whoever asked for it lets it, and
//! ends. A caller who may not assume a role is not told whether there is one.

use entrepot_access::policy::{
    self, Context, DocumentKind, combined, managed_policy, without_blanks,
};
use entrepot_access::token::{Claims, SessionCredentials, SessionToken, TokenError};
use entrepot_access::{Arn, AssumedRole, Identity, Principal, account_of_key_id};
use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Entity, EntityKind};
use entrepot_oci::AccountId;

use super::roles::named;
use super::{Iam, IamError, document, of_tagged};
use crate::ServiceError;

const MS_PER_SECOND: i64 = 1_000;
/// Seconds of a session, unless the caller says otherwise: of a role, of a user.
pub(super) const ROLE_SESSION_S: u32 = 3_600;
const USER_SESSION_S: u32 = 43_200;
/// The longest session of a role that a session of a role asked for, and of the
/// root user.
const CHAINED_SESSION_S: u32 = 3_600;
const ROOT_SESSION_S: u32 = 3_600;
/// Managed policies that limit one session (STS).
const SESSION_POLICIES_MAX: usize = 10;

/// A role that is to be assumed.
#[derive(Clone, Debug, Default)]
pub struct AssumeRole {
    pub role_arn: String,
    pub session_name: String,
    pub duration_s: Option<u32>,
    /// What the session may do at most.
    pub policy: Option<String>,
    /// ARNs of managed policies that say more of that.
    pub policy_arns: Vec<String>,
    pub external_id: Option<String>,
}

/// A session, as it is told once.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub credentials: SessionCredentials,
    pub principal: Principal,
    pub expires_ms: i64,
    /// How much of the room for policies is taken; none: there are none.
    pub packed_percent: Option<usize>,
}

impl Iam<'_> {
    /// Credentials of a role.
    ///
    /// # Errors
    /// `Denied` unless the role's trust policy and the caller's own policies allow
    /// it; `Validation`, `MalformedPolicy`, `PackedPolicyTooLarge`
    pub async fn assume_role(&self, asked: &AssumeRole) -> Result<NewSession, IamError> {
        let caller = &self.who.principal;
        if caller.identity == Identity::Root {
            let text = "Roles may not be assumed by root accounts.";
            return Err(ServiceError::Denied(text.to_owned()).into());
        }
        let invalid = || IamError::Validation(format!("{} is invalid", asked.role_arn));
        let arn: Arn = asked.role_arn.parse().map_err(|_| invalid())?;
        let account = arn.account_id().ok_or_else(invalid)?;
        let mut view = self.local()?;
        if role_of(view.as_ref(), &arn, &account)?.is_none() {
            view = self.view().await?;
        }
        let role = self.assumable(view.as_ref(), &arn, &account, asked)?;
        let Some(role) = role else {
            return Err(ServiceError::Denied(format!(
                "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}"
            ))
            .into());
        };
        let longest = role.role.as_ref().map_or(0, |it| it.max_session_s);
        let duration_s = asked.duration_s.unwrap_or(ROLE_SESSION_S);
        if matches!(caller.identity, Identity::AssumedRole(_)) && duration_s > CHAINED_SESSION_S {
            return Err(IamError::Validation(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed \
                 by role chaining."
                    .to_owned(),
            ));
        }
        if duration_s > longest {
            return Err(IamError::Validation(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
                    .to_owned(),
            ));
        }
        let policy = match session_policy(view.as_ref(), &account, asked) {
            // A managed policy may be newer than this copy.
            Err(_) if !asked.policy_arns.is_empty() => {
                session_policy(self.view().await?.as_ref(), &account, asked)?
            }
            policy => policy?,
        };
        let identity = Identity::AssumedRole(AssumedRole {
            path: role.path,
            role: role.name,
            role_id: role.id,
            session: asked.session_name.clone(),
        });
        self.session(Principal { account, identity }, duration_s, policy)
    }

    /// Credentials of the caller's own. Nothing but being a user is needed.
    ///
    /// # Errors
    /// `Denied` to sessions.
    pub fn session_token(&self, duration_s: Option<u32>) -> Result<NewSession, IamError> {
        let caller = &self.who.principal;
        let longest = match caller.identity {
            Identity::Root => ROOT_SESSION_S,
            Identity::User(_) => u32::MAX,
            _ => return Err(from_session()),
        };
        if self.who.proof.expires_ms.is_some() {
            return Err(from_session());
        }
        let duration_s = duration_s.unwrap_or(USER_SESSION_S).min(longest);
        self.session(caller.clone(), duration_s, None)
    }

    /// Whose a key is, of users and of sessions alike.
    ///
    /// # Errors
    /// `Validation` of an id that says nothing.
    pub async fn account_of_key(&self, id: &str) -> Result<AccountId, IamError> {
        let registry = self.registry;
        registry.authorize(self.who, "sts:GetAccessKeyInfo", crate::Target::Any)?;
        let mut found = query::access_key(self.local()?.as_ref(), id)?;
        if found.is_none() {
            found = query::access_key(self.view().await?.as_ref(), id)?;
        }
        let account = found.map(|key| key.account);
        account
            .or_else(|| account_of_key_id(id))
            .ok_or_else(|| IamError::Validation(format!("The access key ID {id} is not valid.")))
    }

    /// The role of that ARN, if the caller may assume it.
    fn assumable(
        &self,
        view: &dyn KeyValue,
        arn: &Arn,
        account: &AccountId,
        asked: &AssumeRole,
    ) -> Result<Option<Entity>, IamError> {
        let Some(role) = role_of(view, arn, account)? else {
            // Noted like any other.
            self.registry
                .may_assume(self.who, arn, None, &Context::new())?;
            return Ok(None);
        };
        let is_same = arn.resource() == format!("role{}{}", role.path, role.name);
        let is_active = query::account(view, account)?.is_some_and(|it| it.is_active());
        let trust = role.role.as_ref().map(|role| role.trust.as_str());
        let trust = trust.filter(|_| is_same && is_active);
        let mut context =
            of_tagged(&role.tags).with("sts:RoleSessionName", asked.session_name.as_str());
        if let Some(id) = &asked.external_id {
            context.insert("sts:ExternalId", id.as_str());
        }
        let allowed = self.registry.may_assume(self.who, arn, trust, &context)?;
        Ok(allowed.then_some(role))
    }

    pub(super) fn session(
        &self,
        principal: Principal,
        duration_s: u32,
        session_policy: Option<String>,
    ) -> Result<NewSession, IamError> {
        let issued_ms = self.now_ms();
        let expires_ms = issued_ms.saturating_add(i64::from(duration_s) * MS_PER_SECOND);
        let packed_percent = session_policy.as_ref().map(|text| packed_percent(text));
        let claims = Claims {
            principal: principal.clone(),
            issued_ms,
            expires_ms,
            key_id: self.who.proof.key_id.clone(),
            session_policy,
        };
        let credentials = SessionToken { claims }.credentials(&self.registry.sealing);
        let credentials = credentials.map_err(|error| match error {
            TokenError::TooLong => too_large(packed_percent),
            other => ServiceError::internal(&other).into(),
        })?;
        Ok(NewSession {
            credentials,
            principal,
            expires_ms,
            packed_percent,
        })
    }
}

/// The role that an ARN names, wherever it stands.
pub(super) fn role_of(
    view: &dyn KeyValue,
    arn: &Arn,
    account: &AccountId,
) -> Result<Option<Entity>, IamError> {
    Ok(match named(arn.resource()) {
        Some((kind @ EntityKind::Role, name)) => query::entity(view, account, kind, name)?,
        _ => None,
    })
}

/// The policy of a session, of all that the request names.
pub(super) fn session_policy(
    view: &dyn KeyValue,
    account: &AccountId,
    asked: &AssumeRole,
) -> Result<Option<String>, IamError> {
    if asked.policy_arns.len() > SESSION_POLICIES_MAX {
        return Err(IamError::Validation(format!(
            "A session takes at most {SESSION_POLICIES_MAX} managed policies."
        )));
    }
    let mut texts = Vec::new();
    if let Some(text) = &asked.policy {
        let parsed = document(text, DocumentKind::Session)?;
        texts.push((text.clone(), parsed.version()));
    }
    for arn in &asked.policy_arns {
        texts.push(managed(view, account, arn)?);
    }
    let documents: Vec<_> = texts
        .iter()
        .map(|(text, of)| (text.as_str(), *of))
        .collect();
    let text = match documents.as_slice() {
        [] => return Ok(None),
        [(text, _)] => without_blanks(text),
        several => combined(several).ok_or_else(|| {
            IamError::Validation(
                "Policies of a session must have one version where they have variables.".to_owned(),
            )
        })?,
    };
    // All of it has to fit where one has its place.
    match document(&text, DocumentKind::Session) {
        Err(IamError::PackedPolicyTooLarge(_)) => Err(too_large(Some(packed_percent(&text)))),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(text)),
    }
}

/// A managed policy of the role's account, or of AWS.
fn managed(
    view: &dyn KeyValue,
    account: &AccountId,
    arn: &str,
) -> Result<(String, policy::Version), IamError> {
    if let Some((policy, document)) = managed_policy(arn) {
        return Ok((policy.document.to_owned(), document.version()));
    }
    let unknown =
        || IamError::Validation(format!("Policy {arn} does not exist or is not attachable."));
    let policy = query::policy_by_arn(view, account, arn)?.ok_or_else(unknown)?;
    let version = query::policy_version(view, account, &policy.name, policy.default_version)?;
    let text = version.ok_or_else(unknown)?.document;
    let parsed = document(&text, DocumentKind::Managed)?;
    Ok((text, parsed.version()))
}

fn packed_percent(text: &str) -> usize {
    (text.chars().count() * 100).div_ceil(DocumentKind::Session.size_max())
}

fn too_large(percent: Option<usize>) -> IamError {
    let percent = percent.unwrap_or_default().max(101);
    IamError::PackedPolicyTooLarge(format!(
        "Packed policy consumes {percent}% of allotted space, please use smaller policy."
    ))
}

fn from_session() -> IamError {
    let text = "Cannot call GetSessionToken with session credentials";
    ServiceError::Denied(text.to_owned()).into()
}
