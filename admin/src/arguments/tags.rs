//! The grammar of `entrepot tag`.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use entrepot_oci::{Reference, RepositoryName, Tag as Name};

use super::images::Named;

#[derive(Debug, Subcommand)]
pub(crate) enum Tag {
    /// Show who moved a tag when, from what to what
    #[command(after_help = "\
The last 100 moves, the newest first. The tag need not be there any more: they are told of for 90 \
days after it was deleted. The table shortens digests; --json has them whole.

Whoever may look at the repository's images (`ecr:DescribeImages`) may do this.

Example:
  entrepot tag history team/app:latest

JSON (\"from\" and \"to\" are null where there was no such tag; \"reason\" is push, client for a \
deletion by one, lifecycle, replication or restore; \"by\" is an ARN, or the region that a copy came \
from, null where it is not known):
  {\"repository\": \"team/app\", \"tag\": \"latest\",
   \"moves\": [{\"at_ms\": 1767225600000, \"from\": null, \"to\": \"sha256:9f86d0...\",
              \"reason\": \"push\", \"by\": \"arn:aws:iam::123456789012:user/ci\",
              \"log_index\": 1042}]}")]
    History {
        /// The tag: REPOSITORY:TAG
        #[arg(value_name = "TAG")]
        tag: Tagged,
    },

    /// Set a tag to what it pointed to at a time
    #[command(after_help = "\
If the image was deleted since, it comes back as well, as by `entrepot image restore --no-tags`. \
If it has gone for good, if there was no such tag at that time, or if the repository does not let \
the tag move, nothing is changed. If somebody moves the tag at the same moment, it stays where that \
put it. The move is copied by the registry's rules like a push.

A TIME of `entrepot tag history` stands for the moment just after that move.

Whoever may push to the repository (`ecr:PutImage`) may do this.

Examples:
  entrepot tag restore team/app:latest --at 2026-01-31T18:00:00Z
  entrepot tag restore team/app:latest --at 2h --dry-run

JSON (\"previous\" is what it pointed to until now, null if there was no such tag):
  {\"repository\": \"team/app\", \"tag\": \"latest\", \"digest\": \"sha256:9f86d0...\",
   \"previous\": \"sha256:60303a...\", \"image_restored\": false, \"dry_run\": false}")]
    Restore(TagRestore),
}

#[derive(Debug, Args)]
pub(crate) struct TagRestore {
    /// The tag: REPOSITORY:TAG
    #[arg(value_name = "TAG")]
    pub(crate) tag: Tagged,

    /// The time, such as 2026-01-31T18:00:00Z, or how long ago it was, such as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) at: At,

    /// Show where the tag would go, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) repository: RepositoryName,
    pub(crate) tag: Name,
}

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// In milliseconds since 1970.
    Time(i64),
    Ago(Duration),
}

// === impl At ===

impl At {
    /// In milliseconds since 1970. `now_ms`: the time of this machine.
    pub(crate) fn ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Time(at_ms) => at_ms,
            Self::Ago(ago) => {
                now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = text.strip_suffix("ago").unwrap_or(text).trim();
        if let Ok(ago) = humantime::parse_duration(ago) {
            return Ok(Self::Ago(ago));
        }
        let expected = "expected a time such as 2026-01-31T18:00:00Z, or how long ago, such as 2h";
        let (text, ahead_ms) = without_offset(text).ok_or(expected)?;
        let at = humantime::parse_rfc3339_weak(&text).map_err(|_| expected.to_owned())?;
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.map_err(|_| "must be after 1970".to_owned())?;
        let at_ms = i64::try_from(since.as_millis()).map_err(|error| error.to_string())?;
        Ok(Self::Time(at_ms.saturating_sub(ahead_ms)))
    }
}

/// A time in the form of RFC 3339 without what it is ahead of UTC (`+02:00`), and how
/// many milliseconds that is.
fn without_offset(text: &str) -> Option<(String, i64)> {
    let split = text.len().checked_sub("+00:00".len());
    let offset = split.and_then(|at| text.split_at_checked(at));
    // A date has signs as well, and no colon so far behind one.
    let Some((time, offset)) = offset.filter(|(time, offset)| {
        let is_offset = offset.starts_with(['+', '-']) && offset.as_bytes()[3] == b':';
        is_offset && time.contains(':')
    }) else {
        return Some((text.to_owned(), 0));
    };
    if time.ends_with(['Z', 'z']) {
        return None;
    }
    let (hours, minutes) = offset[1..].split_once(':')?;
    let digits = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i64>().ok()).flatten()
    };
    let hours = digits(hours).filter(|hours| *hours < 24)?;
    let minutes = digits(minutes).filter(|minutes| *minutes < 60)?;
    let ahead_ms = (hours * 60 + minutes) * 60 * 1_000;
    let ahead_ms = if offset.starts_with('-') {
        -ahead_ms
    } else {
        ahead_ms
    };
    Some((format!("{time}Z"), ahead_ms))
}

// === impl Tagged ===

impl FromStr for Tagged {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named: Named = text.parse()?;
        match named.reference {
            Reference::Tag(tag) => Ok(Self {
                repository: named.repository,
                tag,
            }),
            Reference::Digest(_) => Err("expected REPOSITORY:TAG".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago_it_was() {
        for (text, at) in [
            ("1970-01-01T00:00:01Z", At::Time(1_000)),
            ("1970-01-01T00:00:01.250Z", At::Time(1_250)),
            ("1970-01-01 00:01:00", At::Time(60_000)),
            ("1970-01-01T03:00:00+02:00", At::Time(3_600_000)),
            ("1970-01-01T00:00:00-01:30", At::Time(5_400_000)),
            ("2h", At::Ago(Duration::from_hours(2))),
            ("2h ago", At::Ago(Duration::from_hours(2))),
            ("1day 2h", At::Ago(Duration::from_hours(26))),
        ] {
            assert_eq!(text.parse(), Ok(at), "{text}");
        }
        for wrong in [
            "yesterday",
            "1969-12-31T00:00:00Z",
            "1970-01-01T00:00:00+2:00",
            "1970-01-01T00:00:00+25:00",
            "1970-01-01T00:00:00Z+01:00",
            "2026-01-31",
            "",
            "ago",
            "ü1234:",
        ] {
            assert!(wrong.parse::<At>().is_err(), "{wrong}");
        }
        assert_eq!(At::Time(5).ms(100), 5);
        assert_eq!(At::Ago(Duration::from_millis(30)).ms(100), 70);
        assert_eq!(At::Ago(Duration::MAX).ms(0), -i64::MAX);
    }
}
