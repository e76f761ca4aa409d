//! The caller, once known.

use std::fmt;

use entrepot_oci::AccountId;

/// An authenticated caller: an identity of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
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

    /// `arn:aws:iam::<account>:root`, `…:user<path><name>` or
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
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
        }
    }

    /// The ARN that policies name: of a role's session, the role's.
    pub fn policy_arn(&self) -> String {
        match &self.identity {
            Identity::AssumedRole(AssumedRole { path, role, .. }) => {
                format!("arn:aws:iam::{}:role{path}{role}", self.account)
            }
            Identity::Root | Identity::User(_) => self.arn(),
        }
    }

    /// `aws:userid`: the account, the user's id, or `<role id>:<session>`.
    pub fn user_id(&self) -> String {
        match &self.identity {
            Identity::Root => self.account.to_string(),
            Identity::User(user) => user.id.clone(),
            Identity::AssumedRole(AssumedRole {
                role_id, session, ..
            }) => format!("{role_id}:{session}"),
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
mod tests {
    use super::{AssumedRole, Identity, Principal, User};

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
        ] {
            let account = "123456789012".parse().unwrap();
            let principal = Principal { account, identity };
            assert_eq!(principal.arn(), arn);
            assert_eq!(principal.policy_arn(), policy_arn);
            assert_eq!(principal.user_id(), user_id);
        }
    }
}
