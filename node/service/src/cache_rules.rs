//! Rules for repositories that another registry is to fill, as their owners keep
//! them. Nothing here pulls anything.

use entrepot_metadata::query::{ItemKind, RegistryItem};
use serde::{Deserialize, Serialize};

use crate::registry_items::{Before, from_json, missing, to_json};
use crate::repositories::invalid;
use crate::{Caller, Registry, ServiceError, Target};

/// Any repository, of the cache or of the upstream registry.
const ROOT: &str = "ROOT";

/// Registries that a rule may name: ECR's name of the kind, the host, or its end
/// after a name of the client's own, and whether a secret is needed.
const UPSTREAMS: [(&str, &str, bool); 9] = [
    ("ecr-public", "public.ecr.aws", false),
    ("k8s", "registry.k8s.io", false),
    ("quay", "quay.io", false),
    ("docker-hub", "registry-1.docker.io", true),
    ("github-container-registry", "ghcr.io", true),
    ("gitlab-container-registry", "registry.gitlab.com", true),
    ("chainguard", "cgr.dev", true),
    ("azure-container-registry", ".azurecr.io", true),
    ("ecr", ".amazonaws.com", false),
];

/// A rule, by the prefix of the repositories that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRule {
    pub prefix: String,
    pub members: CacheRuleMembers,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheRuleMembers {
    /// Host.
    pub upstream_registry_url: String,
    /// ECR's name of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_registry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_repository_prefix: Option<String>,
    /// ARN of a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_role_arn: Option<String>,
}

#[derive(Debug, Clone)]
pub struct CacheRulePage {
    pub rules: Vec<CacheRule>,
    pub more: bool,
}

impl Registry {
    /// # Errors
    /// `Conflict` when there is one of that prefix; `Unsupported` for a registry
    /// that no rule can name; `Invalid`; `LimitExceeded`.
    pub async fn create_cache_rule(
        &self,
        who: &Caller,
        prefix: &str,
        members: CacheRuleMembers,
    ) -> Result<CacheRule, ServiceError> {
        self.authorize(who, "ecr:CreatePullThroughCacheRule", Target::Any)?;
        let members = checked(prefix, members)?;
        let (kind, body) = (ItemKind::PullThroughCacheRule, to_json(&members)?);
        let put = self.put_item(who, kind, prefix, body, Before::Nothing);
        CacheRule::of(&put.await?)
    }

    /// Sets the secret, or the role, or both.
    ///
    /// # Errors
    /// `NotFound` when there is none of that prefix.
    pub async fn update_cache_rule(
        &self,
        who: &Caller,
        prefix: &str,
        credential: Option<String>,
        role: Option<String>,
    ) -> Result<CacheRule, ServiceError> {
        self.authorize(who, "ecr:UpdatePullThroughCacheRule", Target::Any)?;
        if credential.is_none() && role.is_none() {
            return Err(invalid(
                "credentialArn",
                "One of credentialArn and customRoleArn is required",
            ));
        }
        let kind = ItemKind::PullThroughCacheRule;
        let found = self.item(who, kind, prefix).await?;
        let found = found.ok_or_else(|| missing(kind, prefix))?;
        let mut members: CacheRuleMembers = from_json(&found)?;
        members.credential_arn = credential.or(members.credential_arn);
        members.custom_role_arn = role.or(members.custom_role_arn);
        let body = to_json(&members)?;
        let put = self.put_item(who, kind, prefix, body, Before::Something);
        CacheRule::of(&put.await?)
    }

    /// Removes it, and leaves what it has brought; what it was.
    ///
    /// # Errors
    /// `NotFound` when there is none of that prefix.
    pub async fn delete_cache_rule(
        &self,
        who: &Caller,
        prefix: &str,
    ) -> Result<CacheRule, ServiceError> {
        self.authorize(who, "ecr:DeletePullThroughCacheRule", Target::Any)?;
        let deleted = self.delete_item(who, ItemKind::PullThroughCacheRule, prefix);
        CacheRule::of(&deleted.await?)
    }

    /// A page of them by their prefixes.
    pub async fn cache_rules(
        &self,
        who: &Caller,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<CacheRulePage, ServiceError> {
        self.authorize(who, "ecr:DescribePullThroughCacheRules", Target::Any)?;
        let kind = ItemKind::PullThroughCacheRule;
        let (items, more) = self.items(who, kind, after, limit).await?;
        let rules: Result<_, _> = items.iter().map(CacheRule::of).collect();
        Ok(CacheRulePage {
            rules: rules?,
            more,
        })
    }

    /// One of them. `action`: as which one is asked for it.
    ///
    /// # Errors
    /// `NotFound` when there is none of that prefix.
    pub async fn cache_rule(
        &self,
        who: &Caller,
        action: &str,
        prefix: &str,
    ) -> Result<CacheRule, ServiceError> {
        self.authorize(who, action, Target::Any)?;
        let kind = ItemKind::PullThroughCacheRule;
        let found = self.item(who, kind, prefix).await?;
        found.map_or_else(|| Err(missing(kind, prefix)), |item| CacheRule::of(&item))
    }
}

/// The members of a new rule, with what follows from them.
fn checked(prefix: &str, mut members: CacheRuleMembers) -> Result<CacheRuleMembers, ServiceError> {
    let url = members.upstream_registry_url.as_str();
    let is_at = |host: &str| match host.strip_prefix('.') {
        Some(_) => url.strip_suffix(host).is_some_and(|own| !own.is_empty()),
        None => url == host,
    };
    let mut upstreams = UPSTREAMS.iter();
    let Some((kind, _, needs_secret)) = upstreams.find(|(_, host, _)| is_at(host)) else {
        return Err(ServiceError::Unsupported(format!(
            "The upstream registry '{url}' is not supported"
        )));
    };
    if members
        .upstream_registry
        .as_deref()
        .is_some_and(|it| it != *kind)
    {
        return Err(invalid(
            "upstreamRegistry",
            format_args!("The upstream registry URL '{url}' is one of {kind}"),
        ));
    }
    if *needs_secret && members.credential_arn.is_none() {
        return Err(invalid(
            "credentialArn",
            format_args!("A credential is required for the upstream registry {kind}"),
        ));
    }
    let upstream_prefix = members.upstream_repository_prefix.as_deref();
    if prefix == ROOT && upstream_prefix.is_some_and(|it| it != ROOT) {
        return Err(invalid(
            "upstreamRepositoryPrefix",
            "With the repository prefix ROOT the upstream prefix is ROOT",
        ));
    }
    members.upstream_registry = Some((*kind).to_owned());
    members
        .upstream_repository_prefix
        .get_or_insert_with(|| ROOT.to_owned());
    Ok(members)
}

// === impl CacheRule ===

impl CacheRule {
    fn of(item: &RegistryItem) -> Result<Self, ServiceError> {
        Ok(Self {
            prefix: item.name.clone(),
            members: from_json(item)?,
            created_at_ms: item.created_at_ms,
            updated_at_ms: item.updated_at_ms,
        })
    }
}
