//! One direction of a line between two namespaces: what goes in at one end comes
//! out at the other, later, or not at all.
//!
//! Two threads carry packets from one TUN device into another: one notes when each
//! came, the other hands it out when it is due. The invariant: packets come out in
//! order, no sooner than the delay after they went in; what a line loses, nobody is
//! told.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::random::Random;

/// Packets under way, 150 ms of 1 Gbit/s more than four times over; what comes then
/// is lost.
const PACKETS_MAX: usize = 65_536;
const PACKET_BYTES_MAX: usize = 65_536;
const MILLION: usize = 1_000_000;
/// The protocol number of TCP.
const TCP: u8 = 6;

/// One direction of a line.
#[derive(Debug)]
pub(super) struct Way {
    delay: Duration,
    cut: AtomicBool,
    lost_of_million: AtomicU64,
    carried: AtomicU64,
    lost: AtomicU64,
}

struct Packet {
    due: Instant,
    content: Vec<u8>,
}

impl Way {
    /// From one device to another, until they are gone.
    pub(super) fn open(
        (from, to): (File, File),
        (delay, lost_of_million): (Duration, u32),
        seed: u64,
    ) -> Result<Arc<Self>> {
        let way = Arc::new(Self {
            delay,
            cut: AtomicBool::new(false),
            lost_of_million: AtomicU64::new(lost_of_million.into()),
            carried: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let (packets, under_way) = mpsc::sync_channel(PACKETS_MAX);
        let taker = Arc::clone(&way);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("line-in")
            .spawn(move || taker.take(from, &packets, Random::new(seed)))
            .context("start a thread")?;
        thread("line-out")
            .spawn(move || give(to, &under_way))
            .context("start a thread")?;
        Ok(way)
    }

    pub(super) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    pub(super) fn set_loss(&self, of_million: u32) {
        self.lost_of_million
            .store(of_million.into(), Ordering::SeqCst);
    }

    /// What TCP's segments that went in so far held.
    pub(super) fn carried_bytes(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    /// Packets that did not come out, but for those of a cut.
    pub(super) fn lost_packets(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    fn take(&self, mut from: File, packets: &mpsc::SyncSender<Packet>, mut random: Random) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        // It fails once the device is gone.
        while let Ok(read) = from.read(&mut buffer) {
            let due = Instant::now() + self.delay;
            let content = &buffer[..read];
            if self.cut.load(Ordering::SeqCst) {
                continue;
            }
            self.carried.fetch_add(payload(content), Ordering::SeqCst);
            let lost = self.lost_of_million.load(Ordering::SeqCst);
            let is_lost = (random.below(MILLION) as u64) < lost;
            let content = content.to_vec();
            let packet = (!is_lost).then_some(Packet { due, content });
            match packet.map(|packet| packets.try_send(packet)) {
                Some(Ok(())) => {}
                None | Some(Err(mpsc::TrySendError::Full(_))) => {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                }
                Some(Err(mpsc::TrySendError::Disconnected(_))) => return,
            }
        }
    }
}

/// Hands out what is due.
fn give(mut to: File, packets: &mpsc::Receiver<Packet>) {
    for packet in packets {
        let early = packet.due.saturating_duration_since(Instant::now());
        if !early.is_zero() {
            std::thread::sleep(early);
        }
        // One that the other end does not take, as while it is not up yet, is lost.
        let _ = to.write(&packet.content);
    }
}

/// The bytes of a packet that its sender's TCP was given.
fn payload(packet: &[u8]) -> u64 {
    let found = || {
        let first = packet.first()?;
        let is_tcp = first >> 4 == 4 && *packet.get(9)? == TCP;
        let header = usize::from(first & 0x0f) * 4;
        let offset = usize::from(packet.get(header + 12)? >> 4) * 4;
        is_tcp.then(|| packet.len().saturating_sub(header + offset) as u64)
    };
    found().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::payload;

    #[test]
    fn only_what_tcp_carries_counts() {
        let mut packet = vec![0; 20 + 32 + 100];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[20 + 12] = 8 << 4;
        assert_eq!(payload(&packet), 100);
        assert_eq!(payload(&packet[..52]), 0);
        packet[9] = 17;
        assert_eq!(payload(&packet), 0);
        assert_eq!(payload(&[]), 0);
        assert_eq!(payload(&[0x45]), 0);
    }
}
