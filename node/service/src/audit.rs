//! The audit log: a line of JSON for each decision that changes something or is
//! denied, by the tracing target `audit`.
//!
//! The invariant: nothing in a line is a secret, and a line stays one, whatever
//! its values contain.

use entrepot_access::Identity;
use entrepot_access::policy::{Decision, Reason, Source as Kind};
use entrepot_metadata::query::DeletedImage;
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};
use serde_json::{Map, Value};
use tracing::info;

use crate::authorize::Asked;
use crate::{Caller, RestoredTag, Source};

/// What the names of actions begin with that change nothing.
const READS: [&str; 6] = [
    "Get",
    "List",
    "Describe",
    "BatchGet",
    "BatchCheck",
    "Validate",
];

/// Of an upload, whose begin and end are noted.
const PARTS: [&str; 2] = ["ecr:UploadLayerPart", "ecr-public:UploadLayerPart"];

/// Notes a decision, if it is one of those that are noted.
pub(crate) fn decided(asked: &Asked<'_>, decision: Decision) {
    let reason = match decision {
        Decision::Allow if is_read(asked.action) || PARTS.contains(&asked.action) => return,
        // Every client asks first as nobody, to hear how to log in.
        Decision::Deny(Reason::Implicit(_)) if is_nobody(asked.who) => return,
        Decision::Allow => "allowed",
        Decision::Deny(reason) => text(reason),
    };
    let decision = match decision {
        Decision::Allow => "allow",
        Decision::Deny(_) => "deny",
    };
    let mut line = of(asked.who);
    let mut put = |name: &str, value: &str| {
        line.insert(name.to_owned(), Value::from(value));
    };
    put("action", asked.action);
    put("resource", asked.resource());
    put("decision", decision);
    put("reason", reason);
    write(line);
}

/// Notes a blob that nothing referred to and that is gone, of so many bytes. `node`:
/// the one that named it.
pub(crate) fn collected(digest: &Digest, why: &str, bytes: u64, index: u64, node: u64) {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    put(
        "principal",
        Value::from(format!("collector of node {node}")),
    );
    put("action", Value::from("gc:CollectBlob"));
    put("resource", Value::from(digest.to_string()));
    put("decision", Value::from("allow"));
    put("reason", Value::from(why));
    put("bytes", Value::from(bytes));
    put("logIndex", Value::from(index));
    write(line);
}

/// Notes a deleted image that cannot be restored any more, since its time was over.
/// `node`: the one that named it.
pub(crate) fn expired(
    account: &RegistryId,
    repository: &RepositoryName,
    image: &DeletedImage,
    index: u64,
    node: u64,
) {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    let digest = &image.manifest.digest;
    put(
        "principal",
        Value::from(format!("collector of node {node}")),
    );
    put("action", Value::from("gc:ExpireImage"));
    put(
        "resource",
        Value::from(format!("{account}/{repository}@{digest}")),
    );
    put("decision", Value::from("allow"));
    put("reason", Value::from(image.cause.name()));
    put("deletedBy", Value::from(image.by.as_str()));
    put("deletedAtMs", Value::from(image.deleted_at_ms));
    put("logIndex", Value::from(index));
    write(line);
}

/// Notes a tag that was set back to what it pointed to at a time.
pub(crate) fn tag_restored(
    who: &Caller,
    repository: &RepositoryName,
    tag: &Tag,
    restored: &RestoredTag,
    at_ms: i64,
) {
    let mut line = of(who);
    let mut put = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    put("action", Value::from("entrepot:RestoreTag"));
    put(
        "resource",
        Value::from(format!("{}/{repository}:{tag}", who.account)),
    );
    put("decision", Value::from("allow"));
    put("reason", Value::from("restore"));
    put(
        "from",
        Value::from(restored.previous.map(|it| it.to_string())),
    );
    put("to", Value::from(restored.digest.to_string()));
    put("imageRestored", Value::from(restored.image_restored));
    put("atMs", Value::from(at_ms));
    write(line);
}

/// Notes credentials that were refused. `claimed`: whose they say to be.
pub(crate) fn login_refused(claimed: &str, reason: &str, source: Source) {
    let mut line = Map::new();
    let mut put = |name: &str, value: &str| {
        line.insert(name.to_owned(), Value::from(value));
    };
    put("principal", claimed);
    put("action", "login");
    put("decision", "deny");
    put("reason", reason);
    if let Some(address) = source.ip() {
        put("source_address", &address.to_string());
    }
    write(line);
}

fn write(line: Map<String, Value>) {
    // Control characters within are escaped: it stays one line.
    let line = Value::Object(line);
    info!(target: "audit", "{line}");
}

/// What every line says of the caller.
fn of(who: &Caller) -> Map<String, Value> {
    let mut line = Map::new();
    let mut put = |name: &str, value: String| {
        line.insert(name.to_owned(), Value::from(value));
    };
    put("principal", who.principal.arn());
    if let Some(key_id) = &who.proof.key_id {
        put("access_key_id", key_id.clone());
    }
    if let Some(address) = who.origin.address {
        put("source_address", address.to_canonical().to_string());
    }
    if let Some(id) = &who.origin.request_id {
        put("request_id", id.to_string());
    }
    line
}

fn is_nobody(who: &Caller) -> bool {
    who.principal.identity == Identity::Anonymous
}

fn is_read(action: &str) -> bool {
    let name = action.split_once(':').map_or(action, |(_, name)| name);
    READS.iter().any(|read| name.starts_with(read))
}

fn text(reason: Reason) -> &'static str {
    match reason {
        Reason::Explicit(Kind::Identity) => "explicit deny in an identity-based policy",
        Reason::Explicit(Kind::Boundary) => "explicit deny in a permissions boundary",
        Reason::Explicit(Kind::Session) => "explicit deny in a session policy",
        Reason::Explicit(Kind::Resource) => "explicit deny in a resource-based policy",
        Reason::Implicit(Kind::Identity) => "no identity-based policy allows it",
        Reason::Implicit(Kind::Boundary) => "no permissions boundary allows it",
        Reason::Implicit(Kind::Session) => "no session policy allows it",
        Reason::Implicit(Kind::Resource) => "no resource-based policy allows it",
    }
}

#[cfg(test)]
mod tests {
    use super::is_read;

    #[test]
    fn what_changes_something_is_told_from_what_does_not() {
        for action in [
            "ecr:GetDownloadUrlForLayer",
            "ecr:BatchGetImage",
            "ecr:BatchCheckLayerAvailability",
            "ecr:DescribeImages",
            "iam:ListUsers",
        ] {
            assert!(is_read(action), "{action}");
        }
        for action in ["ecr:PutImage", "ecr:BatchDeleteImage", "sts:AssumeRole"] {
            assert!(!is_read(action), "{action}");
        }
    }
}
