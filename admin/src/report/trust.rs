//! `entrepot node token` and `entrepot node revoke`

use entrepot_proto::admin;
use serde::Serialize;

use crate::human;
use crate::report::Report;

/// The one place where a token is seen.
#[derive(Serialize)]
pub(crate) struct TokenReport {
    token: String,
    /// None: any.
    region: Option<String>,
    expires_at_ms: i64,
}

#[derive(Debug, Serialize)]
pub(crate) struct RevokedNode {
    pub(crate) revoked: u64,
    /// That were good before.
    pub(crate) certificates: u32,
}

impl TokenReport {
    pub(crate) fn new(made: admin::CreateJoinTokenReply, region: Option<String>) -> Self {
        Self {
            token: made.token,
            region,
            expires_at_ms: made.expires_at_ms,
        }
    }
}

impl Report for TokenReport {
    /// The token alone: it is made to be copied, and passed on by scripts.
    fn people(&self, _now_ms: i64) -> String {
        human::plain(&self.token)
    }
}

impl Report for RevokedNode {
    fn people(&self, _now_ms: i64) -> String {
        format!(
            "Node {} is shut out: {} of its certificates were good. Remove it by `entrepot node \
             remove {} --force --yes`, or let another take its place.",
            self.revoked, self.certificates, self.revoked
        )
    }
}
