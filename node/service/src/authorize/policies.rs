//! The policies that have a say in a decision, compiled and remembered.
//!
//! What is remembered needs no clearing: identities are known by the generation
//! of their account, documents by their text, and decisions by both.

use std::fmt;
use std::sync::Arc;

use entrepot_access::Identity;
use entrepot_access::policy::{self, Decision, Document, DocumentKind, Source, managed_policy};
use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, EntityKind, ItemKind, Managed, Permissions, TextKind};
use entrepot_oci::{AccountId, RegistryId};

use super::asked::Asked;
use super::{Target, cannot_be_read};
use crate::memory::Memory;
use crate::{Registry, ServiceError};

/// Users and roles whose policies are kept compiled.
const IDENTITIES_MAX: usize = 4_096;
/// Documents that are kept compiled.
const DOCUMENTS_MAX: usize = 4_096;
/// Decisions that are remembered, some 100 bytes each.
const DECISIONS_MAX: usize = 65_536;

/// The setting that says of which actions the registry's policy speaks.
const SCOPE_SETTING: &str = "REGISTRY_POLICY_SCOPE";
const SCOPE_OLD: &[u8] = b"V1";
/// Of these alone in the scope V1 (ECR).
const SCOPE_OLD_ACTIONS: [&str; 3] = [
    "ecr:ReplicateImage",
    "ecr:BatchImportUpstreamImage",
    "ecr:CreateRepository",
];

/// What is remembered of policies.
pub(crate) struct Policies {
    identities: Memory<Whose, Arc<Allowed>>,
    /// None: it cannot be read.
    documents: Memory<blake3::Hash, Option<Arc<Document>>>,
    decisions: Memory<blake3::Hash, Decision>,
}

/// A user or a role, by the name that its principal has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Whose {
    account: AccountId,
    kind: EntityKind,
    name: String,
}

/// What a user or role may by itself.
#[derive(Debug)]
struct Allowed {
    /// Of its account, when this was read.
    generation: u64,
    /// None: there is nobody of that name.
    id: Option<String>,
    policies: Vec<Compiled>,
    boundary: Option<Compiled>,
    tags: Vec<(String, String)>,
    broken: Option<Broken>,
    has_conditions: bool,
}

/// A document, kept here or AWS's own.
#[derive(Clone, Debug)]
enum Compiled {
    Own(Arc<Document>),
    Managed(&'static Document),
}

/// A policy of that kind is in force and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) Source);

/// All that decides one question.
#[derive(Debug, Default)]
pub(super) struct InForce {
    identity: Option<Arc<Allowed>>,
    session: Option<Text>,
    /// Of the repository and of the registry.
    resource: Vec<Text>,
}

#[derive(Debug)]
struct Text {
    hash: blake3::Hash,
    document: Arc<Document>,
}

// === impl Registry ===

impl Registry {
    /// The policies that have a say.
    pub(super) fn in_force(
        &self,
        asked: &Asked<'_>,
    ) -> Result<Result<InForce, Broken>, ServiceError> {
        let identity = match self.allowed(asked)? {
            None => None,
            Some(Ok(allowed)) => Some(allowed),
            Some(Err(broken)) => return Ok(Err(broken)),
        };
        self.in_force_with(asked, identity)
    }

    /// The same for a role that has one policy of AWS's.
    pub(super) fn in_force_of_role(
        &self,
        asked: &Asked<'_>,
        policy: &str,
    ) -> Result<Result<InForce, Broken>, ServiceError> {
        let Some((_, document)) = managed_policy(policy) else {
            return Ok(Err(Broken(Source::Identity)));
        };
        let identity = Allowed {
            policies: vec![Compiled::Managed(document)],
            ..Allowed::nobody(0)
        };
        self.in_force_with(asked, Some(Arc::new(identity)))
    }

    fn in_force_with(
        &self,
        asked: &Asked<'_>,
        identity: Option<Arc<Allowed>>,
    ) -> Result<Result<InForce, Broken>, ServiceError> {
        let mut in_force = InForce {
            identity,
            ..InForce::default()
        };
        if let Some(text) = &asked.who.proof.session_policy {
            match self.policies.text(text, DocumentKind::Session) {
                Some(text) => in_force.session = Some(text),
                None => return Ok(Err(Broken(Source::Session))),
            }
        }
        for (text, kind) in self.resource_texts(asked)? {
            match self.policies.text(&text, kind) {
                Some(text) => in_force.resource.push(text),
                None => return Ok(Err(Broken(Source::Resource))),
            }
        }
        Ok(Ok(in_force))
    }

    /// What the identity may by itself; none: it is one that has no policies.
    fn allowed(
        &self,
        asked: &Asked<'_>,
    ) -> Result<Option<Result<Arc<Allowed>, Broken>>, ServiceError> {
        let principal = &asked.who.principal;
        let (kind, name, id) = match &principal.identity {
            Identity::User(user) => (EntityKind::User, &user.name, &user.id),
            Identity::AssumedRole(role) => (EntityKind::Role, &role.role, &role.role_id),
            Identity::Root
            | Identity::Service(_)
            | Identity::Federated { .. }
            | Identity::Anonymous => return Ok(None),
        };
        let name = Whose {
            account: principal.account.clone(),
            kind,
            name: name.clone(),
        };
        let view = self.metadata.view(&self.global)?;
        let allowed = self.policies.allowed(view.as_ref(), name)?;
        // Another of the same name is somebody else.
        if allowed.id.as_ref() != Some(id) {
            return Ok(Some(Err(Broken(Source::Identity))));
        }
        Ok(Some(match allowed.broken {
            Some(broken) => Err(broken),
            None => Ok(allowed),
        }))
    }

    /// The texts of what the resource has as policies.
    fn resource_texts(
        &self,
        asked: &Asked<'_>,
    ) -> Result<Vec<(String, DocumentKind)>, ServiceError> {
        let mut texts = Vec::new();
        if matches!(asked.target, Target::Named(_)) {
            return Ok(texts);
        }
        let (view, account) = (self.local()?, &asked.who.account);
        let view = view.as_ref();
        if let Target::Repository(repository) = asked.target {
            let found = query::repository_text(view, account, repository, TextKind::Policy)?;
            texts.extend(found.map(|found| (found.text, DocumentKind::Repository)));
        }
        if let Some(item) = query::registry_item(view, account, ItemKind::Policy, "")?
            && is_in_scope(view, account, asked.action)?
        {
            // What is no text is no policy: as such it is refused.
            let text = String::from_utf8(item.body.to_vec()).unwrap_or_default();
            texts.push((text, DocumentKind::Registry));
        }
        Ok(texts)
    }
}

/// Whether the policy of the registry speaks of an action.
fn is_in_scope(
    view: &dyn KeyValue,
    account: &RegistryId,
    action: &str,
) -> Result<bool, ServiceError> {
    if !action.starts_with("ecr:") {
        return Ok(false);
    }
    let scope = query::registry_item(view, account, ItemKind::AccountSetting, SCOPE_SETTING)?;
    let is_old = scope.is_some_and(|scope| scope.body == SCOPE_OLD);
    Ok(!is_old || SCOPE_OLD_ACTIONS.contains(&action))
}

// === impl Policies ===

impl Policies {
    pub(super) fn decision(&self, key: &blake3::Hash) -> Option<Decision> {
        self.decisions.get(key)
    }

    pub(super) fn remember(&self, key: blake3::Hash, decision: Decision) {
        self.decisions.insert(key, decision);
    }

    fn allowed(&self, view: &dyn KeyValue, name: Whose) -> Result<Arc<Allowed>, ServiceError> {
        let generation = query::generation(view, &name.account)?;
        if let Some(known) = self.identities.get(&name)
            && known.generation == generation
        {
            return Ok(known);
        }
        let found = query::permissions(view, &name.account, name.kind, &name.name)?;
        let allowed = Arc::new(match found {
            Some(found) => self.compiled(found),
            None => Allowed::nobody(generation),
        });
        self.identities.insert(name, Arc::clone(&allowed));
        Ok(allowed)
    }

    fn compiled(&self, found: Permissions) -> Allowed {
        let mut broken = None;
        let mut policies = Vec::new();
        let inline = found
            .inline
            .iter()
            .map(|text| self.own(text, DocumentKind::Inline));
        let managed = found.managed.iter().map(|policy| self.managed(policy));
        for compiled in inline.chain(managed) {
            match compiled {
                Some(compiled) => policies.push(compiled),
                None => broken = Some(Broken(Source::Identity)),
            }
        }
        let boundary = found
            .boundary
            .as_ref()
            .and_then(|policy| self.managed(policy));
        // One that is set and cannot be had leaves nothing.
        if found.entity.boundary.is_some() && boundary.is_none() {
            broken = Some(Broken(Source::Boundary));
        }
        let all = policies.iter().chain(&boundary);
        Allowed {
            generation: found.generation,
            id: Some(found.entity.id),
            has_conditions: all.map(Compiled::document).any(Document::has_conditions),
            policies,
            boundary,
            tags: found.entity.tags.into_iter().collect(),
            broken,
        }
    }

    fn managed(&self, policy: &Managed) -> Option<Compiled> {
        match &policy.document {
            Some(text) => self.own(text, DocumentKind::Managed),
            None => managed_policy(&policy.arn).map(|(_, document)| Compiled::Managed(document)),
        }
    }

    fn own(&self, text: &str, kind: DocumentKind) -> Option<Compiled> {
        self.text(text, kind)
            .map(|text| Compiled::Own(text.document))
    }

    /// None: it cannot be read.
    fn text(&self, text: &str, kind: DocumentKind) -> Option<Text> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8]);
        hasher.update(text.as_bytes());
        let hash = hasher.finalize();
        let known = self.documents.get(&hash);
        let document = known.unwrap_or_else(|| {
            let parsed = Document::parse(text, kind);
            let parsed = parsed.inspect_err(|error| cannot_be_read(kind, error));
            let document = parsed.ok().map(Arc::new);
            self.documents.insert(hash, document.clone());
            document
        });
        document.map(|document| Text { hash, document })
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            identities: Memory::new(IDENTITIES_MAX),
            documents: Memory::new(DOCUMENTS_MAX),
            decisions: Memory::new(DECISIONS_MAX),
        }
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

// === impl Allowed ===

impl Allowed {
    fn nobody(generation: u64) -> Self {
        Self {
            generation,
            id: None,
            policies: Vec::new(),
            boundary: None,
            tags: Vec::new(),
            broken: None,
            has_conditions: false,
        }
    }
}

// === impl Compiled ===

impl Compiled {
    fn document(&self) -> &Document {
        match self {
            Self::Own(document) => document,
            Self::Managed(document) => document,
        }
    }
}

// === impl InForce ===

impl InForce {
    /// No policy says anything.
    pub(super) fn is_nothing(&self) -> bool {
        self.identity.is_none() && self.session.is_none() && self.resource.is_empty()
    }

    /// Adds the trust policy of the role that is asked for. False: it cannot be
    /// read.
    pub(super) fn add_trust(&mut self, policies: &Policies, trust: &str) -> bool {
        let text = policies.text(trust, DocumentKind::Trust);
        let is_read = text.is_some();
        self.resource.extend(text);
        is_read
    }

    /// Whether the decision depends on more than its key.
    pub(super) fn has_conditions(&self) -> bool {
        let texts = self.resource.iter().chain(&self.session);
        self.identity.as_ref().is_some_and(|it| it.has_conditions)
            || texts
                .map(|text| &text.document)
                .any(|it| it.has_conditions())
    }

    pub(super) fn principal_tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let tags = self.identity.iter().flat_map(|identity| &identity.tags);
        tags.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(super) fn with<T>(&self, decide: impl FnOnce(&policy::Policies<'_>) -> T) -> T {
        let of_identity = self.identity.iter().flat_map(|it| &it.policies);
        let identity: Vec<&Document> = of_identity.map(Compiled::document).collect();
        let resource: Vec<&Document> = self.resource.iter().map(|it| &*it.document).collect();
        let boundary = self.identity.as_ref().and_then(|it| it.boundary.as_ref());
        decide(&policy::Policies {
            identity: &identity,
            boundary: boundary.map(Compiled::document),
            session: self.session.as_ref().map(|it| &*it.document),
            resource: &resource,
            resource_must_allow: false,
        })
    }

    /// Everything that the decision depends on, where there are no conditions.
    pub(super) fn key(&self, asked: &Asked<'_>) -> blake3::Hash {
        let principal = &asked.who.principal;
        let mut key = Key(blake3::Hasher::new());
        key.part(principal.account.as_str());
        match &principal.identity {
            Identity::Root => key.parts(&["root"]),
            Identity::User(user) => key.parts(&["user", &user.path, &user.name, &user.id]),
            Identity::AssumedRole(it) => {
                key.parts(&["role", &it.path, &it.role, &it.role_id, &it.session]);
            }
            Identity::Service(name) => key.parts(&["service", name]),
            Identity::Federated { provider, subject } => {
                key.parts(&["federated", provider, subject]);
            }
            Identity::Anonymous => key.parts(&["anonymous"]),
        }
        key.part(asked.action);
        key.part(asked.resource());
        let generation = self.identity.as_ref().map_or(0, |it| it.generation);
        key.0.update(&generation.to_le_bytes());
        key.0.update(&[u8::from(self.session.is_some())]);
        for text in self.session.iter().chain(&self.resource) {
            key.0.update(text.hash.as_bytes());
        }
        key.0.finalize()
    }
}

/// A hash of parts, each with its length: no two lists of them read the same.
struct Key(blake3::Hasher);

// === impl Key ===

impl Key {
    fn parts(&mut self, parts: &[&str]) {
        for part in parts {
            self.part(part);
        }
    }

    fn part(&mut self, part: &str) {
        self.0.update(&part.len().to_le_bytes());
        self.0.update(part.as_bytes());
    }
}
