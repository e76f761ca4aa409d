//! What a registry has one or several of: how it is kept and read, its policy, its
//! account settings, and the principals whose pulls do not count.
//!
//! Bodies are JSON in ECR's names, or what the metadata itself has to read.

use bytes::Bytes;
use entrepot_access::policy::DocumentKind;
use entrepot_metadata::command::{DeleteRegistryItem, PutRegistryItem};
use entrepot_metadata::query::{self, ItemKind, RegistryItem};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::page;
use crate::metadata::refused;
use crate::policies::parse;
use crate::repositories::invalid;
use crate::{Caller, Registry, ServiceError, Target};

/// The account settings of ECR: their names, their values, and which one holds
/// until another is set.
const ACCOUNT_SETTINGS: [(&str, &[&str], &str); 3] = [
    ("BASIC_SCAN_TYPE_VERSION", &["AWS_NATIVE"], "AWS_NATIVE"),
    ("REGISTRY_POLICY_SCOPE", &["V1", "V2"], "V2"),
    (BLOB_MOUNTING, &["ENABLED", "DISABLED"], "ENABLED"),
];
const BLOB_MOUNTING: &str = "BLOB_MOUNTING";
const POLICY_SCOPE: &str = "REGISTRY_POLICY_SCOPE";

/// The actions that a registry's policy may name in its narrow scope.
const ACTIONS_V1: [&str; 3] = [
    "ecr:replicateimage",
    "ecr:batchimportupstreamimage",
    "ecr:createrepository",
];

/// What has to be there before an item is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    Something,
    /// With this body: nobody has changed it, or made another one, since it was read.
    This(Bytes),
    Either,
}

/// A principal whose pulls do not count, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullTimeExclusion {
    /// ARN.
    pub principal: String,
    pub created_at_ms: i64,
}

#[derive(Debug, Clone)]
pub struct PullTimeExclusionPage {
    pub exclusions: Vec<PullTimeExclusion>,
    pub more: bool,
}

impl Registry {
    // === its policy ===

    /// Sets who may do what with the registry as a whole.
    ///
    /// # Errors
    /// `Invalid`, in ECR's words.
    pub async fn put_registry_policy(&self, who: &Caller, text: &str) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:PutRegistryPolicy", Target::Any)?;
        parse(text, DocumentKind::Registry)?;
        if self.account_setting_now(who, POLICY_SCOPE).await? == "V1" {
            check_narrow(text)?;
        }
        let body = text.as_bytes().to_vec();
        let put = self.put_item(who, ItemKind::Policy, "", body, Before::Either);
        put.await.map(drop)
    }

    /// # Errors
    /// `NotFound` when there is none.
    pub async fn registry_policy(&self, who: &Caller) -> Result<String, ServiceError> {
        self.authorize(who, "ecr:GetRegistryPolicy", Target::Any)?;
        let found = self.item(who, ItemKind::Policy, "").await?;
        found.map_or_else(|| Err(missing(ItemKind::Policy, "")), text)
    }

    /// Removes it; what it was.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn delete_registry_policy(&self, who: &Caller) -> Result<String, ServiceError> {
        self.authorize(who, "ecr:DeleteRegistryPolicy", Target::Any)?;
        text(self.delete_item(who, ItemKind::Policy, "").await?)
    }

    // === its account settings ===

    /// # Errors
    /// `Invalid` for a name that ECR does not have.
    pub async fn account_setting(&self, who: &Caller, name: &str) -> Result<String, ServiceError> {
        self.authorize(who, "ecr:GetAccountSetting", Target::Any)?;
        self.account_setting_now(who, name).await
    }

    /// # Errors
    /// `Invalid` for a name or a value that ECR does not have.
    pub async fn put_account_setting(
        &self,
        who: &Caller,
        name: &str,
        value: &str,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:PutAccountSetting", Target::Any)?;
        let (values, _) = known_setting(name)?;
        if !values.contains(&value) {
            let values = values.join(", ");
            return Err(invalid(
                "value",
                format_args!("Member must satisfy enum value set: [{values}]"),
            ));
        }
        if (name, value) == (POLICY_SCOPE, "V1")
            && let Some(policy) = self.item(who, ItemKind::Policy, "").await?
        {
            check_narrow(&text(policy)?)?;
        }
        let (kind, body) = (ItemKind::AccountSetting, value.as_bytes().to_vec());
        let put = self.put_item(who, kind, name, body, Before::Either).await;
        put.map(drop)
    }

    async fn account_setting_now(&self, who: &Caller, name: &str) -> Result<String, ServiceError> {
        let (_, default) = known_setting(name)?;
        let found = self.item(who, ItemKind::AccountSetting, name).await?;
        found.map_or_else(|| Ok(default.to_owned()), text)
    }

    /// Whether blobs may be mounted from one repository into another, as far as
    /// this node knows.
    pub(crate) fn mounts(&self, who: &Caller) -> Result<bool, ServiceError> {
        let view = self.local()?;
        let kind = ItemKind::AccountSetting;
        let found = query::registry_item(view.as_ref(), &who.account, kind, BLOB_MOUNTING)?;
        Ok(found.is_none_or(|found| found.body != "DISABLED"))
    }

    // === principals whose pulls do not count ===

    /// # Errors
    /// `Conflict` when it is one already; `LimitExceeded`.
    pub async fn register_exclusion(
        &self,
        who: &Caller,
        principal: &str,
    ) -> Result<PullTimeExclusion, ServiceError> {
        self.authorize(who, "ecr:RegisterPullTimeUpdateExclusion", Target::Any)?;
        let kind = ItemKind::PullTimeExclusion;
        let put = self.put_item(who, kind, principal, Vec::new(), Before::Nothing);
        put.await.map(PullTimeExclusion::from)
    }

    /// # Errors
    /// `NotFound` when it is none.
    pub async fn deregister_exclusion(
        &self,
        who: &Caller,
        principal: &str,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:DeregisterPullTimeUpdateExclusion", Target::Any)?;
        let kind = ItemKind::PullTimeExclusion;
        self.delete_item(who, kind, principal).await.map(drop)
    }

    /// A page of them by their ARNs.
    pub async fn exclusions(
        &self,
        who: &Caller,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<PullTimeExclusionPage, ServiceError> {
        self.authorize(who, "ecr:ListPullTimeUpdateExclusions", Target::Any)?;
        let kind = ItemKind::PullTimeExclusion;
        let (items, more) = self.items(who, kind, after, limit).await?;
        let exclusions = items.into_iter().map(PullTimeExclusion::from).collect();
        Ok(PullTimeExclusionPage { exclusions, more })
    }

    // === items of any kind ===

    /// As everybody would see it who asks now.
    pub(crate) async fn item(
        &self,
        who: &Caller,
        kind: ItemKind,
        name: &str,
    ) -> Result<Option<RegistryItem>, ServiceError> {
        let view = self.current().await?;
        let found = query::registry_item(view.as_ref(), &who.account, kind, name)?;
        Ok(found)
    }

    /// A page of them by their names, and whether there are more.
    pub(crate) async fn items(
        &self,
        who: &Caller,
        kind: ItemKind,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<(Vec<RegistryItem>, bool), ServiceError> {
        let limit = page(limit);
        let view = self.current().await?;
        let account = &who.account;
        let mut items = query::registry_items(view.as_ref(), account, kind, after, limit + 1)?;
        let more = items.len() > limit;
        items.truncate(limit);
        Ok((items, more))
    }

    /// The item as it is then.
    pub(crate) async fn put_item(
        &self,
        who: &Caller,
        kind: ItemKind,
        name: &str,
        body: Vec<u8>,
        before: Before,
    ) -> Result<RegistryItem, ServiceError> {
        let command = PutRegistryItem {
            must_be_new: before == Before::Nothing,
            must_exist: before == Before::Something,
            expected: match before {
                Before::This(body) => Some(body),
                Before::Nothing | Before::Something | Before::Either => None,
            },
            ..PutRegistryItem::new(&who.account, kind, name, body, self.clock.now_ms())
        };
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        // This node's copy has applied the change.
        let view = self.local()?;
        let found = query::registry_item(view.as_ref(), &who.account, kind, name)?;
        found.ok_or_else(|| missing(kind, name))
    }

    /// What it was.
    pub(crate) async fn delete_item(
        &self,
        who: &Caller,
        kind: ItemKind,
        name: &str,
    ) -> Result<RegistryItem, ServiceError> {
        let found = self.item(who, kind, name).await?;
        let found = found.ok_or_else(|| missing(kind, name))?;
        let command = DeleteRegistryItem::new(&who.account, kind, name);
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(found)
    }
}

pub(crate) fn missing(kind: ItemKind, name: &str) -> ServiceError {
    ServiceError::NotFound(format!("there is no {} {name}", kind.name()))
}

/// The values that a setting may have, and the one that it has by default.
fn known_setting(name: &str) -> Result<(&'static [&'static str], &'static str), ServiceError> {
    let found = ACCOUNT_SETTINGS.iter().find(|(known, ..)| *known == name);
    let found = found.map(|(_, values, default)| (*values, *default));
    found.ok_or_else(|| {
        let names = ACCOUNT_SETTINGS.map(|(name, ..)| name).join(", ");
        invalid(
            "name",
            format_args!("Member must satisfy enum value set: [{names}]"),
        )
    })
}

/// That a policy, which has been parsed, names what the narrow scope has alone.
fn check_narrow(text: &str) -> Result<(), ServiceError> {
    let refused = || invalid("PolicyText", "Invalid registry policy provided");
    let document: serde_json::Value = serde_json::from_str(text).map_err(|_| refused())?;
    let statements = match &document["Statement"] {
        serde_json::Value::Array(statements) => statements.iter().collect(),
        one => vec![one],
    };
    let is_narrow = |action: &serde_json::Value| {
        let action = action.as_str().map(str::to_ascii_lowercase);
        action.is_some_and(|action| ACTIONS_V1.contains(&action.as_str()))
    };
    let right = statements
        .iter()
        .all(|statement| match &statement["Action"] {
            serde_json::Value::Array(actions) => actions.iter().all(is_narrow),
            action => is_narrow(action),
        });
    if right { Ok(()) } else { Err(refused()) }
}

/// Of what is kept as a text.
fn text(item: RegistryItem) -> Result<String, ServiceError> {
    String::from_utf8(item.body.into()).map_err(|error| ServiceError::internal(&error))
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(value).map_err(|error| ServiceError::internal(&error))
}

pub(crate) fn from_json<T: DeserializeOwned>(item: &RegistryItem) -> Result<T, ServiceError> {
    serde_json::from_slice(&item.body).map_err(|error| ServiceError::internal(&error))
}

// === impl PullTimeExclusion ===

impl From<RegistryItem> for PullTimeExclusion {
    fn from(item: RegistryItem) -> Self {
        Self {
            principal: item.name,
            created_at_ms: item.created_at_ms,
        }
    }
}
