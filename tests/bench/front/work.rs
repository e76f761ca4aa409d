//! What is measured, and in which units.

use std::fmt;

use crate::timed::Timed;

/// One kind of load.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) units: Units,
}

/// What the rate and the CPU time of a load are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    /// MB/s, CPU-s per GB.
    Bytes,
    /// Requests per second, CPU-µs each.
    Requests,
    /// Images per second, CPU-ms each.
    Images,
}

/// What one round of a load gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu: f64,
}

/// A result, on its way to the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    Sample(&'static Work, Sample),
    /// A single number.
    Value(&'static str, f64),
}

// === impl Work, Units ===

impl Work {
    /// `amount`: bytes, requests or images.
    pub(crate) fn sample(&'static self, amount: f64, timed: Timed, cpu_s: f64) -> Found {
        let (rate, cpu) = match self.units {
            Units::Bytes => (1e-6, 1e9),
            Units::Requests => (1.0, 1e6),
            Units::Images => (1.0, 1e3),
        };
        let sample = Sample {
            rate: rate * amount / timed.took_s,
            p50_ms: timed.p50_ms,
            p99_ms: timed.p99_ms,
            cpu: cpu * cpu_s / amount,
        };
        Found::Sample(self, sample)
    }
}

impl Units {
    pub(crate) fn rate(self) -> &'static str {
        match self {
            Self::Bytes => "MB/s",
            Self::Requests | Self::Images => "/s",
        }
    }

    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Self::Bytes => "s/GB",
            Self::Requests => "µs",
            Self::Images => "ms",
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sample(work, sample) => write!(
                f,
                "{}: {:.1} {}, p50 {:.2} ms, p99 {:.2} ms, CPU {:.2} {}",
                work.name,
                sample.rate,
                work.units.rate(),
                sample.p50_ms,
                sample.p99_ms,
                sample.cpu,
                work.units.cpu()
            ),
            Self::Value(what, value) => write!(f, "{what}: {value:.2}"),
        }
    }
}
