//! What came of each operation, by client: the table in the documentation.
//!
//! It has no other source than the calls that were made, and it fails for an
//! operation that nobody called, or that neither worked nor was refused as one that
//! cannot work here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use entrepot_harness::AwsCall;

/// Set to anything, the table in the documentation is written anew.
const REGENERATE: &str = "ENTREPOT_REGENERATE";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ecr-compatibility.md");
const START: &str = "<!-- made by the tests: start -->\n";
const END: &str = "<!-- made by the tests: end -->";
/// What an operation that cannot work here is refused with, before the reason.
const REFUSED: &str = "This operation is not supported: ";
/// Who called, as columns.
const CLIENTS: [(&str, &str); 4] = [
    ("boto3", "boto3"),
    ("sdk-javascript", "JavaScript"),
    ("aws-pypi", "aws (PyPI)"),
    ("aws-debian", "aws (Debian)"),
];
/// By whom operations are told that a service has.
const MODEL: &str = "model";
const SERVICES: [(&str, &str); 4] = [
    ("ecr", "Amazon ECR"),
    ("ecr-public", "Amazon ECR Public"),
    ("iam", "IAM"),
    ("sts", "STS"),
];

/// What came of the calls of all walks.
#[derive(Debug, Default)]
pub(super) struct Table {
    services: BTreeMap<String, BTreeMap<String, Row>>,
}

#[derive(Debug, Default)]
struct Row {
    worked: BTreeSet<String>,
    refused: Option<String>,
    errors: BTreeSet<String>,
}

impl Table {
    pub(super) fn add(&mut self, calls: Vec<AwsCall>) {
        for call in calls {
            let service = self.services.entry(call.service).or_default();
            let row = service.entry(call.operation).or_default();
            match (call.error, call.message) {
                (None, _) if call.client == MODEL => {}
                (None, _) => {
                    row.worked.insert(call.client);
                }
                (Some(error), message) => {
                    let message = message.unwrap_or_default();
                    match message.split_once(REFUSED) {
                        Some((_, reason)) => row.refused = Some(reason.trim().to_owned()),
                        None => {
                            row.errors.insert(error);
                        }
                    }
                }
            }
        }
    }

    /// Holds it against the documentation.
    pub(super) fn check(&self) -> Result<()> {
        let undecided: Vec<String> = self
            .services
            .iter()
            .flat_map(|(service, rows)| rows.iter().map(move |row| (service, row)))
            .filter(|(_, (_, row))| row.worked.is_empty() && row.refused.is_none())
            .map(|(service, (operation, row))| format!("{service} {operation} {:?}", row.errors))
            .collect();
        ensure!(
            undecided.is_empty(),
            "operations that nobody has seen work or refused as not supported: {undecided:#?}"
        );
        let path = PathBuf::from(DOCUMENT);
        let text = fs::read_to_string(&path).context("read docs/ecr-compatibility.md")?;
        let (head, rest) = text.split_once(START).context("no start of the table")?;
        let (found, tail) = rest.split_once(END).context("no end of the table")?;
        let table = self.text();
        if std::env::var_os(REGENERATE).is_some() {
            fs::write(&path, format!("{head}{START}{table}{END}{tail}"))
                .context("write docs/ecr-compatibility.md")?;
            return Ok(());
        }
        ensure!(
            found == table,
            "docs/ecr-compatibility.md is not what the clients saw; {REGENERATE}=1 writes it anew. \
             They saw:\n{table}"
        );
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (service, title) in SERVICES {
            let Some(rows) = self.services.get(service) else {
                continue;
            };
            let working = rows.values().filter(|row| !row.worked.is_empty()).count();
            let _ = write!(
                text,
                "\n## {title}\n\n{working} of {} operations work.\n\n| operation |",
                rows.len()
            );
            for (_, column) in CLIENTS {
                let _ = write!(text, " {column} |");
            }
            text.push_str(" refused because |\n|---|---|---|---|---|---|\n");
            for (operation, row) in rows {
                let _ = write!(text, "| {operation} |");
                for (client, _) in CLIENTS {
                    let cell = if row.worked.contains(client) {
                        "works"
                    } else {
                        ""
                    };
                    let _ = write!(text, " {cell} |");
                }
                let reason = row.refused.as_deref().filter(|_| row.worked.is_empty());
                let _ = writeln!(text, " {} |", reason.unwrap_or_default());
            }
        }
        text
    }
}
