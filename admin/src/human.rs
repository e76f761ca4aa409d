//! Numbers, times and foreign text as people read them.
//!
//! What a node sends may hold anything: text passes [`plain`] before it reaches
//! a terminal, so that no name or message can move its cursor.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use comfy_table::{Table, presets};

pub(crate) use crate::plain::plain;

/// Signs of a digest's hash that a table shows.
const DIGEST_SIGNS: usize = 12;

/// Blanks between two columns.
const GAP: u16 = 2;

/// Stands in a table for what is not there.
const NOTHING: &str = "-";

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// From which on a time has no form of four digits.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// A borderless table, without an end of line.
pub(crate) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| match plain(&cell) {
            cell if cell.is_empty() => NOTHING.to_owned(),
            cell => cell,
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.trim_fmt()
}

/// `items` behind each other, a blank between two.
pub(crate) fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(" ")
}

/// `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// `512 B`, `7.0 MiB`: rounded down, so that no size looks larger than it is.
pub(crate) fn size(bytes: u64) -> String {
    let Some(power) = bytes.checked_ilog2().map(|log| log / 10).filter(|p| *p > 0) else {
        return format!("{bytes} B");
    };
    let unit = UNITS[power as usize - 1];
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// The largest unit that leaves a number worth reading: `850ms`, `75s`, `3d`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        _ if ms < SECOND_MS => format!("{ms}ms"),
        _ if ms < 2 * MINUTE_MS => format!("{}s", ms / SECOND_MS),
        _ if ms < 2 * HOUR_MS => format!("{}m", ms / MINUTE_MS),
        _ if ms < 2 * DAY_MS => format!("{}h", ms / HOUR_MS),
        _ => format!("{}d", ms / DAY_MS),
    }
}

/// The time from `from_ms` to `to_ms`. The node's clock may run ahead of this
/// machine's: what lies in the future is `0ms` old.
pub(crate) fn between(from_ms: i64, to_ms: i64) -> String {
    duration(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

/// `2026-01-31T18:00:00.250Z`: whole, so that it names the same moment when it is given
/// back.
pub(crate) fn time(at_ms: i64) -> String {
    let ms = u64::try_from(at_ms).ok().filter(|ms| *ms < YEAR_10000_MS);
    ms.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
        .map_or(NOTHING.to_owned(), |at| {
            humantime::format_rfc3339_millis(at).to_string()
        })
}

/// `sha256:9f86d081884c`
pub(crate) fn digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hash)) => {
            let hash: String = hash.chars().take(DIGEST_SIGNS).collect();
            format!("{algorithm}:{hash}")
        }
        None => digest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        DAY_MS, HOUR_MS, MINUTE_MS, YEAR_10000_MS, between, digest, duration, plain, size, table,
        time,
    };

    #[test]
    fn sizes_step_by_1024_and_round_down() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(1024 * 1024 - 1), "1023.9 KiB");
        assert_eq!(size(7 * 1024 * 1024 + 600_000), "7.5 MiB");
        assert_eq!(size(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn durations_keep_one_unit() {
        assert_eq!(duration(999), "999ms");
        assert_eq!(duration(119_999), "119s");
        assert_eq!(duration(2 * MINUTE_MS), "2m");
        assert_eq!(duration(2 * HOUR_MS), "2h");
        assert_eq!(duration(400 * DAY_MS), "400d");
        assert_eq!(between(5, 2), "0ms");
        assert_eq!(between(i64::MIN, i64::MAX), "106751991167d");
    }

    #[test]
    fn times_are_whole_and_strange_ones_left_out() {
        assert_eq!(time(1_769_882_400_250), "2026-01-31T18:00:00.250Z");
        let last = i64::try_from(YEAR_10000_MS).unwrap() - 1;
        assert_eq!(time(last), "9999-12-31T23:59:59.999Z");
        for strange in [-1, last + 1, i64::MAX, i64::MIN] {
            assert_eq!(time(strange), "-");
        }
    }

    #[test]
    fn digests_are_cut_and_strange_ones_left() {
        assert_eq!(digest("sha256:9f86d081884c7d65"), "sha256:9f86d081884c");
        assert_eq!(digest("strange"), "strange");
    }

    #[test]
    fn no_text_steers_the_terminal() {
        assert_eq!(plain("a\x1b[2J\r\nb\tc "), "a [2J b c");
        assert_eq!(
            table(["NAME", "TAG"], [["a\x1bb".to_owned(), String::new()]]),
            "NAME  TAG\na b   -"
        );
    }
}
