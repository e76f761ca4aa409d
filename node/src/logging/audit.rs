//! The audit log as a file: what is logged to the target `audit`, a line each and
//! nothing else.
//!
//! A line is written whole or not at all, by one call: what is only appended to
//! may be cut by others.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const TARGET: &str = "audit";
const MESSAGE: &str = "message";

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    has_failed: AtomicBool,
}

/// The text of an event.
#[derive(Default)]
struct Text(String);

// === impl Log ===

impl Log {
    /// Readable by its owner alone if it is new.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Self {
            file,
            has_failed: AtomicBool::new(false),
        })
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        text.0.push('\n');
        let written = (&self.file).write_all(text.0.as_bytes());
        // Said once, and again when it had worked since: on a full disk, each
        // line fails.
        let had_failed = self.has_failed.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = written
            && !had_failed
        {
            eprintln!("entrepot-node: cannot write the audit log: {error}");
        }
    }
}

// === impl Text ===

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::Log;

    #[test]
    fn lines_of_the_audit_log_are_appended_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for _ in 0..2 {
            let log = Log::open(&path).unwrap();
            let logs = tracing_subscriber::registry().with(log);
            tracing::subscriber::with_default(logs, || {
                info!(target: "audit", "{}", r#"{"decision":"deny"}"#);
                info!("something else");
            });
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"decision\":\"deny\"}\n".repeat(2));
    }
}
