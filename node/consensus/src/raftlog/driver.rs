//! What the log is written on: a thread of its own.
//!
//! Files that never keep anybody waiting are those of a simulation, where a
//! thread would bring in an order of its own. There a task takes turns with all
//! others, after the time that a sync might take.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::writer::Writer;

/// What a sync takes in a simulation: a crash may come in between.
const SYNC_TIME: Duration = Duration::from_millis(1);

/// Drives the writer until the log is closed.
pub(super) enum Driver {
    Thread(JoinHandle<()>),
    Task(Arc<Mutex<Writer>>, AbortHandle),
}

impl Driver {
    pub(super) fn start(writer: Writer) -> io::Result<Self> {
        if writer.shared().files.may_block() {
            let builder = std::thread::Builder::new().name("raft-log".to_owned());
            let thread = builder.spawn(move || writer.run())?;
            return Ok(Self::Thread(thread));
        }
        let writer = Arc::new(Mutex::new(writer));
        let task = tokio::spawn(drive(Arc::clone(&writer)));
        Ok(Self::Task(writer, task.abort_handle()))
    }

    /// Lets the writer finish what waits. The log takes nothing more by now.
    pub(super) fn finish(self) {
        match self {
            Self::Thread(thread) => {
                if thread.join().is_err() {
                    tracing::error!("the log's writer panicked");
                }
            }
            Self::Task(writer, task) => {
                turn(&writer);
                task.abort();
            }
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread(_) => "Thread",
            Self::Task(..) => "Task",
        })
    }
}

async fn drive(writer: Arc<Mutex<Writer>>) {
    let shared = {
        let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(writer.shared())
    };
    loop {
        shared.wake.task.notified().await;
        tokio::time::sleep(SYNC_TIME).await;
        turn(&writer);
    }
}

fn turn(writer: &Mutex<Writer>) {
    writer.lock().unwrap_or_else(PoisonError::into_inner).turn();
}
