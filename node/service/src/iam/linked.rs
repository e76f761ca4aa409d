//! Roles that services of the registry act by. A service's role is the service's:
//! nobody else changes or deletes it.

use entrepot_access::UniqueId;
use entrepot_access::policy::Context;
use entrepot_metadata::command::{CreateEntity, RoleSpec};
use entrepot_metadata::query::{self, Entity, EntityKind};

use super::{Iam, IamError, unique_id};

/// A service that has a role, as AWS calls both.
struct Service {
    name: &'static str,
    role: &'static str,
    policy: &'static str,
}

const SERVICES: [Service; 2] = [
    Service {
        name: "replication.ecr.amazonaws.com",
        role: "AWSServiceRoleForECRReplication",
        policy: "ECRReplicationServiceRolePolicy",
    },
    Service {
        name: "pullthroughcache.ecr.amazonaws.com",
        role: "AWSServiceRoleForECRPullThroughCache",
        policy: "AWSECRPullThroughCache_ServiceRolePolicy",
    },
];

/// Seconds, as of other roles.
const SESSION_MAX: u32 = 3_600;

impl Iam<'_> {
    /// Makes the role of a service.
    ///
    /// # Errors
    /// `InvalidInput` when there is no such service, when it has its role, or with
    /// a suffix, which none of them takes.
    pub async fn create_linked_role(
        &self,
        service: &str,
        description: Option<String>,
        suffix: Option<&str>,
    ) -> Result<Entity, IamError> {
        let known = SERVICES.iter().find(|it| it.name == service);
        let role = known.map_or("*", |it| it.role);
        let path = format!("/aws-service-role/{service}/");
        let arn = self.arn(EntityKind::Role, &path, role);
        let context = Context::new().with("iam:AWSServiceName", service);
        self.authorize("iam:CreateServiceLinkedRole", &arn, &context)?;
        let Some(known) = known else {
            return Err(IamError::InvalidInput(format!(
                "Service {service} has no service-linked role here."
            )));
        };
        if suffix.is_some() {
            return Err(IamError::InvalidInput(format!(
                "Custom suffix is not allowed for {service}"
            )));
        }
        let spec = RoleSpec {
            trust: trust(service),
            description: description.unwrap_or_default(),
            max_session_s: SESSION_MAX,
            service: service.to_owned(),
        };
        let policy = format!("arn:aws:iam::aws:policy/aws-service-role/{}", known.policy);
        let command = CreateEntity {
            path,
            attached: vec![policy],
            ..CreateEntity::role(
                self.account(),
                known.role,
                &unique_id(UniqueId::Role)?,
                spec,
                self.now_ms(),
            )
        };
        match self.propose(command).await {
            Ok(_) => {}
            Err(IamError::EntityExists(_)) => {
                return Err(IamError::InvalidInput(format!(
                    "Service role name {} has been taken in this account, please try a different \
                     suffix.",
                    known.role
                )));
            }
            Err(error) => return Err(error),
        }
        let (view, kind) = (self.local()?, EntityKind::Role);
        let made = query::entity(view.as_ref(), self.account(), kind, known.role)?;
        made.ok_or_else(|| IamError::unknown(kind, known.role))
    }
}

fn trust(service: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}]}}"#
    )
}
