//! Identity providers (`OpenID` Connect) that an account trusts.
//!
//! The invariant: one is what was read when it changed. Of two changes at once, the
//! second is made to what the first has left.

use entrepot_access::policy::Context;
use entrepot_metadata::command::{Command, DeleteRegistryItem, PutRegistryItem};
use entrepot_metadata::query::{self, ItemKind, RegistryItem};
use entrepot_oci::{AccountId, RegistryId};
use serde::{Deserialize, Serialize};

use super::{Iam, IamError, Tags, with_tags};
use crate::ServiceError;
use crate::registry_items::{from_json, to_json};

/// Of one provider (IAM).
const CLIENT_IDS_MAX: usize = 100;
const CLIENT_ID_CHARS_MAX: usize = 255;
const THUMBPRINTS_MAX: usize = 5;
const THUMBPRINT_CHARS: usize = 40;
const URL_CHARS_MAX: usize = 255;
const TAGS_MAX: usize = 50;
/// Tries of a change whose provider others change, too.
const CHANGES_MAX: usize = 4;
const SCHEME: &str = "https://";
const KIND: ItemKind = ItemKind::IdentityProvider;

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityProvider {
    pub arn: String,
    /// Without `https://`.
    pub name: String,
    /// For whom tokens have to be.
    pub client_ids: Vec<String>,
    /// Kept for clients that ask for them: that an issuer is who it says is for the
    /// authorities of TLS to tell.
    pub thumbprints: Vec<String>,
    pub tags: Tags,
    pub created_at_ms: i64,
}

/// As it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    client_ids: Vec<String>,
    #[serde(default)]
    thumbprints: Vec<String>,
    #[serde(default)]
    tags: Tags,
}

/// One that is to be made.
#[derive(Clone, Debug, Default)]
pub struct NewProvider {
    pub url: String,
    pub client_ids: Vec<String>,
    pub thumbprints: Vec<String>,
    pub tags: Tags,
}

/// What of a provider is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderChange {
    AddClientId(String),
    RemoveClientId(String),
    Thumbprints(Vec<String>),
}

impl Iam<'_> {
    /// # Errors
    /// `EntityExists`, `LimitExceeded`, `InvalidInput`
    pub async fn create_provider(&self, new: NewProvider) -> Result<IdentityProvider, IamError> {
        let name = name_of(&new.url)?;
        let arn = arn_of(self.account(), &name);
        let context = with_tags(super::Context::new(), &new.tags);
        self.authorize("iam:CreateOpenIDConnectProvider", &arn, &context)?;
        if !new.tags.is_empty() {
            self.authorize("iam:TagOpenIDConnectProvider", &arn, &context)?;
        }
        if new.tags.len() > TAGS_MAX {
            return Err(IamError::InvalidInput(format!(
                "At most {TAGS_MAX} tags are taken."
            )));
        }
        let kept = Kept {
            client_ids: new.client_ids,
            thumbprints: new.thumbprints,
            tags: new.tags,
        };
        kept.check()?;
        let command = PutRegistryItem {
            must_be_new: true,
            ..self.put(&name, &kept)?
        };
        match self.changed(command).await {
            Err(IamError::Service(ServiceError::Conflict(_))) => Err(IamError::EntityExists(
                format!("Provider with url {SCHEME}{name} already exists."),
            )),
            Err(error) => Err(error),
            Ok(()) => self.known_provider(&arn),
        }
    }

    /// # Errors
    /// `NoSuchEntity`
    pub async fn provider(&self, arn: &str) -> Result<IdentityProvider, IamError> {
        self.authorize("iam:GetOpenIDConnectProvider", arn, &Context::new())?;
        let view = self.view().await?;
        let found = self.named(arn).map(|name| {
            let registry = RegistryId::from(self.account().clone());
            query::registry_item(view.as_ref(), &registry, KIND, name)
        });
        let found = found.transpose()?.flatten().ok_or_else(|| unknown(arn))?;
        provider(self.account(), &found).map_err(IamError::from)
    }

    /// The ARNs of all of them.
    pub async fn providers(&self) -> Result<Vec<String>, IamError> {
        let all = arn_of(self.account(), "*");
        self.authorize("iam:ListOpenIDConnectProviders", &all, &Context::new())?;
        let view = self.view().await?;
        let registry = RegistryId::from(self.account().clone());
        let found = query::registry_items(view.as_ref(), &registry, KIND, None, usize::MAX)?;
        let arns = found.iter().map(|item| arn_of(self.account(), &item.name));
        Ok(arns.collect())
    }

    /// One that is not there is gone, as to IAM.
    pub async fn delete_provider(&self, arn: &str) -> Result<(), IamError> {
        self.authorize("iam:DeleteOpenIDConnectProvider", arn, &Context::new())?;
        let Some(name) = self.named(arn) else {
            return Err(unknown(arn));
        };
        let registry = RegistryId::from(self.account().clone());
        match self
            .changed(DeleteRegistryItem::new(&registry, KIND, name))
            .await
        {
            Err(IamError::Service(ServiceError::NotFound(_))) => Err(unknown(arn)),
            done => done,
        }
    }

    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`, `InvalidInput`
    pub async fn change_provider(
        &self,
        arn: &str,
        change: &ProviderChange,
    ) -> Result<(), IamError> {
        let action = match change {
            ProviderChange::AddClientId(_) => "iam:AddClientIDToOpenIDConnectProvider",
            ProviderChange::RemoveClientId(_) => "iam:RemoveClientIDFromOpenIDConnectProvider",
            ProviderChange::Thumbprints(_) => "iam:UpdateOpenIDConnectProviderThumbprint",
        };
        self.authorize(action, arn, &Context::new())?;
        let name = self.named(arn).ok_or_else(|| unknown(arn))?;
        let registry = RegistryId::from(self.account().clone());
        let mut tries = 1;
        loop {
            let view = self.view().await?;
            let found = query::registry_item(view.as_ref(), &registry, KIND, name)?;
            let found = found.ok_or_else(|| unknown(arn))?;
            let mut kept: Kept = from_json(&found)?;
            kept.change(change);
            kept.check()?;
            let command = PutRegistryItem {
                expected: Some(found.body),
                ..self.put(name, &kept)?
            };
            match self.changed(command).await {
                Err(IamError::Service(ServiceError::NotFound(_))) if tries < CHANGES_MAX => {
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    /// As this node knows it, which has made it.
    fn known_provider(&self, arn: &str) -> Result<IdentityProvider, IamError> {
        let view = self.local()?;
        let registry = RegistryId::from(self.account().clone());
        let name = self.named(arn).unwrap_or_default();
        let found = query::registry_item(view.as_ref(), &registry, KIND, name)?;
        let found = found.ok_or_else(|| unknown(arn))?;
        Ok(provider(self.account(), &found)?)
    }

    fn put(&self, name: &str, kept: &Kept) -> Result<PutRegistryItem, IamError> {
        let registry = RegistryId::from(self.account().clone());
        let (body, at_ms) = (to_json(kept)?, self.now_ms());
        Ok(PutRegistryItem::new(&registry, KIND, name, body, at_ms))
    }

    async fn changed(&self, command: impl Into<Command>) -> Result<(), IamError> {
        self.propose(command).await.map(drop)
    }

    /// The name of a provider of this account, of its ARN.
    fn named<'b>(&self, arn: &'b str) -> Option<&'b str> {
        arn.strip_prefix(&arn_of(self.account(), ""))
    }
}

/// The one of that name, in whichever account.
pub(super) fn provider_of(
    view: &dyn entrepot_metadata::KeyValue,
    account: &AccountId,
    name: &str,
) -> Result<Option<IdentityProvider>, ServiceError> {
    let registry = RegistryId::from(account.clone());
    let found = query::registry_item(view, &registry, KIND, name)?;
    found.map(|item| provider(account, &item)).transpose()
}

fn provider(account: &AccountId, item: &RegistryItem) -> Result<IdentityProvider, ServiceError> {
    let kept: Kept = from_json(item)?;
    Ok(IdentityProvider {
        arn: arn_of(account, &item.name),
        name: item.name.clone(),
        client_ids: kept.client_ids,
        thumbprints: kept.thumbprints,
        tags: kept.tags,
        created_at_ms: item.created_at_ms,
    })
}

fn arn_of(account: &AccountId, name: &str) -> String {
    format!("arn:aws:iam::{account}:oidc-provider/{name}")
}

fn unknown(arn: &str) -> IamError {
    IamError::NoSuchEntity(format!("OpenIDConnect Provider not found for arn {arn}"))
}

/// Of `https://<host>/<path>`, without a query and the last slash.
pub(super) fn name_of(url: &str) -> Result<String, IamError> {
    let invalid = || IamError::InvalidInput("Invalid Open ID Connect Provider URL".to_owned());
    let rest = url.strip_prefix(SCHEME).ok_or_else(invalid)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let host = rest.split('/').next().unwrap_or_default();
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:%".contains(&byte);
    if url.len() > URL_CHARS_MAX
        || host.is_empty()
        || host.contains('%')
        || !rest.bytes().all(right)
        || rest.split('/').any(|part| part == "." || part == "..")
    {
        return Err(invalid());
    }
    Ok(rest.to_owned())
}

// === impl Kept ===

impl Kept {
    fn change(&mut self, change: &ProviderChange) {
        match change {
            ProviderChange::AddClientId(id) if self.client_ids.contains(id) => {}
            ProviderChange::AddClientId(id) => self.client_ids.push(id.clone()),
            ProviderChange::RemoveClientId(id) => self.client_ids.retain(|it| it != id),
            ProviderChange::Thumbprints(all) => self.thumbprints.clone_from(all),
        }
    }

    fn check(&self) -> Result<(), IamError> {
        let limit = |what: &str, max: usize| {
            IamError::LimitExceeded(format!("Cannot exceed quota for {what}: {max}"))
        };
        if self.client_ids.len() > CLIENT_IDS_MAX {
            return Err(limit("ClientIdsPerOpenIdConnectProvider", CLIENT_IDS_MAX));
        }
        if self.thumbprints.len() > THUMBPRINTS_MAX {
            return Err(limit(
                "ThumbprintsPerOpenIdConnectProvider",
                THUMBPRINTS_MAX,
            ));
        }
        let is_id = |id: &String| (1..=CLIENT_ID_CHARS_MAX).contains(&id.chars().count());
        if !self.client_ids.iter().all(is_id) {
            return Err(IamError::InvalidInput(
                "A client id has 1 to 255 characters.".to_owned(),
            ));
        }
        let is_print = |print: &String| {
            print.len() == THUMBPRINT_CHARS && print.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if !self.thumbprints.iter().all(is_print) {
            return Err(IamError::InvalidInput(
                "A thumbprint has 40 hexadecimal digits.".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn an_issuer_has_a_plain_address() {
        for (url, name) in [
            (
                "https://token.actions.githubusercontent.com",
                "token.actions.githubusercontent.com",
            ),
            ("https://gitlab.example:8443/", "gitlab.example:8443"),
            ("https://k8s.example/id/AB12", "k8s.example/id/AB12"),
        ] {
            assert_eq!(name_of(url).unwrap(), name);
        }
        for url in [
            "",
            "http://ci.example",
            "https://",
            "https:///a",
            "https://user@ci.example",
            "https://ci.example?x=1",
            "https://ci.example/#a",
            "https://ci.example/../a",
            "https://ci.example/a b",
            "https://ci%2e.example",
        ] {
            assert!(name_of(url).is_err(), "{url}");
        }
        assert!(name_of(&format!("https://{}", "a".repeat(250))).is_err());
    }
}
