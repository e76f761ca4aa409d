//! How long to wait before the same is tried again.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);

/// Doubles from 10 ms to 100 ms, and ends at a deadline.
#[derive(Debug)]
pub(crate) struct Retry {
    next: Duration,
    deadline: Instant,
}

impl Retry {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self {
            next: FIRST,
            deadline,
        }
    }

    /// How long to wait now; none once the deadline would pass meanwhile.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        (Instant::now() + pause < self.deadline).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let mut retry = Retry::until(Instant::now() + Duration::from_millis(500));
        let mut pauses = Vec::new();
        while let Some(pause) = retry.pause() {
            tokio::time::sleep(pause).await;
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 100, 100, 100]);
    }
}
