//! What happens in the simulation of one seed: which machines there are, how
//! they are connected, what goes wrong and when, and which nodes come and go.

mod change;

use std::fmt;
use std::time::Duration;

use entrepot_consensus::Compaction;

pub(crate) use self::change::{Change, Leave, Leaving};
use crate::draw::Draw;

/// Between the begins of two faults.
const FAULT_PAUSE_MS: std::ops::Range<usize> = 100..1_500;
/// How long one lasts.
const FAULT_MS: std::ops::Range<usize> = 200..3_500;
const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];

/// Everything that a seed decides before the simulation begins.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The nodes that form the cluster, by regions; ids count on from 1.
    pub(crate) regions: Vec<(&'static str, Vec<u64>)>,
    /// What a message takes at least and at most, within a region and between.
    pub(crate) near: (Duration, Duration),
    pub(crate) far: Duration,
    pub(crate) tick: Duration,
    pub(crate) clients: usize,
    /// Of each client.
    pub(crate) operations: usize,
    pub(crate) copies: usize,
    pub(crate) compaction: Compaction,
    /// From the moment when clients begin; in order.
    pub(crate) events: Vec<(Duration, Event)>,
    /// What an operator does meanwhile.
    pub(crate) change: Option<Change>,
}

/// Something that is done to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The process dies.
    Kill(u64),
    /// The power goes; with a number, some of what was not synced survives.
    CutPower(u64, Option<u64>),
    /// An operator stops the node.
    Stop(u64),
    Start(u64),
    /// Nothing passes from the first to the second.
    Cut(Host, Host),
    Mend(Host, Host),
    /// What is sent waits.
    Hold(u64, u64),
    Release(u64, u64),
    /// A message takes as long at most, or as long as ever.
    Slow(u64, u64, Option<Duration>),
    /// A wall clock jumps, ms.
    Skew(u64, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Node(u64),
    Clients,
}

// === impl Plan ===

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut draw = Draw::new(seed, "plan");
        let sizes: &[usize] = match draw.below(10) {
            0 => &[1],
            1 => &[2],
            2..=6 => &[3],
            7 => &[5],
            8 => &[3, 1],
            _ => &[3, 2],
        };
        let mut next = 0;
        let regions = sizes.iter().zip(REGIONS).map(|(size, region)| {
            let ids = (next + 1..=next + *size as u64).collect();
            next += *size as u64;
            (region, ids)
        });
        let regions: Vec<_> = regions.collect();
        let often = draw.percent(50);
        let mut plan = Self {
            seed,
            regions,
            near: (Duration::from_millis(1), draw.ms(2..15)),
            // There and back it is what the timing between regions allows.
            far: draw.ms(30..200),
            tick: Duration::from_millis(2),
            clients: draw.within(2..5),
            operations: draw.within(5..12),
            copies: draw.within(2..4),
            compaction: Compaction {
                snapshot_every: if often { 20 } else { 10_000 },
                keep_entries: if often { 5 } else { 1_000 },
                ..Compaction::default()
            },
            events: Vec::new(),
            change: None,
        };
        plan.draw_faults(&mut draw);
        plan.draw_change(&mut Draw::new(seed, "members"));
        plan.events.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Those that form the cluster.
    pub(crate) fn nodes(&self) -> Vec<u64> {
        let ids = self.regions.iter().flat_map(|(_, ids)| ids);
        ids.copied().collect()
    }

    fn draw_faults(&mut self, draw: &mut Draw) {
        let nodes = self.nodes();
        for (index, id) in nodes.iter().enumerate() {
            let skew = i64::try_from(draw.within(0..600_000)).unwrap_or_default();
            let skew = if index % 2 == 0 { skew } else { -skew };
            self.events.push((Duration::ZERO, Event::Skew(*id, skew)));
        }
        let mut at = Duration::ZERO;
        for _ in 0..draw.below(7) {
            at += draw.ms(FAULT_PAUSE_MS);
            let until = at + draw.ms(FAULT_MS);
            self.draw_fault(draw, &nodes, at, until);
        }
    }

    fn draw_fault(&mut self, draw: &mut Draw, nodes: &[u64], at: Duration, until: Duration) {
        let one = draw.pick(nodes).copied().unwrap_or(1);
        let other = draw.pick(nodes).copied().unwrap_or(1);
        let mut add = |begin, end| {
            self.events.push((at, begin));
            self.events.push((until, end));
        };
        match draw.below(11) {
            0 | 1 => add(Event::Kill(one), Event::Start(one)),
            2 => add(power_cut(draw, one), Event::Start(one)),
            3 => {
                // Of all at once, which takes no majority to notice.
                for node in nodes {
                    add(power_cut(draw, *node), Event::Start(*node));
                }
            }
            4 => add(Event::Stop(one), Event::Start(one)),
            5 => {
                let ends = [Host::Node(one), Host::Node(other)];
                add(Event::Cut(ends[0], ends[1]), Event::Mend(ends[0], ends[1]));
            }
            6 | 7 => {
                for node in nodes.iter().filter(|node| **node != one) {
                    let (one, node) = (Host::Node(one), Host::Node(*node));
                    add(Event::Cut(one, node), Event::Mend(one, node));
                    add(Event::Cut(node, one), Event::Mend(node, one));
                }
            }
            8 => {
                let ends = [Host::Node(one), Host::Clients];
                add(Event::Cut(ends[0], ends[1]), Event::Mend(ends[0], ends[1]));
            }
            9 => add(Event::Hold(one, other), Event::Release(one, other)),
            _ => {
                let slow = Some(draw.ms(100..800));
                add(Event::Slow(one, other, slow), Event::Slow(one, other, None));
            }
        }
    }
}

fn power_cut(draw: &mut Draw, node: u64) -> Event {
    let keep = draw.percent(50).then(|| draw.number());
    Event::CutPower(node, keep)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (region, nodes) in &self.regions {
            writeln!(f, "{region}: nodes {nodes:?}")?;
        }
        writeln!(
            f,
            "{} clients, {} operations each, {} copies, a snapshot every {} entries",
            self.clients, self.operations, self.copies, self.compaction.snapshot_every
        )?;
        if let Some(change) = &self.change {
            writeln!(f, "{change:?}")?;
        }
        for (at, event) in &self.events {
            writeln!(f, "{:>6} ms  {event:?}", at.as_millis())?;
        }
        Ok(())
    }
}
