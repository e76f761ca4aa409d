//! The tables.

use crate::cell::cell;
use crate::content::Extent;
use crate::fill::Tenth;
use crate::held::Held;
use crate::restart::Starts;
use crate::timed::Timed;

/// A row's name, and what it shows of each column.
type Row<T, V> = (&'static str, fn(&T) -> V);

/// Which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Empty,
    Full,
}

/// Latencies of both nodes, by operation.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// In the order of `Side`.
    rows: Vec<(&'static str, [Vec<Timed>; 2])>,
}

// === impl Latencies ===

impl Latencies {
    pub(crate) fn add(&mut self, side: Side, what: &'static str, timed: Timed) {
        let found = self.rows.iter().position(|(known, _)| *known == what);
        let at = found.unwrap_or_else(|| {
            self.rows.push((what, Default::default()));
            self.rows.len() - 1
        });
        self.rows[at].1[side as usize].push(timed);
    }

    /// With the full node's medians in relation to the empty one's.
    pub(crate) fn markdown(&self) -> String {
        let mut lines = vec![
            "| | p50, ms: empty | full | ratio | p99, ms: empty | full | ratio |".to_owned(),
            "|---|---:|---:|---:|---:|---:|---:|".to_owned(),
        ];
        for (what, sides) in &self.rows {
            let columns = [|timed: &Timed| timed.p50_ms, |timed: &Timed| timed.p99_ms];
            let cells = columns.map(|column| {
                let [empty, full] = sides
                    .each_ref()
                    .map(|side| side.iter().map(column).collect::<Vec<f64>>());
                let ratio = median(&full) / median(&empty);
                format!("{} | {} | {ratio:.2}", cell(&empty), cell(&full))
            });
            lines.push(format!("| {what} | {} |", cells.join(" | ")));
        }
        lines.join("\n")
    }
}

/// Whether a node gets slower while it fills.
pub(crate) fn filling(tags: &[Tenth], manifests: &[Tenth]) -> String {
    let mut lines = vec![
        "| while it fills, 16 at a time | first tenth | fifth | last | slowest |".to_owned(),
        "|---|---:|---:|---:|---:|".to_owned(),
    ];
    for (what, tenths) in [("tags", tags), ("images", manifests)] {
        let slowest = tenths.iter().min_by(|a, b| a.per_s.total_cmp(&b.per_s));
        let chosen = [tenths.first(), tenths.get(4), tenths.last(), slowest];
        let rows: [Row<Tenth, f64>; 3] = [
            ("pushed, 1/s", |tenth| tenth.per_s),
            ("p50, ms", |tenth| tenth.timed.p50_ms),
            ("p99, ms", |tenth| tenth.timed.p99_ms),
        ];
        for (unit, of) in rows {
            let cells = chosen.map(|tenth| tenth.map_or_else(String::new, |it| cell(&[of(it)])));
            lines.push(format!("| {what}: {unit} | {} |", cells.join(" | ")));
        }
    }
    lines.join("\n")
}

/// Disk and memory, before, with the tags, and with the manifests as well.
pub(crate) fn held(held: &[Held; 3], extent: &Extent) -> String {
    let mut lines = vec![
        "| | empty, MB | + tags, MB | + manifests, MB | bytes a tag | bytes a manifest, its config and its tag |"
            .to_owned(),
        "|---|---:|---:|---:|---:|---:|".to_owned(),
    ];
    let rows: [Row<Held, u64>; 6] = [
        ("disk", Held::disk),
        ("… applied state", |held| held.index),
        ("… Raft log", |held| held.log),
        ("… snapshot", |held| held.snapshots),
        ("… blobs", |held| held.blobs),
        ("anonymous memory", |held| held.anonymous),
    ];
    for (what, of) in rows {
        let [nothing, tags, manifests] = held.each_ref().map(|held| float(of(held)));
        lines.push(format!(
            "| {what} | {} | {} | {} | {:.0} | {:.0} |",
            cell(&[nothing / 1e6]),
            cell(&[tags / 1e6]),
            cell(&[manifests / 1e6]),
            (tags - nothing) / float(extent.tags),
            (manifests - tags) / float(extent.manifests()),
        ));
    }
    lines.join("\n")
}

/// Starts, and the most memory that each node held before them.
pub(crate) fn starts(starts: &Starts, peaks: [u64; 2]) -> String {
    let mut lines = vec![
        "| | empty | full |".to_owned(),
        "|---|---:|---:|".to_owned(),
    ];
    for (before, [empty, full]) in starts {
        lines.push(format!(
            "| {} | {} | {} |",
            before.name(),
            cell(empty),
            cell(full)
        ));
    }
    let [empty, full] = peaks.map(|peak| cell(&[float(peak) / f64::from(1 << 20)]));
    lines.push(format!("| peak memory (VmHWM), MiB | {empty} | {full} |"));
    lines.join("\n")
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn float(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "some GB")]
    let bytes = bytes as f64;
    bytes
}
