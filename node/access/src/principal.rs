//! The caller, once known.

use std::fmt;

use entrepot_oci::AccountId;

/// How nobody is shown.
const ANONYMOUS: &str = "anonymous";

/// A caller: an identity of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The identity's own. Of [`Identity::Service`] and [`Identity::Anonymous`],
    /// which belong to none, the account whose registry is asked: no rule takes
    /// them for a part of it.
    pub account: AccountId,
    pub identity: Identity,
}

/// What a caller is within its account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The account itself.
    Root,
    User(User),
    AssumedRole(AssumedRole),
    /// A part of the cluster that acts for nobody, such as
    /// `replication.ecr.amazonaws.com`.
    Service(String),
    /// For whom an identity provider of the account vouches, by a token.
    Federated {
        /// ARN.
        provider: String,
        /// As the provider calls them.
        subject: String,
    },
    /// Nobody said who calls.
    Anonymous,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// `/`, or `/…/`.
    pub path: String,
    pub name: String,
    /// `AIDA…`; not given to another user of the same name.
    pub id: String,
}

/// A session of a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssumedRole {
    /// The role's: `/`, or `/…/`.
    pub path: String,
    pub role: String,
    /// `AROA…`; not given to another role of the same name.
    pub role_id: String,
    pub session: String,
}

// === impl Principal ===

impl Principal {
    /// The account itself.
    pub fn root(account: AccountId) -> Self {
        Self {
            account,
            identity: Identity::Root,
        }
    }

    /// A caller without credentials, before the registry of `account`.
    pub fn anonymous(account: AccountId) -> Self {
        Self {
            account,
            identity: Identity::Anonymous,
        }
    }

    /// Neither a service nor nobody: an identity that its account can give
    /// permissions to.
    pub fn is_of_an_account(&self) -> bool {
        !matches!(
            self.identity,
            Identity::Service(_) | Identity::Federated { .. } | Identity::Anonymous
        )
    }

    /// Whether `account` is the one that can.
    pub fn belongs_to(&self, account: &AccountId) -> bool {
        self.is_of_an_account() && self.account == *account
    }

    /// `arn:aws:iam::<account>:root`, `…:user<path><name>` or
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`. What has none: a
    /// service's name, `anonymous`.
    pub fn arn(&self) -> String {
        let account = &self.account;
        match &self.identity {
            Identity::Root => format!("arn:aws:iam::{account}:root"),
            Identity::User(User { path, name, .. }) => {
                format!("arn:aws:iam::{account}:user{path}{name}")
            }
            Identity::AssumedRole(AssumedRole { role, session, .. }) => {
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
            }
            Identity::Service(name) => name.clone(),
            Identity::Federated { provider, subject } => format!("{provider}:{subject}"),
            Identity::Anonymous => ANONYMOUS.to_owned(),
        }
    }

    /// The ARN that policies name: of a role's session, the role's.
    pub fn policy_arn(&self) -> String {
        match &self.identity {
            Identity::AssumedRole(AssumedRole { path, role, .. }) => {
                format!("arn:aws:iam::{}:role{path}{role}", self.account)
            }
            _ => self.arn(),
        }
    }

    /// `aws:userid`: the account, the user's id, or `<role id>:<session>`; of what
    /// has none, its name.
    pub fn user_id(&self) -> String {
        match &self.identity {
            Identity::Root => self.account.to_string(),
            Identity::User(user) => user.id.clone(),
            Identity::AssumedRole(AssumedRole {
                role_id, session, ..
            }) => format!("{role_id}:{session}"),
            Identity::Service(_) | Identity::Federated { .. } | Identity::Anonymous => self.arn(),
        }
    }
}

impl fmt::Display for Principal {
    /// Its ARN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{AssumedRole, Identity, Principal, User};

    /// A user whose id is `AIDA` and its name in capitals.
    pub(crate) fn user(account: &str, path: &str, name: &str) -> Principal {
        Principal {
            account: account.parse().unwrap(),
            identity: Identity::User(User {
                path: path.to_owned(),
                name: name.to_owned(),
                id: format!("AIDA{}", name.to_uppercase()),
            }),
        }
    }

    /// A session of a role whose id is `AROA` and its name in capitals.
    pub(crate) fn session(account: &str, role: &str, session: &str) -> Principal {
        Principal {
            account: account.parse().unwrap(),
            identity: Identity::AssumedRole(AssumedRole {
                path: "/".to_owned(),
                role: role.to_owned(),
                role_id: format!("AROA{}", role.to_uppercase()),
                session: session.to_owned(),
            }),
        }
    }

    #[test]
    fn each_identity_has_its_arn_and_its_id() {
        let user = Identity::User(User {
            path: "/team/".to_owned(),
            name: "ann".to_owned(),
            id: "AIDA1".to_owned(),
        });
        let role = Identity::AssumedRole(AssumedRole {
            path: "/ci/".to_owned(),
            role: "push".to_owned(),
            role_id: "AROA1".to_owned(),
            session: "build-7".to_owned(),
        });
        for (identity, arn, policy_arn, user_id) in [
            (
                Identity::Root,
                "arn:aws:iam::123456789012:root",
                "arn:aws:iam::123456789012:root",
                "123456789012",
            ),
            (
                user,
                "arn:aws:iam::123456789012:user/team/ann",
                "arn:aws:iam::123456789012:user/team/ann",
                "AIDA1",
            ),
            (
                role,
                "arn:aws:sts::123456789012:assumed-role/push/build-7",
                "arn:aws:iam::123456789012:role/ci/push",
                "AROA1:build-7",
            ),
            (
                Identity::Service("replication.ecr.amazonaws.com".to_owned()),
                "replication.ecr.amazonaws.com",
                "replication.ecr.amazonaws.com",
                "replication.ecr.amazonaws.com",
            ),
            (Identity::Anonymous, "anonymous", "anonymous", "anonymous"),
        ] {
            let account = "123456789012".parse().unwrap();
            let principal = Principal { account, identity };
            assert_eq!(principal.arn(), arn);
            assert_eq!(principal.policy_arn(), policy_arn);
            assert_eq!(principal.user_id(), user_id);
        }
    }

    #[test]
    fn nobody_and_services_belong_to_no_account() {
        let account = "123456789012".parse().unwrap();
        let service = Principal {
            identity: Identity::Service("replication.ecr.amazonaws.com".to_owned()),
            ..user("123456789012", "/", "ann")
        };
        assert!(Principal::root("123456789012".parse().unwrap()).belongs_to(&account));
        assert!(user("123456789012", "/", "ann").belongs_to(&account));
        assert!(!user("999988887777", "/", "ann").belongs_to(&account));
        assert!(!service.belongs_to(&account));
        assert!(!Principal::anonymous("123456789012".parse().unwrap()).belongs_to(&account));
    }
}
