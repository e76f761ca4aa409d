//! What the log holds, in memory: for every group its vote, its bounds and
//! where each entry lies.
//!
//! [`Index::apply`] is the only interpretation of a record. Writing a record
//! and reading it back at the next start take the same path, so that memory
//! and disk cannot come to disagree.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Change, EntryId, Standing};
use super::segment::Location;

/// Where an entry lies, and its payload while it is recent.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) term: u64,
    pub(super) node: u64,
    pub(super) at: Location,
    pub(super) recent: Option<Bytes>,
}

/// One group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) standing: Standing,
    pub(super) slots: BTreeMap<u64, Slot>,
    /// Entries with a payload in memory, oldest first. May name entries that
    /// are gone.
    recent: VecDeque<(u64, Location)>,
    recent_bytes: usize,
    /// What the entries take on disk.
    pub(super) bytes: u64,
}

/// How much of a segment is still needed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// All groups, and what their entries need of each segment.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) groups: HashMap<Arc<str>, Group>,
    pub(super) live: BTreeMap<u64, Live>,
}

// === impl Index ===

impl Index {
    pub(super) fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(Arc::from(name)).or_default()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Takes in a record of `group` that lies at `at`.
    pub(super) fn apply(&mut self, group: &str, change: &Change<'_>, at: Location) {
        let state = self.group(group);
        let standing = &mut state.standing;
        let mut dropped = Vec::new();
        match *change {
            Change::Vote(vote) => standing.vote = Some(vote),
            Change::Committed(committed) => standing.committed = committed,
            Change::Entry(id, _) => {
                standing.last = Some(id);
                dropped = state.truncate(id.index.checked_sub(1));
                state.put(id, at, &mut dropped);
            }
            Change::Copy(id, _) => state.put(id, at, &mut dropped),
            Change::Truncate(last) => {
                standing.last = last;
                dropped = state.truncate(last.map(|last| last.index));
            }
            Change::Purge(purged) => {
                standing.purged = Some(purged);
                if standing.last.is_none_or(|last| last.index <= purged.index) {
                    standing.last = Some(purged);
                }
                dropped = state.purge(purged.index);
            }
            Change::State(stands) => {
                *standing = stands;
                dropped = state.truncate(stands.last.map(|last| last.index));
                if let Some(purged) = stands.purged {
                    dropped.append(&mut state.purge(purged.index));
                }
            }
        }
        if matches!(change, Change::Entry(..) | Change::Copy(..)) {
            let live = self.live.entry(at.segment).or_default();
            live.entries += 1;
            live.bytes += u64::from(at.size);
        }
        for slot in dropped {
            self.release(slot.at);
        }
    }

    /// Moves an entry whose copy is written, if it is still where it was.
    pub(super) fn relocate(&mut self, group: &str, index: u64, from: Location, to: Location) {
        if !self.group(group).relocate(index, from, to) {
            return;
        }
        let live = self.live.entry(to.segment).or_default();
        live.entries += 1;
        live.bytes += u64::from(to.size);
        self.release(from);
    }

    fn release(&mut self, at: Location) {
        if let Some(live) = self.live.get_mut(&at.segment) {
            live.entries -= 1;
            live.bytes -= u64::from(at.size);
        }
    }
}

// === impl Group ===

impl Group {
    /// The id of the entry at `index`, if it is there.
    pub(super) fn id(&self, index: u64) -> Option<EntryId> {
        let slot = self.slots.get(&index)?;
        Some(EntryId {
            term: slot.term,
            node: slot.node,
            index,
        })
    }

    /// What `last` becomes when everything after `index` goes.
    pub(super) fn last_after_truncate(&self, index: Option<u64>) -> Option<EntryId> {
        let kept = index.and_then(|index| {
            let (index, _) = self.slots.range(..=index).next_back()?;
            self.id(*index)
        });
        kept.or(self.standing.purged)
    }

    /// The index that the next entry has to have; `None`: any.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.standing.last.map(|last| last.index + 1)
    }

    /// Why the entries do not fit the bounds, if they do not.
    pub(super) fn fault(&self) -> Option<String> {
        let Standing { purged, last, .. } = self.standing;
        let expected = last.filter(|_| last != purged);
        let Some(last) = expected else {
            let found = self.slots.len();
            return (found != 0).then(|| format!("{found} entries lie beyond the end"));
        };
        let first = self.slots.first_key_value().map(|(index, _)| *index);
        let start = purged.map(|purged| purged.index + 1).or(first);
        let mut next = start.unwrap_or(last.index);
        for index in self.slots.keys() {
            if *index != next {
                return Some(format!("entry {next} is missing"));
            }
            next += 1;
        }
        if next != last.index + 1 {
            return Some(format!("entry {next} is missing"));
        }
        (self.id(last.index) != Some(last)).then(|| format!("entry {} is another", last.index))
    }

    /// Keeps the payload of the entry at `index` in memory.
    pub(super) fn remember(&mut self, index: u64, payload: Bytes) {
        if let Some(slot) = self.slots.get_mut(&index) {
            self.recent_bytes += payload.len();
            self.recent.push_back((index, slot.at));
            slot.recent = Some(payload);
        }
    }

    /// Forgets the oldest payloads until `bytes_max` are left; one that is not
    /// in its file yet (at `written` or after) stays.
    pub(super) fn forget(&mut self, bytes_max: usize, written: (u64, u32)) {
        while let Some((index, at)) = self.recent.front().copied() {
            let slot = self.slots.get_mut(&index).filter(|slot| slot.at == at);
            if let Some(slot) = slot {
                if self.recent_bytes <= bytes_max || at.end() > written {
                    return;
                }
                let payload = slot.recent.take();
                self.recent_bytes -= payload.map_or(0, |payload| payload.len());
            }
            self.recent.pop_front();
        }
    }

    fn relocate(&mut self, index: u64, from: Location, to: Location) -> bool {
        let Some(slot) = self.slots.get_mut(&index).filter(|slot| slot.at == from) else {
            return false;
        };
        slot.at = to;
        self.recent_bytes -= slot.recent.take().map_or(0, |payload| payload.len());
        true
    }

    fn put(&mut self, id: EntryId, at: Location, dropped: &mut Vec<Slot>) {
        let slot = Slot {
            term: id.term,
            node: id.node,
            at,
            recent: None,
        };
        self.bytes += u64::from(at.size);
        if let Some(old) = self.slots.insert(id.index, slot) {
            self.bytes -= u64::from(old.at.size);
            self.recent_bytes -= old.recent.as_ref().map_or(0, Bytes::len);
            dropped.push(old);
        }
    }

    fn truncate(&mut self, after: Option<u64>) -> Vec<Slot> {
        let gone = match after {
            None => std::mem::take(&mut self.slots),
            Some(after) => self.slots.split_off(&after.saturating_add(1)),
        };
        self.dropped(gone)
    }

    fn purge(&mut self, upto: u64) -> Vec<Slot> {
        let kept = self.slots.split_off(&upto.saturating_add(1));
        let gone = std::mem::replace(&mut self.slots, kept);
        self.dropped(gone)
    }

    fn dropped(&mut self, gone: BTreeMap<u64, Slot>) -> Vec<Slot> {
        let gone: Vec<_> = gone.into_values().collect();
        let bytes: usize = gone
            .iter()
            .filter_map(|slot| slot.recent.as_ref().map(Bytes::len))
            .sum();
        self.recent_bytes -= bytes;
        self.bytes -= gone.iter().map(|slot| u64::from(slot.at.size)).sum::<u64>();
        gone
    }
}
