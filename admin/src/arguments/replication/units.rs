//! What options of a rule are given in: bytes or bits a second, hours of a week,
//! regions near each other. Each is printed as it is read.

use std::fmt;
use std::str::FromStr;

use entrepot_oci::RegionName;
use entrepot_proto::admin;

use super::part;

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bandwidth(pub(crate) u64);

/// Hours of some days, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(pub(crate) admin::TimeWindow);

/// Regions near each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Near(pub(crate) Vec<RegionName>);

/// The largest first; of one, how many bytes a second it is, times eight.
const RATES: [(&str, u64); 9] = [
    ("GiB", 8 << 30),
    ("GB", 8_000_000_000),
    ("Gbit", 1_000_000_000),
    ("MiB", 8 << 20),
    ("MB", 8_000_000),
    ("Mbit", 1_000_000),
    ("KiB", 8 << 10),
    ("kbit", 1_000),
    ("B", 8),
];

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const HOUR_MINUTES: u32 = 60;
const DAY_MINUTES: u32 = 24 * HOUR_MINUTES;

// === impl Bandwidth ===

impl FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected a number and one of B, KiB, MB, MiB, GB, GiB, kbit, Mbit, Gbit, such as 50MiB or 200Mbit";
        let digits = text.find(|sign: char| !sign.is_ascii_digit());
        let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
        let number: u64 = number.parse().map_err(|_| wrong().to_owned())?;
        let unit = unit.trim_start();
        let rate = RATES.iter().find(|(name, _)| *name == unit);
        let (_, bits) = rate.ok_or_else(|| wrong().to_owned())?;
        let bytes = number.checked_mul(*bits).map(|bits| bits / 8);
        match bytes {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err("must be more than nothing, and a number that exists".to_owned()),
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from(self.0) * 8;
        for (name, unit) in RATES {
            let unit = u128::from(unit);
            if bits >= unit && bits.is_multiple_of(unit) {
                return write!(f, "{}{name}", bits / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

// === impl Window ===

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (days, hours) = match text.split_once('/') {
            Some((days, hours)) => (weekdays(days)?, hours),
            None => (0, text),
        };
        let (from, to) = hours
            .split_once('-')
            .ok_or("expected two times with '-' between them, such as 22:00-06:00")?;
        let (from_minute, to_minute) = (minute(from)?, minute(to)?);
        if from_minute >= DAY_MINUTES || from_minute == to_minute {
            return Err("must begin within the day, and end at another minute".to_owned());
        }
        Ok(Self(admin::TimeWindow {
            days,
            from_minute,
            to_minute,
        }))
    }
}

/// `mon-fri`, `sat,sun`; a bit for each.
fn weekdays(text: &str) -> Result<u32, String> {
    let day = |name: &str| {
        let found = DAYS.iter().position(|day| *day == name);
        found.ok_or_else(|| format!("{name:?} is no day: they are {}", DAYS.join(", ")))
    };
    let mut days = 0;
    for some in text.split(',') {
        let (first, last) = some.split_once('-').unwrap_or((some, some));
        let (first, last) = (day(first)?, day(last)?);
        // From Saturday to Monday goes over the end of the week.
        let count = (last + DAYS.len() - first) % DAYS.len();
        for after in 0..=count {
            days |= 1 << ((first + after) % DAYS.len());
        }
    }
    Ok(days)
}

fn minute(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no time: expected one such as 22:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let is_two_digits = |part: &str| part.len() == 2 && part.bytes().all(|it| it.is_ascii_digit());
    if !is_two_digits(hour) || !is_two_digits(minute) {
        return Err(wrong());
    }
    let (hour, minute): (u32, u32) = (
        hour.parse().map_err(|_| wrong())?,
        minute.parse().map_err(|_| wrong())?,
    );
    let minutes = hour * HOUR_MINUTES + minute;
    if minute >= HOUR_MINUTES || minutes > DAY_MINUTES {
        return Err(wrong());
    }
    Ok(minutes)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = DAYS.iter().enumerate();
        let named = named.filter(|(nth, _)| self.0.days & (1 << nth) != 0);
        let days: Vec<&str> = named.map(|(_, day)| *day).collect();
        if !days.is_empty() {
            write!(f, "{}/", days.join(","))?;
        }
        let (from, to) = (self.0.from_minute, self.0.to_minute);
        let (hour, minute) = (from / HOUR_MINUTES, from % HOUR_MINUTES);
        write!(f, "{hour:02}:{minute:02}-")?;
        write!(f, "{:02}:{:02}", to / HOUR_MINUTES, to % HOUR_MINUTES)
    }
}

// === impl Near ===

impl FromStr for Near {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let regions: Vec<RegionName> = text.split(',').map(part).collect::<Result<_, _>>()?;
        if regions.len() < 2 {
            return Err("expected two regions or more, with ',' between them".to_owned());
        }
        Ok(Self(regions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_is_printed_as_it_was_given() {
        for (text, bytes) in [
            ("1B", 1),
            ("50MiB", 50 << 20),
            ("200Mbit", 25_000_000),
            ("1Gbit", 125_000_000),
            ("12GB", 12_000_000_000),
            ("7kbit", 875),
        ] {
            let read: Bandwidth = text.parse().unwrap();
            assert_eq!(read.0, bytes);
            let printed = read.to_string();
            assert_eq!(printed.parse::<Bandwidth>().unwrap(), read, "{printed}");
        }
        assert_eq!(Bandwidth(50 << 20).to_string(), "50MiB");
        for wrong in [
            "",
            "50",
            "MiB",
            "0MiB",
            "1kb",
            "-1B",
            "99999999999999999999B",
            "1.5GB",
        ] {
            assert!(wrong.parse::<Bandwidth>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_window_is_printed_as_it_is_read() {
        for (text, days, from_minute, to_minute, printed) in [
            ("22:00-06:00", 0, 1_320, 360, "22:00-06:00"),
            (
                "mon-wed/00:00-24:00",
                7,
                0,
                1_440,
                "mon,tue,wed/00:00-24:00",
            ),
            (
                "sat-mon/01:30-02:00",
                0b110_0001,
                90,
                120,
                "mon,sat,sun/01:30-02:00",
            ),
            ("fri/23:59-00:00", 16, 1_439, 0, "fri/23:59-00:00"),
        ] {
            let read: Window = text.parse().unwrap();
            let expected = admin::TimeWindow {
                days,
                from_minute,
                to_minute,
            };
            assert_eq!(read.0, expected, "{text}");
            assert_eq!(read.to_string(), printed);
            assert_eq!(printed.parse::<Window>().unwrap(), read);
        }
        for wrong in [
            "",
            "22:00",
            "24:00-06:00",
            "22:00-22:00",
            "22:60-23:00",
            "1:00-02:00",
            "someday/00:00-01:00",
            "/00:00-01:00",
            "mon-/00:00-01:00",
            "25:00-26:00",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn regions_near_each_other_are_two_or_more() {
        let near: Near = "eu-west-1,eu-west-2".parse().unwrap();
        assert_eq!(near.0.len(), 2);
        for wrong in ["", "eu-west-1", "eu-west-1,", "EU,US"] {
            assert!(wrong.parse::<Near>().is_err(), "{wrong}");
        }
    }
}
