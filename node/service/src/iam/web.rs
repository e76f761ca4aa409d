//! Sessions of roles for whom an identity provider vouches: what CI systems and
//! Kubernetes ask for in the place of a key (STS, `AssumeRoleWithWebIdentity`).
//!
//! The invariants: nothing is looked up of a role before the token has proved right;
//! and a role is given to nobody whom its trust policy does not name by the provider.

use entrepot_access::policy::Context;
use entrepot_access::{
    Arn, AssumedRole, Identity, Principal, WebClaims, WebIdentity, WebIdentityError,
};
use entrepot_metadata::query;
use entrepot_oci::AccountId;
use serde_json::Value;

use super::providers::{IdentityProvider, name_of, provider_of};
use super::sessions::{ROLE_SESSION_S, role_of, session_policy};
use super::{AssumeRole, Iam, IamError, NewSession, of_tagged};
use crate::{Caller, ServiceError};

/// Claims of a token that conditions can ask for, and characters of each.
const CLAIMS_MAX: usize = 64;
const CLAIM_CHARS_MAX: usize = 1_024;

/// A session, and whose token it was got for.
#[derive(Clone, Debug)]
pub struct WebSession {
    pub session: NewSession,
    pub subject: String,
    pub audience: String,
    /// ARN.
    pub provider: String,
}

impl Iam<'_> {
    /// Credentials of a role, for whoever has a token of a provider that the role
    /// trusts. Nobody needs to have signed the request.
    ///
    /// # Errors
    /// `InvalidIdentityToken`, `ExpiredIdentityToken`, `IdentityProviderSilent`;
    /// `Denied` unless the trust policy allows it; as `assume_role`
    pub async fn assume_role_by_token(
        &self,
        asked: &AssumeRole,
        token: &str,
    ) -> Result<WebSession, IamError> {
        let invalid = || IamError::Validation(format!("{} is invalid", asked.role_arn));
        let arn: Arn = asked.role_arn.parse().map_err(|_| invalid())?;
        let account = arn.account_id().ok_or_else(invalid)?;
        let token = WebIdentity::parse(token).map_err(|error| refused(&error))?;
        let provider = self.vouching(&token, &account).await?;
        let claims = self.verified(token, &provider).await?;
        let audience = claims
            .audiences
            .iter()
            .find(|audience| provider.client_ids.contains(*audience));
        let Some(audience) = audience.cloned() else {
            return Err(IamError::InvalidIdentityToken(
                "Incorrect token audience".to_owned(),
            ));
        };
        let session = self
            .session_for(asked, &arn, &account, &provider, &claims)
            .await?;
        Ok(WebSession {
            session,
            subject: claims.subject,
            audience,
            provider: provider.arn,
        })
    }

    /// The provider that a token says to be from, which an account trusts.
    async fn vouching(
        &self,
        token: &WebIdentity<'_>,
        account: &AccountId,
    ) -> Result<IdentityProvider, IamError> {
        let issuer = token.claimed_issuer().unwrap_or_default();
        let unknown = || {
            IamError::InvalidIdentityToken(
                "No OpenIDConnect provider found in your account for the token's issuer".to_owned(),
            )
        };
        let name = name_of(issuer).map_err(|_| unknown())?;
        let found = provider_of(self.local()?.as_ref(), account, &name)?;
        let found = match found {
            Some(found) => Some(found),
            // It may be newer than this copy.
            None => provider_of(self.view().await?.as_ref(), account, &name)?,
        };
        found.ok_or_else(unknown)
    }

    async fn verified(
        &self,
        token: WebIdentity<'_>,
        provider: &IdentityProvider,
    ) -> Result<WebClaims, IamError> {
        let (registry, now_ms) = (self.registry, self.now_ms());
        let keys = async |anew| {
            let found = registry
                .issuers
                .keys(&registry.courier, &provider.name, anew);
            found
                .await
                .map_err(|error| IamError::IdentityProviderSilent(error.to_string()))
        };
        let known = keys(false).await?;
        match token.verify(&known, now_ms) {
            Err(WebIdentityError::NoKey) => {
                let newer = keys(true).await?;
                token.verify(&newer, now_ms)
            }
            verified => verified,
        }
        .map_err(|error| refused(&error))
    }

    async fn session_for(
        &self,
        asked: &AssumeRole,
        arn: &Arn,
        account: &AccountId,
        provider: &IdentityProvider,
        claims: &WebClaims,
    ) -> Result<NewSession, IamError> {
        let mut view = self.local()?;
        let mut role = role_of(view.as_ref(), arn, account)?;
        if role.is_none() {
            view = self.view().await?;
            role = role_of(view.as_ref(), arn, account)?;
        }
        let is_same = |path: &str, name: &str| arn.resource() == format!("role{path}{name}");
        let is_active = query::account(view.as_ref(), account)?.is_some_and(|it| it.is_active());
        let role = role.filter(|role| is_active && is_same(&role.path, &role.name));
        let who = Caller {
            origin: self.who.origin.clone(),
            ..Caller::of(Principal {
                account: account.clone(),
                identity: Identity::Federated {
                    provider: provider.arn.clone(),
                    subject: claims.subject.clone(),
                },
            })
        };
        let settings = role.as_ref().and_then(|role| role.role.as_ref());
        let tags = role.as_ref().map(|role| &role.tags);
        let mut context = tags.map(of_tagged).unwrap_or_default();
        context.insert("sts:RoleSessionName", asked.session_name.as_str());
        add_claims(&mut context, provider, claims);
        let trust = settings.map(|role| role.trust.as_str());
        let allowed = self
            .registry
            .may_assume_by_token(&who, arn, trust, &context)?;
        let Some(role) = role.filter(|_| allowed) else {
            let text = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
            return Err(ServiceError::Denied(text.to_owned()).into());
        };
        let duration_s = asked.duration_s.unwrap_or(ROLE_SESSION_S);
        if duration_s > role.role.as_ref().map_or(0, |it| it.max_session_s) {
            return Err(IamError::Validation(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
                    .to_owned(),
            ));
        }
        let policy = session_policy(view.as_ref(), account, asked)?;
        let identity = Identity::AssumedRole(AssumedRole {
            path: role.path,
            role: role.name,
            role_id: role.id,
            session: asked.session_name.clone(),
        });
        let account = account.clone();
        self.session(Principal { account, identity }, duration_s, policy)
    }
}

/// What conditions see of a token: `<issuer>:<claim>`.
fn add_claims(context: &mut Context, provider: &IdentityProvider, claims: &WebClaims) {
    let name = &provider.name;
    context.insert(&format!("{name}:sub"), claims.subject.as_str());
    let meant = claims
        .audiences
        .iter()
        .filter(|audience| provider.client_ids.contains(*audience));
    for audience in meant {
        context.insert(&format!("{name}:aud"), audience.as_str());
    }
    let own = ["sub", "aud"];
    let others = claims.all.iter();
    let others = others.filter(|(claim, _)| !own.contains(&claim.to_ascii_lowercase().as_str()));
    for (claim, value) in others.take(CLAIMS_MAX) {
        let key = format!("{name}:{claim}");
        let values = match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        for value in values.into_iter().take(CLAIMS_MAX) {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                _ => continue,
            };
            if text.chars().count() <= CLAIM_CHARS_MAX {
                context.insert(&key, text);
            }
        }
    }
}

fn refused(error: &WebIdentityError) -> IamError {
    match error {
        WebIdentityError::Expired { .. } => {
            IamError::ExpiredIdentityToken(format!("The token is not good any more: {error}"))
        }
        other => IamError::InvalidIdentityToken(format!("The token is not good: {other}")),
    }
}
