//! Managed policies: those of the account, and AWS's own, which every account
//! has and nobody changes.

use entrepot_access::UniqueId;
use entrepot_access::policy::{
    Context, DocumentKind, MANAGED_POLICIES, ManagedPolicy as AwsPolicy, managed_policy,
};
use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{
    CreatePolicy, CreatePolicyVersion, DeletePolicy, DeletePolicyVersion, SetDefaultPolicyVersion,
    TagEntity,
};
use entrepot_metadata::query::{self, AWS_POLICIES, EntityKind, Policy};
use entrepot_metadata::response::Outcome;

use super::entities::{check_tags, replaced, same};
use super::{Iam, IamError, Page, Tags, document, of_tagged, unique_id, with_tags};

/// Of AWS's policies that services' roles alone may have.
pub(super) const SERVICE_ROLE_PATH: &str = "/aws-service-role/";
/// Those who have a policy are counted so many at a time.
const COUNT_PAGE: usize = 1_000;
/// Characters after the four that say what an id is of.
const ID_CHARS: usize = 17;

/// A managed policy that is to be made.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    pub name: String,
    pub path: String,
    pub description: String,
    pub document: String,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedPolicy {
    pub arn: String,
    pub name: String,
    pub path: String,
    pub id: String,
    pub description: String,
    /// The number of the one that is in force.
    pub default_version: u64,
    /// How many users, groups and roles have it.
    pub attached: usize,
    /// How many it bounds.
    pub bounding: usize,
    /// Anybody of the account may have it.
    pub attachable: bool,
    /// Not known of AWS's.
    pub created_at_ms: Option<i64>,
    pub updated_at_ms: Option<i64>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    pub version: u64,
    pub document: String,
    pub is_default: bool,
    pub created_at_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyScope {
    #[default]
    All,
    Aws,
    Local,
}

/// Which policies are to be listed.
#[derive(Clone, Debug, Default)]
pub struct PolicyFilter {
    pub scope: PolicyScope,
    pub path_prefix: String,
    /// Somebody has to have it, attached or as a boundary.
    pub used: bool,
    /// Somebody has to have it attached.
    pub attached: bool,
    /// Somebody has to be bounded by it.
    pub bounding: bool,
}

impl Iam<'_> {
    /// # Errors
    /// `EntityExists`, `LimitExceeded`, `MalformedPolicy`
    pub async fn create_policy(&self, new: NewPolicy) -> Result<ManagedPolicy, IamError> {
        let arn = query::policy_arn(self.account(), &new.path, &new.name);
        let context = with_tags(Context::new(), &new.tags);
        self.authorize("iam:CreatePolicy", &arn, &context)?;
        if !new.tags.is_empty() {
            self.authorize("iam:TagPolicy", &arn, &context)?;
        }
        check_tags(&new.tags)?;
        document(&new.document, DocumentKind::Managed)?;
        let command = CreatePolicy {
            account: self.account().to_string(),
            name: new.name,
            path: new.path,
            id: unique_id(UniqueId::Policy)?,
            description: new.description,
            document: new.document,
            tags: new.tags,
            at_ms: self.now_ms(),
        };
        self.propose(command).await?;
        self.known(self.local()?.as_ref(), &arn)
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn policy(&self, arn: &str) -> Result<ManagedPolicy, IamError> {
        self.permit("iam:GetPolicy", arn, Context::new()).await?;
        match self.known(self.local()?.as_ref(), arn) {
            Err(IamError::NoSuchEntity(_)) => Err(IamError::NoSuchEntity(format!(
                "Policy {arn} was not found."
            ))),
            found => found,
        }
    }

    /// # Errors
    /// `NoSuchEntity`, `InvalidInput` of AWS's; `DeleteConflict` while somebody has
    /// it or it has more than one version.
    pub async fn delete_policy(&self, arn: &str) -> Result<(), IamError> {
        let policy = self.own("iam:DeletePolicy", arn, Context::new()).await?;
        let command = DeletePolicy {
            account: self.account().to_string(),
            name: policy.name,
        };
        self.propose(command).await.map(drop)
    }

    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `MalformedPolicy`
    pub async fn create_version(
        &self,
        arn: &str,
        text: String,
        set_as_default: bool,
    ) -> Result<VersionInfo, IamError> {
        let action = "iam:CreatePolicyVersion";
        let policy = self.own(action, arn, Context::new()).await?;
        document(&text, DocumentKind::Managed)?;
        let at_ms = self.now_ms();
        let command = CreatePolicyVersion {
            account: self.account().to_string(),
            name: policy.name,
            document: text.clone(),
            set_as_default,
            at_ms,
        };
        let version = match self.propose(command).await? {
            Outcome::PolicyVersionMade(made) => made.version,
            _ => policy.default_version,
        };
        Ok(VersionInfo {
            version,
            document: text,
            is_default: set_as_default,
            created_at_ms: Some(at_ms),
        })
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn version(&self, arn: &str, version: u64) -> Result<VersionInfo, IamError> {
        let action = "iam:GetPolicyVersion";
        self.permit(action, arn, Context::new()).await?;
        let all = self.versions_of(self.local()?.as_ref(), arn)?;
        let found = all.into_iter().find(|it| it.version == version);
        found.ok_or_else(|| version_unknown(arn, version))
    }

    /// A page of them, newest first.
    ///
    /// # Errors
    /// `NoSuchEntity`
    pub async fn versions(
        &self,
        arn: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<VersionInfo>, IamError> {
        let action = "iam:ListPolicyVersions";
        self.permit(action, arn, Context::new()).await?;
        let all = self.versions_of(self.local()?.as_ref(), arn)?;
        let is_later = |it: &VersionInfo| before.is_none_or(|before| it.version < before);
        Ok(Page::after(all, is_later, limit))
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn set_default_version(&self, arn: &str, version: u64) -> Result<(), IamError> {
        let action = "iam:SetDefaultPolicyVersion";
        let policy = self.own_version(action, arn, version).await?;
        let command = SetDefaultPolicyVersion {
            account: self.account().to_string(),
            name: policy.name,
            version,
        };
        self.propose(command).await.map(drop)
    }

    /// # Errors
    /// `NoSuchEntity`; `DeleteConflict` of the default version.
    pub async fn delete_version(&self, arn: &str, version: u64) -> Result<(), IamError> {
        let action = "iam:DeletePolicyVersion";
        let policy = self.own_version(action, arn, version).await?;
        let command = DeletePolicyVersion {
            account: self.account().to_string(),
            name: policy.name,
            version,
        };
        self.propose(command).await.map(drop)
    }

    /// A page of AWS's and the account's, after the one of an ARN.
    pub async fn policies(
        &self,
        filter: &PolicyFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ManagedPolicy>, IamError> {
        let arn = query::policy_arn(self.account(), "/", "*");
        self.authorize("iam:ListPolicies", &arn, &Context::new())?;
        let view = self.view().await?;
        let view = view.as_ref();
        let mut found = Vec::new();
        let is_local = after.is_some_and(|after| !after.starts_with(AWS_POLICIES));
        let after_name = after.and_then(|arn| arn.rsplit('/').next());
        if filter.scope != PolicyScope::Local && !is_local {
            for policy in MANAGED_POLICIES {
                if after_name.is_none_or(|after| policy.name > after)
                    && policy.path.starts_with(&filter.path_prefix)
                {
                    found.push(self.of_aws(view, policy)?);
                }
            }
            found.retain(|policy| filter.wants(policy));
        }
        let mut after = after_name.filter(|_| is_local).map(ToOwned::to_owned);
        while filter.scope != PolicyScope::Aws && found.len() <= limit {
            let prefix = &filter.path_prefix;
            let page = query::policies(view, self.account(), prefix, after.as_deref(), COUNT_PAGE)?;
            let is_last = page.len() < COUNT_PAGE;
            after = page.last().map(|policy| policy.name.clone());
            for policy in page {
                let policy = self.of_account(view, policy)?;
                if filter.wants(&policy) {
                    found.push(policy);
                }
                if found.len() > limit {
                    break;
                }
            }
            if is_last {
                break;
            }
        }
        Ok(Page::of(found, limit))
    }

    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `InvalidInput`
    pub async fn tag_policy(&self, arn: &str, tags: Tags) -> Result<(), IamError> {
        let context = with_tags(Context::new(), &tags);
        let policy = self.own("iam:TagPolicy", arn, context).await?;
        check_tags(&tags)?;
        let command = TagEntity {
            account: self.account().to_string(),
            kind: EntityKind::Policy.into(),
            name: policy.name,
            remove: replaced(&policy.tags, &tags),
            set: tags,
        };
        self.propose(command).await.map(drop)
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn untag_policy(&self, arn: &str, keys: &[String]) -> Result<(), IamError> {
        let mut context = Context::new();
        for key in keys {
            context.insert("aws:TagKeys", key.as_str());
        }
        let policy = self.own("iam:UntagPolicy", arn, context).await?;
        let command = TagEntity {
            account: self.account().to_string(),
            kind: EntityKind::Policy.into(),
            name: policy.name,
            set: Tags::new(),
            remove: same(&policy.tags, keys),
        };
        self.propose(command).await.map(drop)
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn policy_tags(
        &self,
        arn: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, String)>, IamError> {
        let action = "iam:ListPolicyTags";
        self.permit(action, arn, Context::new()).await?;
        let policy = self.known(self.local()?.as_ref(), arn)?;
        let is_later = |tag: &(String, String)| after.is_none_or(|after| tag.0.as_str() > after);
        Ok(Page::after(policy.tags, is_later, limit))
    }

    /// That the caller may act on a policy, of which this node's copy knows all
    /// that was acknowledged afterwards.
    async fn permit(&self, action: &str, arn: &str, context: Context) -> Result<(), IamError> {
        let view = self.view().await?;
        let found = query::policy_by_arn(view.as_ref(), self.account(), arn)?;
        let context = match &found {
            Some(policy) => context.and(of_tagged(&policy.tags)),
            None => context,
        };
        self.authorize(action, arn, &context)
    }

    /// One of the account's own, which it may change.
    async fn own(&self, action: &str, arn: &str, context: Context) -> Result<Policy, IamError> {
        self.permit(action, arn, context).await?;
        if managed_policy(arn).is_some() {
            return Err(IamError::InvalidInput(format!(
                "Policy {arn} is managed by AWS and cannot be changed."
            )));
        }
        let view = self.local()?;
        let found = query::policy_by_arn(view.as_ref(), self.account(), arn)?;
        found.ok_or_else(|| IamError::NoSuchEntity(format!("Policy {arn} was not found.")))
    }

    async fn own_version(&self, action: &str, arn: &str, version: u64) -> Result<Policy, IamError> {
        let policy = self.own(action, arn, Context::new()).await?;
        let view = self.local()?;
        let name = &policy.name;
        match query::policy_version(view.as_ref(), self.account(), name, version)? {
            Some(_) => Ok(policy),
            None => Err(version_unknown(arn, version)),
        }
    }

    /// AWS's or the account's, of that ARN.
    pub(super) fn known(&self, view: &dyn KeyValue, arn: &str) -> Result<ManagedPolicy, IamError> {
        if let Some((policy, _)) = managed_policy(arn) {
            return self.of_aws(view, policy);
        }
        match query::policy_by_arn(view, self.account(), arn)? {
            Some(policy) => self.of_account(view, policy),
            None => Err(IamError::unknown(EntityKind::Policy, arn)),
        }
    }

    /// Newest first.
    fn versions_of(&self, view: &dyn KeyValue, arn: &str) -> Result<Vec<VersionInfo>, IamError> {
        if let Some((policy, _)) = managed_policy(arn) {
            return Ok(vec![VersionInfo {
                version: number(policy.version),
                document: policy.document.to_owned(),
                is_default: true,
                created_at_ms: None,
            }]);
        }
        let found = query::policy_by_arn(view, self.account(), arn)?;
        let policy =
            found.ok_or_else(|| IamError::NoSuchEntity(format!("Policy {arn} was not found.")))?;
        let versions = query::policy_versions(view, self.account(), &policy.name)?;
        let info = |version: query::PolicyVersion| VersionInfo {
            version: version.version,
            document: version.document,
            is_default: version.version == policy.default_version,
            created_at_ms: Some(version.created_at_ms),
        };
        Ok(versions.into_iter().rev().map(info).collect())
    }

    fn of_aws(&self, view: &dyn KeyValue, policy: &AwsPolicy) -> Result<ManagedPolicy, IamError> {
        let arn = policy.arn();
        let (attached, bounding) = self.uses(view, &arn)?;
        Ok(ManagedPolicy {
            name: policy.name.to_owned(),
            path: policy.path.to_owned(),
            id: id_of_aws(policy.name),
            description: String::new(),
            default_version: number(policy.version),
            attached,
            bounding,
            attachable: policy.path != SERVICE_ROLE_PATH,
            created_at_ms: None,
            updated_at_ms: None,
            tags: Tags::new(),
            arn,
        })
    }

    fn of_account(&self, view: &dyn KeyValue, policy: Policy) -> Result<ManagedPolicy, IamError> {
        let arn = query::policy_arn(self.account(), &policy.path, &policy.name);
        let (attached, bounding) = self.uses(view, &arn)?;
        Ok(ManagedPolicy {
            arn,
            name: policy.name,
            path: policy.path,
            id: policy.id,
            description: policy.description,
            default_version: policy.default_version,
            attached,
            bounding,
            attachable: true,
            created_at_ms: Some(policy.created_at_ms),
            updated_at_ms: Some(policy.updated_at_ms),
            tags: policy.tags,
        })
    }

    /// How many have a policy attached, and how many it bounds.
    fn uses(&self, view: &dyn KeyValue, arn: &str) -> Result<(usize, usize), IamError> {
        let (mut attached, mut bounding) = (0, 0);
        let mut after = None;
        loop {
            let page = query::policy_users(view, self.account(), arn, after.as_ref(), COUNT_PAGE)?;
            let bounded = page.iter().filter(|user| user.is_boundary).count();
            bounding += bounded;
            attached += page.len() - bounded;
            if page.len() < COUNT_PAGE {
                return Ok((attached, bounding));
            }
            after = page.into_iter().next_back();
        }
    }
}

fn version_unknown(arn: &str, version: u64) -> IamError {
    IamError::NoSuchEntity(format!(
        "Policy {arn} version v{version} does not exist or is not attachable."
    ))
}

/// Of `v3`.
fn number(version: &str) -> u64 {
    let digits = version.trim_start_matches('v');
    digits.parse().unwrap_or(1)
}

/// Always the same; not the one that AWS has given it.
fn id_of_aws(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes()).to_hex().to_ascii_uppercase();
    format!("ANPA{}", &hash[..ID_CHARS])
}

// === impl PolicyFilter ===

impl PolicyFilter {
    fn wants(&self, policy: &ManagedPolicy) -> bool {
        let is_used = policy.attached > 0 || policy.bounding > 0;
        (is_used || !self.used)
            && (policy.attached > 0 || !self.attached)
            && (policy.bounding > 0 || !self.bounding)
    }
}
