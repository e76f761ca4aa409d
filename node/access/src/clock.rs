//! Times as texts, of policies and of signatures: W3C's profile of ISO 8601, or
//! seconds since 1970.

use time::{Date, Month, OffsetDateTime};

const MS_PER_SECOND: i64 = 1000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Seconds since 1970 have at most so many digits: the year 5138.
const EPOCH_DIGITS_MAX: usize = 11;

/// Milliseconds since 1970. Four digits are a year.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number && text.len() != 4 {
        let fits = text.len() <= EPOCH_DIGITS_MAX;
        return fits
            .then(|| text.parse::<i64>().ok())??
            .checked_mul(MS_PER_SECOND);
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let midnight = days(date)?.checked_mul(SECONDS_PER_DAY * MS_PER_SECOND)?;
    let Some(time) = time else {
        return Some(midnight);
    };
    let (clock, offset_minutes) = zone(time)?;
    let ms = clock_ms(clock)?;
    Some(midnight + ms - offset_minutes * 60 * MS_PER_SECOND)
}

/// `2026-01-02T03:04:05Z`
pub(crate) fn iso_8601(ms: i64) -> String {
    let seconds = ms.div_euclid(MS_PER_SECOND);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// Days since 1970 of `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
fn days(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |month| number(month, 2))?;
    let day = parts.next().map_or(Some(1), |day| number(day, 2))?;
    if parts.next().is_some() {
        return None;
    }
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?);
    let midnight = date.ok()?.midnight().assume_utc();
    Some(midnight.unix_timestamp().div_euclid(SECONDS_PER_DAY))
}

/// The clock, and the minutes that it is ahead of UTC.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = hours * 60 + minutes;
    let is_behind = text[at..].starts_with('-');
    Some((&text[..at], if is_behind { -ahead } else { ahead }))
}

/// Of `HH:MM`, `HH:MM:SS` or `HH:MM:SS.f`.
fn clock_ms(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (seconds, fraction) = match parts.next() {
        None => (0, "0"),
        Some(text) => {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
            (number(seconds, 2)?, fraction)
        }
    };
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if !is_fraction {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(((hours * 60 + minutes) * 60 + seconds) * MS_PER_SECOND + number(&thousandths, 3)?)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{iso_8601, parse};

    #[test]
    fn reads_every_form() {
        let rows = [
            ("1970", 0),
            ("2013", 1_356_998_400_000),
            ("1970-02", 31 * 86_400_000),
            ("1970-01-02", 86_400_000),
            ("1970-01-01T00:01Z", 60_000),
            ("2026-11-21T16:36:03Z", 1_795_278_963_000),
            ("1970-01-01T00:00:01.5Z", 1_500),
            ("1970-01-01T00:00:00.0019Z", 1),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("0", 0),
            ("1795278963", 1_795_278_963_000),
        ];
        for (text, ms) in rows {
            assert_eq!(parse(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "x",
            "-1",
            "999999999999",
            "2013-1",
            "2013-13",
            "2013-02-29",
            "2013-02-29-01",
            "2013-01-01T",
            "2013-01-01T00:00",
            "2013-01-01T24:00Z",
            "2013-01-01T00:00:00.Z",
            "2013-01-01T00:00:00+24:00",
            "2013-01-01T00:00:00+0100",
            "2013-01-01T00:00:00:00Z",
            "２０１３",
            "2013-01-01T00:00Zé",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(seconds in -62_000_000_000_i64..250_000_000_000) {
            prop_assert_eq!(parse(&iso_8601(seconds * 1000)), Some(seconds * 1000));
        }
    }
}
