//! The name of a Raft group: what it is for, and which shard of that.
//!
//! Owns the text form, which is used on the wire and in directory names.

use std::fmt;
use std::str::FromStr;

use entrepot_oci::RegionName;

/// `global/0` or `region/<name>/<shard>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    pub kind: GroupKind,
    /// Always 0 for now; named so that a region can be split later.
    pub shard: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// What belongs to the cluster: accounts, identities, membership.
    Global,
    /// What belongs to one region's registries.
    Region(RegionName),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid group {text:?}: expected global/<shard> or region/<name>/<shard>")]
pub struct GroupIdError {
    /// What was given, cut to 64 characters.
    text: String,
}

// === impl GroupId ===

impl GroupId {
    pub fn global() -> Self {
        Self {
            kind: GroupKind::Global,
            shard: 0,
        }
    }

    /// The region's first, and for now only, shard.
    pub fn region(name: RegionName) -> Self {
        Self {
            kind: GroupKind::Region(name),
            shard: 0,
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            GroupKind::Global => write!(f, "global/{}", self.shard),
            GroupKind::Region(name) => write!(f, "region/{name}/{}", self.shard),
        }
    }
}

impl FromStr for GroupId {
    type Err = GroupIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || GroupIdError {
            text: text.chars().take(64).collect(),
        };
        let (kind, shard) = text.rsplit_once('/').ok_or_else(invalid)?;
        let kind = match kind.split_once('/') {
            None if kind == "global" => GroupKind::Global,
            Some(("region", name)) => GroupKind::Region(name.parse().map_err(|_| invalid())?),
            _ => return Err(invalid()),
        };
        let group = Self {
            kind,
            shard: shard.parse().map_err(|_| invalid())?,
        };
        // One name per group: no "+0", no "00".
        if group.to_string() == text {
            Ok(group)
        } else {
            Err(invalid())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GroupId;

    #[test]
    fn the_text_form_is_read_back() {
        for text in ["global/0", "region/us-east-1/0", "region/a/7"] {
            let group: GroupId = text.parse().unwrap();
            assert_eq!(group.to_string(), text);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "global",
            "global/",
            "global/00",
            "global/+1",
            "global/-1",
            "global/4294967296",
            "region/0",
            "region//0",
            "region/A/0",
            "region/a/b/0",
            "local/a/0",
        ] {
            assert!(text.parse::<GroupId>().is_err(), "{text}");
        }
    }
}
