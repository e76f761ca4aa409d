//! Templates: what repositories are made with that come to be by a push or as a
//! replica.

use std::collections::BTreeMap;

use entrepot_access::policy::DocumentKind;
use entrepot_access::{Arn, ArnError};
use entrepot_metadata::command::{CreateRepository, CreationTemplate, RepositorySpec};
use entrepot_metadata::query::{self, CreatedFor, Encryption, ItemKind, Mutability, RegistryItem};
use entrepot_metadata::records::settings::EncryptionRecord;
use entrepot_oci::{RegistryId, RepositoryName};
use prost::Message as _;

use crate::metadata::refused;
use crate::registry_items::{Before, missing};
use crate::repositories::{check_encryption, check_mutability};
use crate::{Caller, Registry, ServiceError, Target, lifecycle, policies};

/// The prefix of the template for what no other is for.
const ROOT: &str = "ROOT";

/// A template, by the prefix of the repositories that it is for, or `ROOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub prefix: String,
    pub description: Option<String>,
    pub mutability: Mutability,
    /// None: AES256.
    pub encryption: Option<Encryption>,
    /// Resource tags.
    pub tags: BTreeMap<String, String>,
    pub policy: Option<String>,
    pub lifecycle: Option<String>,
    pub applied_for: Vec<CreatedFor>,
    /// ARN. Kept; nobody has to become it here.
    pub role: Option<String>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// What is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct TemplateChange {
    pub description: Option<String>,
    pub mutability: Option<Mutability>,
    pub encryption: Option<Encryption>,
    pub tags: Option<BTreeMap<String, String>>,
    /// Empty: none, as the next one.
    pub policy: Option<String>,
    pub lifecycle: Option<String>,
    pub applied_for: Option<Vec<CreatedFor>>,
    pub role: Option<String>,
}

#[derive(Debug, Clone)]
pub struct TemplatePage {
    pub templates: Vec<Template>,
    pub more: bool,
}

impl Registry {
    /// # Errors
    /// `Denied`, also to whoever may not give its repositories the policies that
    /// it has; `Conflict` when there is one of that prefix; `LimitExceeded`.
    pub async fn create_template(
        &self,
        who: &Caller,
        prefix: &str,
        members: TemplateChange,
    ) -> Result<Template, ServiceError> {
        let action = "ecr:CreateRepositoryCreationTemplate";
        self.authorize(who, action, Target::Any)?;
        self.may_give(who, prefix, &members).await?;
        let mut template = CreationTemplate::default();
        members.change(&mut template)?;
        let (kind, body) = (ItemKind::CreationTemplate, template.encode_to_vec());
        let put = self.put_item(who, kind, prefix, body, Before::Nothing);
        Template::of(put.await?)
    }

    /// # Errors
    /// `Denied`, as for a new one; `NotFound` when there is none of that prefix.
    pub async fn update_template(
        &self,
        who: &Caller,
        prefix: &str,
        change: TemplateChange,
    ) -> Result<Template, ServiceError> {
        let action = "ecr:UpdateRepositoryCreationTemplate";
        self.authorize(who, action, Target::Any)?;
        self.may_give(who, prefix, &change).await?;
        let kind = ItemKind::CreationTemplate;
        let found = self.item(who, kind, prefix).await?;
        let found = found.ok_or_else(|| missing(kind, prefix))?;
        let mut template = decode(&found)?;
        change.change(&mut template)?;
        let body = template.encode_to_vec();
        let put = self.put_item(who, kind, prefix, body, Before::Something);
        Template::of(put.await?)
    }

    /// That the caller may set, or take away, the policies of all repositories
    /// that the template is for: a push that somebody else makes does it for them.
    async fn may_give(
        &self,
        who: &Caller,
        prefix: &str,
        members: &TemplateChange,
    ) -> Result<(), ServiceError> {
        let all = match prefix {
            ROOT => "*".to_owned(),
            prefix => format!("{}/*", prefix.trim_end_matches('/')),
        };
        let (region, account) = (self.region(), &who.account);
        let all = format!("arn:aws:ecr:{region}:{account}:repository/{all}");
        let all: Arn = all
            .parse()
            .map_err(|error: ArnError| ServiceError::Invalid(error.to_string()))?;
        for action in members.of_policies() {
            self.authorize(who, action, Target::Named(&all))?;
        }
        let lifecycle = members.lifecycle.as_ref().filter(|text| !text.is_empty());
        if let Some(text) = lifecycle {
            let policy = lifecycle::normalized(text)?;
            self.may_shorten(who, &policy, Target::Named(&all)).await?;
        }
        Ok(())
    }

    /// Removes it; what it was.
    ///
    /// # Errors
    /// `NotFound` when there is none of that prefix.
    pub async fn delete_template(
        &self,
        who: &Caller,
        prefix: &str,
    ) -> Result<Template, ServiceError> {
        let action = "ecr:DeleteRepositoryCreationTemplate";
        self.authorize(who, action, Target::Any)?;
        let deleted = self.delete_item(who, ItemKind::CreationTemplate, prefix);
        Template::of(deleted.await?)
    }

    /// A page of them by their prefixes.
    pub async fn templates(
        &self,
        who: &Caller,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<TemplatePage, ServiceError> {
        let action = "ecr:DescribeRepositoryCreationTemplates";
        self.authorize(who, action, Target::Any)?;
        let kind = ItemKind::CreationTemplate;
        let (items, more) = self.items(who, kind, after, limit).await?;
        let templates: Result<_, _> = items.into_iter().map(Template::of).collect();
        Ok(TemplatePage {
            templates: templates?,
            more,
        })
    }

    /// Those of these prefixes that there are.
    pub async fn templates_of(
        &self,
        who: &Caller,
        prefixes: &[String],
    ) -> Result<Vec<Template>, ServiceError> {
        let action = "ecr:DescribeRepositoryCreationTemplates";
        self.authorize(who, action, Target::Any)?;
        let mut templates = Vec::new();
        for prefix in prefixes {
            let found = self.item(who, ItemKind::CreationTemplate, prefix).await?;
            templates.extend(found.map(Template::of).transpose()?);
        }
        Ok(templates)
    }

    /// Whether a push has to make `repository` with its own command. Where a
    /// template is for it, it is made here, with what that says.
    ///
    /// # Errors
    /// Those of [`creates`](Self::creates).
    pub(crate) async fn creates_plain(
        &self,
        account: &RegistryId,
        repository: &RepositoryName,
    ) -> Result<bool, ServiceError> {
        if !self.creates(account, repository).await? {
            return Ok(false);
        }
        let view = self.local()?;
        let way = CreatedFor::Push;
        let spec = query::template_for(view.as_ref(), account, repository, way)?;
        drop(view);
        let Some(spec) = spec else { return Ok(true) };
        let command = CreateRepository {
            spec: Some(spec),
            ..CreateRepository::new(account, repository, self.clock.now_ms())
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(false)
    }
}

fn decode(item: &RegistryItem) -> Result<CreationTemplate, ServiceError> {
    CreationTemplate::decode(item.body.clone()).map_err(|error| ServiceError::internal(&error))
}

// === impl TemplateChange ===

impl TemplateChange {
    /// What it does to the policies of repositories, as actions.
    fn of_policies(&self) -> impl Iterator<Item = &'static str> {
        let policy = self.policy.as_ref().map(|text| match text.as_str() {
            "" => "ecr:DeleteRepositoryPolicy",
            _ => "ecr:SetRepositoryPolicy",
        });
        let lifecycle = self.lifecycle.as_ref().map(|text| match text.as_str() {
            "" => "ecr:DeleteLifecyclePolicy",
            _ => "ecr:PutLifecyclePolicy",
        });
        policy.into_iter().chain(lifecycle)
    }

    fn change(self, template: &mut CreationTemplate) -> Result<(), ServiceError> {
        let spec = template.spec.get_or_insert_default();
        if let Some(mutability) = self.mutability {
            check_mutability(&mutability)?;
            let plain = mutability == Mutability::default();
            spec.mutability = (!plain).then(|| mutability.into());
        }
        if let Some(encryption) = self.encryption {
            check_encryption(Some(&encryption))?;
            spec.encryption = Some(EncryptionRecord {
                kind: encryption.kind,
                kms_key: encryption.kms_key.unwrap_or_default(),
            });
        }
        if let Some(tags) = self.tags {
            spec.tags = tags;
        }
        if let Some(policy) = self.policy {
            if !policy.is_empty() {
                policies::parse(&policy, DocumentKind::Repository)?;
            }
            spec.policy = policy;
        }
        if let Some(text) = self.lifecycle {
            spec.lifecycle = match text.as_str() {
                "" => String::new(),
                text => lifecycle::normalized(text)?.text,
            };
        }
        if let Some(ways) = self.applied_for {
            template.applied_for = ways.into_iter().map(i32::from).collect();
        }
        template.description = self.description.or(template.description.take());
        template.role = self.role.or(template.role.take());
        Ok(())
    }
}

// === impl Template ===

impl Template {
    fn of(item: RegistryItem) -> Result<Self, ServiceError> {
        let template = decode(&item)?;
        let applied_for = template.applied_for().collect();
        let RepositorySpec {
            mutability,
            encryption,
            tags,
            policy,
            lifecycle,
            ..
        } = template.spec.unwrap_or_default();
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            prefix: item.name,
            description: template.description,
            mutability: mutability.map(Mutability::from).unwrap_or_default(),
            encryption: encryption.map(|encryption| Encryption {
                kind: encryption.kind,
                kms_key: some(encryption.kms_key),
            }),
            tags,
            policy: some(policy),
            lifecycle: some(lifecycle),
            applied_for,
            role: template.role,
            created_at_ms: item.created_at_ms,
            updated_at_ms: item.updated_at_ms,
        })
    }
}
