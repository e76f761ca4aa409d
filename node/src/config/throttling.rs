//! `[throttling]`: how often an account may ask a node for each operation.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use entrepot_service::{Operation, RATE_MAX, Throttling};
use serde::Deserialize;

/// As the file has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ThrottlingFile {
    rates: Rates,
    principal_percent: Option<u32>,
    /// By the names of operations.
    per_second: BTreeMap<String, u32>,
}

/// From which `per_second` differs.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rates {
    #[default]
    Generous,
    Ecr,
    Off,
}

// === impl ThrottlingFile ===

impl ThrottlingFile {
    pub(super) fn throttling(&self) -> anyhow::Result<Throttling> {
        let mut throttling = match self.rates {
            Rates::Generous => Throttling::GENEROUS,
            Rates::Ecr => Throttling::ECR,
            Rates::Off => Throttling::OFF,
        };
        for (name, rate) in &self.per_second {
            let mut all = Operation::ALL.into_iter();
            let operation = all.find(|it| it.name() == name);
            let operation = operation.with_context(|| {
                let names = Operation::ALL.map(Operation::name).join(", ");
                format!("throttling.per_second.{name}: must be one of {names}")
            })?;
            ensure!(
                *rate <= RATE_MAX,
                "throttling.per_second.{name}: must be 0 to {RATE_MAX}"
            );
            throttling = throttling.with(operation, *rate);
        }
        if let Some(percent) = self.principal_percent {
            ensure!(
                (1..=100).contains(&percent),
                "throttling.principal_percent: must be 1 to 100"
            );
            throttling.principal_percent = percent;
        }
        Ok(throttling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Throttling> {
        toml::from_str::<ThrottlingFile>(text)?.throttling()
    }

    #[test]
    fn rates_are_generous_unless_they_are_set() {
        assert_eq!(read("").unwrap(), Throttling::GENEROUS);
        assert_eq!(read("rates = \"off\"").unwrap(), Throttling::OFF);
        let set = "rates = \"ecr\"\nprincipal_percent = 50\n[per_second]\nPutImage = 20\nOther = 0";
        let set = read(set).unwrap();
        assert_eq!(set.rate(Operation::PutImage), 20);
        assert_eq!(set.rate(Operation::Other), 0);
        assert_eq!(set.rate(Operation::UploadLayerPart), 500);
        assert_eq!(set.principal_percent, 50);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, says) in [
            ("rates = \"none\"", "generous"),
            ("principal_percent = 0", "principal_percent"),
            ("principal_percent = 101", "principal_percent"),
            ("[per_second]\nPutImages = 1", "PutImages"),
            ("[per_second]\nPutImage = 1000001", "1000000"),
            ("[per_second]\nPutImage = -1", "PutImage"),
            ("rate = 1", "rate"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
