//! Failing on purpose: the hook through which tests make a store's disk fail.
//!
//! Owns the plan of the faults to come. Must never change what a store does
//! besides letting one operation fail. The invariant: a plan is used up by the
//! operation that it hits, so that a test knows how often something failed.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A step of a store that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writing staged bytes; half of the batch is written all the same.
    Write,
    /// Syncing the staged bytes before they get their name.
    Sync,
    /// Giving them their name.
    Publish,
    /// Making the name durable.
    SyncDirectory,
    /// Reading a piece of a blob.
    Read,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No room left on the device.
    Full,
    /// An input/output error.
    Broken,
}

/// A plan of faults, shared by all its clones. Empty by default, and then it
/// costs one atomic load per operation.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    armed: AtomicBool,
    planned: Mutex<Vec<Planned>>,
}

#[derive(Debug)]
struct Planned {
    operation: Operation,
    /// Operations of that kind that still succeed before.
    successes: u32,
    fault: Fault,
}

impl Faults {
    /// Lets the next `operation` fail.
    pub fn fail(&self, operation: Operation, fault: Fault) {
        self.fail_after(operation, 0, fault);
    }

    /// Lets `successes` more operations of that kind pass and the next one fail.
    pub fn fail_after(&self, operation: Operation, successes: u32, fault: Fault) {
        let mut planned = self
            .shared
            .planned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        planned.push(Planned {
            operation,
            successes,
            fault,
        });
        self.shared.armed.store(true, Ordering::Release);
    }

    /// Forgets what has not happened yet.
    pub fn clear(&self) {
        let mut planned = self
            .shared
            .planned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        planned.clear();
        self.shared.armed.store(false, Ordering::Release);
    }

    pub(crate) fn check(&self, operation: Operation) -> io::Result<()> {
        if !self.shared.armed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut planned = self
            .shared
            .planned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(position) = planned.iter().position(|p| p.operation == operation) else {
            return Ok(());
        };
        if planned[position].successes > 0 {
            planned[position].successes -= 1;
            return Ok(());
        }
        let fault = planned.remove(position).fault;
        Err(match fault {
            Fault::Full => io::Error::from(io::ErrorKind::StorageFull),
            Fault::Broken => io::Error::other("injected fault"),
        })
    }
}
