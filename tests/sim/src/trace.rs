//! What happened, as one hash: two runs with the same hash were the same run.
//!
//! Every byte that goes over the simulated network is in it, with its time and
//! its ends.

use std::cell::RefCell;
use std::time::Duration;

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::new(Trace::default());
}

#[derive(Default)]
struct Trace {
    hasher: blake3::Hasher,
    events: u64,
}

/// Takes note of something.
pub(crate) fn note(at: Duration, parts: &[&[u8]]) {
    TRACE.with_borrow_mut(|trace| {
        trace.events += 1;
        trace.hasher.update(&at.as_nanos().to_le_bytes());
        for part in parts {
            trace.hasher.update(&(part.len() as u64).to_le_bytes());
            trace.hasher.update(part);
        }
    });
}

/// The hash of everything so far, and how many things that are.
pub(crate) fn digest() -> (String, u64) {
    TRACE.with_borrow(|trace| {
        let mut hash = trace.hasher.finalize().to_hex().to_string();
        hash.truncate(32);
        (hash, trace.events)
    })
}
