//! Free TCP ports on loopback for processes that are told their ports.
//!
//! A port is only ever handed out once at a time, to whichever test asks: it
//! is held by a locked file until the holder is dropped, and it was free when
//! it was handed out. Ports come from below the kernel's ephemeral range, so
//! that an outgoing connection cannot take one while a node is down.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::random::Random;

const FIRST: u16 = 10_000;
const LAST_DEFAULT: u16 = 32_000;
const TRIES_MAX: usize = 10_000;

/// Ports that belong to the holder until it is dropped.
#[derive(Debug)]
pub struct Ports {
    numbers: Vec<u16>,
    /// Held, never read.
    locks: Vec<File>,
}

impl Ports {
    /// Any `count` free ports.
    pub fn take(count: usize) -> Result<Self> {
        Self::take_offsets_each(count, &[0])
    }

    /// A base port such that base + every offset is free; `numbers()` starts
    /// with the base's own (offset order is kept).
    pub fn take_block(offsets: &[u16]) -> Result<Self> {
        Self::take_offsets_each(1, offsets)
    }

    pub fn numbers(&self) -> &[u16] {
        &self.numbers
    }

    fn take_offsets_each(count: usize, offsets: &[u16]) -> Result<Self> {
        let last = last_port().saturating_sub(offsets.iter().copied().max().unwrap_or(0));
        let span = usize::from(last.saturating_sub(FIRST)).max(1);
        let mut random = Random::new(seed());
        let mut taken = Self {
            numbers: Vec::new(),
            locks: Vec::new(),
        };
        let mut found = 0;
        for _ in 0..TRIES_MAX {
            if found == count {
                return Ok(taken);
            }
            let base = FIRST + u16::try_from(random.below(span))?;
            let mut numbers = Vec::new();
            let mut locks = Vec::new();
            for offset in offsets {
                if let Some(lock) = try_take(base + offset)? {
                    numbers.push(base + offset);
                    locks.push(lock);
                }
            }
            if numbers.len() == offsets.len() {
                taken.numbers.extend(numbers);
                taken.locks.extend(locks);
                found += 1;
            }
        }
        bail!("found only {found} of {count} free ports between {FIRST} and {last}")
    }
}

/// `None`: somebody has it.
fn try_take(port: u16) -> Result<Option<File>> {
    let folder = std::env::temp_dir().join("entrepot-test-ports");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join(port.to_string());
    let lock = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    Ok(free.then_some(lock))
}

/// The highest port below the ephemeral range.
fn last_port() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<u16>().ok())
        .map(|ephemeral| ephemeral.saturating_sub(1))
        .filter(|last| *last > FIRST + 2_000)
        .unwrap_or(LAST_DEFAULT)
}

/// Where to start looking; repeatability is not wanted here.
fn seed() -> u64 {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    u64::from(std::process::id()) << 32 | u64::from(nanos)
}
