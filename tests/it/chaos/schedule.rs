//! What befalls a cluster in one round, and when: all of it drawn from a seed,
//! so that the same seed means the same round.
//!
//! There are two tracks, one of processes and one of the network. Each has one
//! blow at a time; blows of different tracks overlap.

use std::fmt;

use entrepot_harness::Random;

/// Whom a blow hits: found when it falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Leader,
    /// The nth of the other nodes.
    Follower(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL, and started again at the end.
    Kill(Whom),
    KillAll,
    /// SIGTERM, and started again at the end.
    Stop(Whom),
    /// SIGSTOP until the end.
    Pause(Whom),
    /// Nothing passes between this node and the others.
    Isolate(Whom),
    /// Nothing that it sends arrives.
    Mute(Whom),
    /// Nothing arrives that is sent to it.
    Deafen(Whom),
    /// Nothing passes between the two nodes that it is not.
    Part(Whom),
    /// Everything arrives late.
    Slow {
        delay_ms: u64,
        jitter_ms: u64,
    },
    /// Connections break.
    Break {
        one_in: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blow {
    pub(crate) begins_ms: u64,
    pub(crate) ends_ms: u64,
    pub(crate) kind: Kind,
}

/// The blows of a round of `length_ms`, in order of their beginnings.
pub(crate) fn draw(seed: u64, length_ms: u64) -> Vec<Blow> {
    let mut random = Random::new(seed);
    let mut blows = Vec::new();
    for of_track in [process, network] {
        let mut at_ms = between(&mut random, 500, 2_500);
        while at_ms < length_ms {
            let kind = of_track(&mut random);
            let (least_ms, most_ms) = kind.lasts_ms();
            let ends_ms = at_ms + between(&mut random, least_ms, most_ms);
            blows.push(Blow {
                begins_ms: at_ms,
                ends_ms,
                kind,
            });
            at_ms = ends_ms + between(&mut random, 300, 3_000);
        }
    }
    blows.sort_by_key(|blow| blow.begins_ms);
    blows
}

fn process(random: &mut Random) -> Kind {
    let whom = whom(random);
    match random.below(10) {
        0..4 => Kind::Kill(whom),
        4..8 => Kind::Pause(whom),
        8 => Kind::Stop(whom),
        _ => Kind::KillAll,
    }
}

fn network(random: &mut Random) -> Kind {
    let whom = whom(random);
    match random.below(12) {
        0..3 => Kind::Isolate(whom),
        3..5 => Kind::Mute(whom),
        5..7 => Kind::Deafen(whom),
        7..9 => Kind::Part(whom),
        9..11 => Kind::Slow {
            delay_ms: between(random, 1, 150),
            jitter_ms: between(random, 0, 150),
        },
        _ => Kind::Break {
            one_in: 5 + random.below(60),
        },
    }
}

fn whom(random: &mut Random) -> Whom {
    match random.below(4) {
        0 | 1 => Whom::Leader,
        nth => Whom::Follower(nth),
    }
}

fn between(random: &mut Random, least: u64, most: u64) -> u64 {
    let span = usize::try_from(most - least + 1).unwrap_or(usize::MAX);
    least + random.below(span) as u64
}

impl Kind {
    fn lasts_ms(self) -> (u64, u64) {
        match self {
            Self::Kill(_) | Self::KillAll | Self::Stop(_) => (0, 4_000),
            // Shorter and longer than a lease, an election and a request.
            Self::Pause(_) => (200, 6_000),
            _ => (500, 7_000),
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
        let (from, to) = (seconds(self.begins_ms), seconds(self.ends_ms));
        write!(f, "{from} to {to}: {:?}", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::draw;

    #[test]
    fn a_seed_means_one_schedule() {
        assert_eq!(draw(7, 60_000), draw(7, 60_000));
        assert_ne!(draw(7, 60_000), draw(8, 60_000));
    }

    #[test]
    fn every_kind_of_blow_is_drawn() {
        let kinds: BTreeSet<String> = (0..20)
            .flat_map(|seed| draw(seed, 60_000))
            .map(|blow| format!("{:?}", blow.kind))
            .map(|kind| kind.split(['(', ' ']).next().unwrap().to_owned())
            .collect();
        assert_eq!(kinds.len(), 10, "{kinds:?}");
    }
}
