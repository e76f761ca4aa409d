//! Messages that hold secrets: what may be printed of them.

use std::fmt;

use crate::admin::{AccessKey, CreateJoinTokenReply};
use crate::peer::{JoinReply, JoinRequest};

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest")
            .field("region", &self.region)
            .field("peer_address", &self.peer_address)
            .field("client_address", &self.client_address)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for JoinReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinReply")
            .field("node", &self.node)
            .field("region", &self.region)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CreateJoinTokenReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateJoinTokenReply")
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
