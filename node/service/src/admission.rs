//! Whether a registry takes what another account replicates into it: as in ECR, its
//! registry policy has to allow `ecr:ReplicateImage`, and `ecr:CreateRepository`
//! where the repository is new. A policy may name the account, or the role that ECR
//! acts with.

use entrepot_access::{AssumedRole, Identity, Principal};
use entrepot_metadata::query;
use entrepot_metadata::seam::MetadataError;
use entrepot_oci::AccountId;
use entrepot_replication::admission::{Admission, NotAdmitted, Question, Wish};

use crate::{Caller, Registry, ServiceError, Target};

/// The role of every account that replicates, and the policy that it has.
const ROLE: &str = "AWSServiceRoleForECRReplication";
const ROLE_PATH: &str = "/aws-service-role/replication.ecr.amazonaws.com/";
const ROLE_POLICY: &str =
    "arn:aws:iam::aws:policy/aws-service-role/ECRReplicationServiceRolePolicy";
const SESSION: &str = "ecr-replication";

impl Admission for Registry {
    fn check(&self, question: &Question<'_>) -> Result<(), NotAdmitted> {
        if question.source == question.account {
            return Ok(());
        }
        let who = replicator(question);
        let actions = match question.wish {
            // Among what goes may be what the account has pushed itself.
            Wish::Delete => &["ecr:ReplicateImage", "ecr:BatchDeleteImage"][..],
            Wish::Bring if self.has_repository(question)? => &["ecr:ReplicateImage"][..],
            Wish::Bring => &["ecr:ReplicateImage", "ecr:CreateRepository"][..],
        };
        for action in actions {
            let target = Target::Repository(question.repository);
            self.authorize_service_role(&who, ROLE_POLICY, action, target)
                .map_err(|error| self.not_admitted(error))?;
        }
        Ok(())
    }
}

impl Registry {
    fn has_repository(&self, question: &Question<'_>) -> Result<bool, NotAdmitted> {
        let view = self.metadata.view(&self.group)?;
        let found = query::repository(view.as_ref(), question.account, question.repository)?;
        Ok(found.is_some())
    }

    fn not_admitted(&self, error: ServiceError) -> NotAdmitted {
        match error {
            ServiceError::Denied(reason) => NotAdmitted::Denied(reason),
            other => NotAdmitted::Unknown(MetadataError::Unavailable {
                group: self.group.clone(),
                reason: other.to_string(),
            }),
        }
    }
}

/// The source's role, asking for the registry of the other account.
fn replicator(question: &Question<'_>) -> Caller {
    let role = AssumedRole {
        path: ROLE_PATH.to_owned(),
        role: ROLE.to_owned(),
        role_id: role_id(question.source),
        session: SESSION.to_owned(),
    };
    let principal = Principal {
        account: question.source.clone(),
        identity: Identity::AssumedRole(role),
    };
    Caller {
        account: question.account.clone().into(),
        ..Caller::of(principal)
    }
}

/// The account need not have made the role: it is nobody's of a policy by its id.
fn role_id(account: &AccountId) -> String {
    format!("AROAREPLICATION{account}")
}
