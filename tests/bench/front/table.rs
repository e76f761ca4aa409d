//! Every result, by work and system.

use crate::cell::cell;
use crate::system::Kind;
use crate::work::{Found, Sample, Work};

#[derive(Debug, Default)]
pub(crate) struct Table {
    works: Vec<(&'static Work, PerKind<Sample>)>,
    values: Vec<(&'static str, PerKind<f64>)>,
}

/// One list per system, in the order of `Kind::ALL`.
type PerKind<T> = [Vec<T>; Kind::ALL.len()];

impl Table {
    pub(crate) fn add(&mut self, kind: Kind, found: Found) {
        match found {
            Found::Sample(work, sample) => {
                row(&mut self.works, work)[kind as usize].push(sample);
            }
            Found::Value(what, value) => {
                row(&mut self.values, what)[kind as usize].push(value);
            }
        }
    }

    /// Two tables: the loads, and the single numbers.
    pub(crate) fn markdown(&self) -> String {
        let mut lines = vec![
            "| | | rate | p50, ms | p99, ms | CPU |".to_owned(),
            "|---|---|---:|---:|---:|---:|".to_owned(),
        ];
        for (work, kinds) in &self.works {
            let mut name = work.name;
            for kind in Kind::ALL {
                let samples = &kinds[kind as usize];
                if samples.is_empty() {
                    continue;
                }
                let column = |of: fn(&Sample) -> f64| {
                    let values: Vec<f64> = samples.iter().map(of).collect();
                    cell(&values)
                };
                lines.push(format!(
                    "| {name} | {} | {} {} | {} | {} | {} {} |",
                    kind.name(),
                    column(|sample| sample.rate),
                    work.units.rate(),
                    column(|sample| sample.p50_ms),
                    column(|sample| sample.p99_ms),
                    column(|sample| sample.cpu),
                    work.units.cpu()
                ));
                // Only once: the table is wide enough.
                name = "";
            }
        }
        let names = Kind::REGISTRIES.map(Kind::name).join(" | ");
        lines.extend([String::new(), format!("| | {names} |")]);
        lines.push("|---|---:|---:|".to_owned());
        for (what, kinds) in &self.values {
            let cells = Kind::REGISTRIES.map(|kind| cell(&kinds[kind as usize]));
            lines.push(format!("| {what} | {} |", cells.join(" | ")));
        }
        lines.join("\n")
    }
}

/// The row of `name`, which is made at its first result.
fn row<N: PartialEq, T: Default>(rows: &mut Vec<(N, T)>, name: N) -> &mut T {
    let found = rows.iter().position(|(known, _)| *known == name);
    let at = found.unwrap_or_else(|| {
        rows.push((name, T::default()));
        rows.len() - 1
    });
    &mut rows[at].1
}
