//! Who may do what with a repository and with a registry: their policies' texts,
//! parsed before they are kept, and kept as they were given.

use entrepot_access::Arn;
use entrepot_access::policy::{
    Context, Decision, Document, DocumentKind, Policies, Request, Resource, evaluate,
    managed_policy,
};
use entrepot_metadata::command::PutRepositoryText;
use entrepot_metadata::query;
use entrepot_metadata::records::settings::TextKind;
use entrepot_oci::RepositoryName;

use crate::authorize::public::action_of;
use crate::metadata::refused;
use crate::repositories::{invalid, require};
use crate::{Caller, Registry, ServiceError, Target};

const SET_POLICY: &str = "ecr:SetRepositoryPolicy";
/// Whoever has it may do all that no other policy denies.
const EVERYTHING: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

impl Registry {
    /// Sets a repository's policy. `force`: even if the caller could not change it
    /// again.
    ///
    /// # Errors
    /// `Invalid`, in ECR's words, for what is no policy or locks the caller out.
    pub async fn set_repository_policy(
        &self,
        who: &Caller,
        name: &RepositoryName,
        text: &str,
        force: bool,
    ) -> Result<(), ServiceError> {
        self.authorize(who, SET_POLICY, Target::Repository(name))?;
        let document = parse(text, DocumentKind::Repository)?;
        self.repository_now(who, name).await?;
        if !force && self.locks_out(who, name, &document)? {
            return Err(invalid(
                "PolicyText",
                "The policy would prevent you from setting another policy in the future; use the \
                 force parameter to set it anyway",
            ));
        }
        let (account, at_ms) = (&who.account, self.clock.now_ms());
        let command = PutRepositoryText::new(account, name, TextKind::Policy, text, at_ms);
        let response = self.propose(command.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    /// # Errors
    /// `NotFound` when it has none.
    pub async fn repository_policy(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<String, ServiceError> {
        self.authorize(who, "ecr:GetRepositoryPolicy", Target::Repository(name))?;
        let found = self.repository_text(who, name, TextKind::Policy).await?;
        Ok(found.text)
    }

    /// Removes it; what it was.
    ///
    /// # Errors
    /// `NotFound` when it has none.
    pub async fn delete_repository_policy(
        &self,
        who: &Caller,
        name: &RepositoryName,
    ) -> Result<String, ServiceError> {
        self.authorize(who, "ecr:DeleteRepositoryPolicy", Target::Repository(name))?;
        let found = self.delete_text(who, name, TextKind::Policy).await?;
        Ok(found.text)
    }

    /// A text of a repository, as everybody would see it who asks now.
    pub(crate) async fn repository_text(
        &self,
        who: &Caller,
        name: &RepositoryName,
        kind: TextKind,
    ) -> Result<query::RepositoryText, ServiceError> {
        let view = self.current().await?;
        require(view.as_ref(), who, name)?;
        let found = query::repository_text(view.as_ref(), &who.account, name, kind)?;
        found.ok_or_else(|| ServiceError::NotFound(format!("{name} has no {}", kind.name())))
    }

    /// Removes it; what it was.
    pub(crate) async fn delete_text(
        &self,
        who: &Caller,
        name: &RepositoryName,
        kind: TextKind,
    ) -> Result<query::RepositoryText, ServiceError> {
        let found = self.repository_text(who, name, kind).await?;
        let command = PutRepositoryText::new(&who.account, name, kind, "", self.clock.now_ms());
        let response = self.propose(command.into()).await?;
        response.into_result().map_err(refused)?;
        Ok(found)
    }

    /// Whether who sets `document` could not set another one: it denies them that,
    /// or they are of another account and it does not allow it.
    fn locks_out(
        &self,
        who: &Caller,
        name: &RepositoryName,
        document: &Document,
    ) -> Result<bool, ServiceError> {
        let arn = Arn::repository(self.region(), &who.account, name)
            .map_err(|error| ServiceError::internal(&error))?;
        let context = Context::new().at(self.clock.now_ms());
        let Some(action) = action_of(&who.account, SET_POLICY) else {
            return Ok(true);
        };
        let request = Request {
            principal: &who.principal,
            action,
            resource: Resource::One(&arn),
            context: &context,
        };
        // Whatever their own policies say: those are not what is set here.
        let everything = managed_policy(EVERYTHING).map(|(_, document)| document);
        let policies = Policies {
            identity: everything.as_slice(),
            resource: &[document],
            ..Policies::default()
        };
        Ok(evaluate(&request, &policies) != Decision::Allow)
    }
}

/// # Errors
/// `Invalid`, in ECR's words.
pub(crate) fn parse(text: &str, kind: DocumentKind) -> Result<Document, ServiceError> {
    Document::parse(text, kind).map_err(|error| ServiceError::Invalid(error.message()))
}
