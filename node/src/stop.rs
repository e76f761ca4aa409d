//! A signal that everything of a node listens to: time to stop.

use tokio::sync::watch;

/// Says that it is time to stop. Dropping it says so too.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<bool>);

/// Hears that it is time to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

pub(crate) fn stopper() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

// === impl Stopper ===

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

// === impl Stop ===

impl Stop {
    /// Returns when it is time to stop.
    pub(crate) async fn wait(&self) {
        let mut receiver = self.0.clone();
        // An error means that the stopper is gone, which says the same.
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }
}

/// Returns at the first SIGINT or SIGTERM.
pub(crate) async fn requested() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
