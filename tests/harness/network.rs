//! Regions with a real network between them: each in a network namespace of its
//! own, with lines of the kernel's TCP from each to each other one, that take
//! time, have a rate, lose packets, and can be cut.
//!
//! [`Wan`](crate::Wan) stands between two TCP connections; here one connection goes
//! all the way, so loss, slow start, congestion control and retransmission are the
//! kernel's own. The nodes of a region share an address, and reach each other
//! without a line. Their client and ops ports are on loopback outside as they are
//! inside. It takes root. Invariant: nothing of it is left once this process is
//! gone, however it went.
//!
//! It is for tests of behaviour: the threads of a line carry some hundred Mbit/s
//! on a small machine.

mod door;
mod namespace;
mod tun;
mod way;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use self::door::Door;
pub(crate) use self::namespace::Namespace;
use self::way::Way;

/// As on most lines.
const MTU_BYTES: &str = "1500";
/// What TCP makes of that, without its headers.
pub const SEGMENT_BYTES: u64 = 1_448;
/// Packets that wait for a line's thread.
const QUEUE_PACKETS: &str = "10000";
/// What may pass a line at once, and how long more may wait for it.
const BURST: &str = "256kb";
const WAITS: &str = "50ms";
/// As `docs/performance.md` asks for long lines.
const PARAMETERS: [(&str, &str); 3] = [
    ("net.ipv4.tcp_rmem", "4096 131072 33554432"),
    ("net.ipv4.tcp_wmem", "4096 16384 33554432"),
    ("net.ipv4.tcp_slow_start_after_idle", "0"),
];

/// What lies between two regions.
#[derive(Debug, Clone, Copy)]
pub struct Cable {
    pub round_trip: Duration,
    /// In each direction.
    pub mbit_per_s: u32,
    /// Packets that do not arrive.
    pub lost_of_million: u32,
}

/// All regions of a cluster, and the lines between them.
#[derive(Debug)]
pub struct Network {
    /// In the order of their addresses.
    regions: Vec<(String, Arc<Namespace>)>,
    /// By where from and where to.
    ways: BTreeMap<(String, String), Arc<Way>>,
    doors: Vec<Door>,
}

// === impl Network ===

impl Network {
    /// A region each, and the same cable between any two.
    ///
    /// # Errors
    /// When there may be no namespaces here, which says what it takes.
    pub(crate) fn lay<'a>(
        names: impl IntoIterator<Item = &'a String>,
        cable: Cable,
        seed: u64,
    ) -> Result<Self> {
        let mut regions: Vec<(String, Arc<Namespace>)> = Vec::new();
        for name in names {
            if regions.iter().any(|(known, _)| known == name) {
                continue;
            }
            let namespace = Namespace::make()?;
            for (key, value) in PARAMETERS {
                namespace.set(key, value)?;
            }
            let own = format!("{}/32", address_of(regions.len()));
            namespace.ip(&["address", "add", &own, "dev", "lo"])?;
            regions.push((name.clone(), Arc::new(namespace)));
        }
        let mut network = Self {
            regions,
            ways: BTreeMap::new(),
            doors: Vec::new(),
        };
        for first in 0..network.regions.len() {
            for second in first + 1..network.regions.len() {
                network.connect((first, second), cable, seed)?;
            }
        }
        Ok(network)
    }

    fn connect(&mut self, (first, second): (usize, usize), cable: Cable, seed: u64) -> Result<()> {
        let near = self.end(first, second, cable)?;
        let far = self.end(second, first, cable)?;
        let back = (far.try_clone()?, near.try_clone()?);
        let delay = (cable.round_trip / 2, cable.lost_of_million);
        let seed = seed + (first as u64 * 2_000 + second as u64) * 2;
        for (from, to, ends, seed) in [
            (first, second, (near, far), seed),
            (second, first, back, seed + 1),
        ] {
            let name = |place: usize| self.regions[place].0.clone();
            let key = (name(from), name(to));
            self.ways.insert(key, Way::open(ends, delay, seed)?);
        }
        Ok(())
    }

    /// The end of a line in one region towards another.
    fn end(&self, own: usize, other: usize, cable: Cable) -> Result<std::fs::File> {
        let namespace = &self.regions[own].1;
        let device = device_to(other);
        let made = device.clone();
        let tun = namespace.inside_now(move || tun::open(&made))??;
        let up = ["link", "set", &device, "mtu", MTU_BYTES];
        namespace.ip(&[&up[..], &["txqueuelen", QUEUE_PACKETS, "up"]].concat())?;
        let (there, here) = (address_of(other).to_string(), address_of(own).to_string());
        let route = ["route", "add", &there, "dev", &device, "src", &here];
        namespace.ip(&route)?;
        let rate = format!("{}mbit", cable.mbit_per_s);
        let shape = ["qdisc", "add", "dev", &device, "root", "tbf"];
        let size = ["rate", &rate, "burst", BURST, "latency", WAITS];
        namespace.run("tc", &[&shape[..], &size[..]].concat())?;
        Ok(tun)
    }

    pub(crate) fn address(&self, region: &str) -> Result<Ipv4Addr> {
        let place = self.regions.iter().position(|(name, _)| name == region);
        place.map(address_of).context("a region without a network")
    }

    pub(crate) fn namespace(&self, region: &str) -> Result<&Arc<Namespace>> {
        let found = self.regions.iter().find(|(name, _)| name == region);
        let found = found.map(|(_, namespace)| namespace);
        found.context("a region without a network")
    }

    /// Lets this process in at a port of a region.
    pub(crate) fn open_door(&mut self, region: &str, port: u16) -> Result<()> {
        let door = Door::open(port, self.namespace(region)?)?;
        self.doors.push(door);
        Ok(())
    }

    fn way(&self, from: &str, to: &str) -> Result<&Way> {
        let way = self.ways.get(&(from.to_owned(), to.to_owned()));
        let way = way.with_context(|| format!("no line from {from} to {to}"))?;
        Ok(way)
    }

    /// Loses all that goes between two regions from now on, and what is said from
    /// neither end.
    pub fn cut(&self, one: &str, other: &str) -> Result<()> {
        self.way(one, other)?.set_cut(true);
        self.way(other, one)?.set_cut(true);
        Ok(())
    }

    pub fn mend(&self, one: &str, other: &str) -> Result<()> {
        self.way(one, other)?.set_cut(false);
        self.way(other, one)?.set_cut(false);
        Ok(())
    }

    /// Of packets in both directions.
    pub fn set_loss(&self, one: &str, other: &str, of_million: u32) -> Result<()> {
        self.way(one, other)?.set_loss(of_million);
        self.way(other, one)?.set_loss(of_million);
        Ok(())
    }

    /// What comes next on each connection of `from` to `to` is answered by a reset,
    /// until [`Self::pass`].
    pub fn reject(&self, from: &str, to: &str) -> Result<()> {
        self.rule("-I", from, to)
    }

    /// Ends [`Self::reject`].
    pub fn pass(&self, from: &str, to: &str) -> Result<()> {
        self.rule("-D", from, to)
    }

    fn rule(&self, action: &str, from: &str, to: &str) -> Result<()> {
        let place = self.regions.iter().position(|(name, _)| name == to);
        let device = device_to(place.context("a region without a network")?);
        let packets = [action, "OUTPUT", "-o", &device, "-p", "tcp"];
        let reset = ["-j", "REJECT", "--reject-with", "tcp-reset"];
        let namespace = self.namespace(from)?;
        namespace.run("iptables", &[&packets[..], &reset[..]].concat())
    }

    /// Bytes that TCP has sent from one region to another so far, with those that
    /// it sent once more.
    pub fn carried_bytes(&self, from: &str, to: &str) -> Result<u64> {
        Ok(self.way(from, to)?.carried_bytes())
    }

    /// Packets from one region to another that were lost so far, but for cuts.
    pub fn lost_packets(&self, from: &str, to: &str) -> Result<u64> {
        Ok(self.way(from, to)?.lost_packets())
    }

    /// Segments that a region's nodes have sent once more so far.
    pub fn sent_again(&self, region: &str) -> Result<u64> {
        self.namespace(region)?.sent_again()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.doors.clear();
        for (own, (_, namespace)) in self.regions.iter().enumerate() {
            for other in (0..self.regions.len()).filter(|other| *other != own) {
                // The threads of the line see that it is gone, and end.
                let _ = namespace.ip(&["link", "delete", &device_to(other)]);
            }
        }
    }
}

/// In a net of nobody's, which only these namespaces see.
fn address_of(place: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, u8::try_from(place).unwrap_or(u8::MAX), 1)
}

fn device_to(place: usize) -> String {
    format!("wan{place}")
}
