//! Where a rule copies to: a region, and the account whose registry there takes it.
//!
//! Kept as one name, which is the region's alone where the account is the source's
//! own: so names that were written before there were other accounts read on.

use std::fmt;
use std::str::FromStr;

use entrepot_oci::{AccountId, RegionName};

/// A registry that images are copied to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    pub region: RegionName,
    pub account: AccountId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid destination: expected a region, or a region, '/' and another account's number")]
pub struct DestinationError;

// === impl Destination ===

impl Destination {
    pub fn new(region: &RegionName, account: &AccountId) -> Self {
        Self {
            region: region.clone(),
            account: account.clone(),
        }
    }

    /// Its name among the destinations of `source`'s registry: `region`, or
    /// `region/account` where the account is another one.
    pub fn name(&self, source: &AccountId) -> String {
        if self.account == *source {
            self.region.to_string()
        } else {
            self.to_string()
        }
    }

    /// The destination of that name. Each has one name only.
    ///
    /// # Errors
    /// When it is none.
    pub fn named(name: &str, source: &AccountId) -> Result<Self, DestinationError> {
        fn part<T: FromStr>(text: &str) -> Result<T, DestinationError> {
            text.parse().map_err(|_| DestinationError)
        }
        let Some((region, account)) = name.split_once('/') else {
            return Ok(Self {
                region: part(name)?,
                account: source.clone(),
            });
        };
        let account: AccountId = part(account)?;
        if account == *source {
            return Err(DestinationError);
        }
        Ok(Self {
            region: part(region)?,
            account,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, DestinationError};

    #[test]
    fn a_name_is_read_as_it_was_written_and_in_one_way_only() {
        let own = "111111111111".parse().unwrap();
        for name in ["eu-west-1", "eu-west-1/222222222222"] {
            let destination = Destination::named(name, &own).unwrap();
            assert_eq!(destination.name(&own), name);
        }
        for name in [
            "",
            "/",
            "eu-west-1/",
            "eu-west-1/111111111111",
            "eu-west-1/2",
            "/222222222222",
            "eu-west-1/222222222222/",
        ] {
            assert_eq!(Destination::named(name, &own), Err(DestinationError));
        }
    }
}
