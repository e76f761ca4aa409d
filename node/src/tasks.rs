//! The tasks that a node is made of, and the news that one of them has ended.
//!
//! A node that goes on without its outbox or its client port looks alive and is
//! not: whoever runs it has to hear of it. The invariant: a task that was
//! spawned as vital does not end unnoticed, be it by an error, by a panic or by
//! itself. What ends because the node stops is noticed as well, when nobody
//! listens any more.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::anyhow;
use futures::FutureExt as _;
use tokio::sync::watch;

/// Where the tasks of one node report that they have ended. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Failures(Arc<watch::Sender<Option<String>>>);

// === impl Failures ===

impl Failures {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// `task`, whose end of any kind is a failure of the node.
    pub(crate) fn vital<T>(
        &self,
        name: &'static str,
        task: T,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        T: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let failures = self.clone();
        async move {
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => "it ended by itself".to_owned(),
                Ok(Err(error)) => format!("{error:#}"),
                Err(panic) => panicked(panic.as_ref()),
            };
            failures.note(name, &reason);
        }
    }

    /// `task`, which may end, but not by an error or a panic.
    pub(crate) fn needed<T>(
        &self,
        name: &'static str,
        task: T,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        T: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let failures = self.clone();
        async move {
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{error:#}"),
                Err(panic) => panicked(panic.as_ref()),
            };
            failures.note(name, &reason);
        }
    }

    /// `task`, which may end, but not by a panic.
    pub(crate) fn finite<T>(
        &self,
        name: &'static str,
        task: T,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let failures = self.clone();
        async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                failures.note(name, &panicked(panic.as_ref()));
            }
        }
    }

    /// Waits for the first failure.
    pub(crate) async fn first(&self) -> anyhow::Error {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(failure) = receiver.borrow_and_update().as_ref() {
                return anyhow!("{failure}");
            }
            // The sender is `self`: it is not gone.
            let _ = receiver.changed().await;
        }
    }

    fn note(&self, name: &str, reason: &str) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| format!("the {name} failed: {reason}"));
            is_first
        });
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("for an unknown reason");
    format!("it panicked: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first_of(task: impl Future<Output = ()> + Send + 'static, from: &Failures) -> String {
        tokio::spawn(task).await.unwrap();
        from.first().await.to_string()
    }

    #[tokio::test]
    async fn every_end_of_a_vital_task_is_a_failure() {
        let failures = Failures::new();
        let task = failures.vital("outbox", async { Ok(()) });
        let said = first_of(task, &failures).await;
        assert_eq!(said, "the outbox failed: it ended by itself");

        let failures = Failures::new();
        let task = failures.vital("peer port", async { Err(anyhow!("a").context("b")) });
        let said = first_of(task, &failures).await;
        assert_eq!(said, "the peer port failed: b: a");

        let failures = Failures::new();
        let task = failures.vital("repair", async { panic!("at the {}rd disk", 3) });
        let said = first_of(task, &failures).await;
        assert_eq!(said, "the repair failed: it panicked: at the 3rd disk");
    }

    #[tokio::test]
    async fn a_finite_task_may_end_but_not_panic() {
        let failures = Failures::new();
        tokio::spawn(failures.finite("account", async {}))
            .await
            .unwrap();
        assert!(failures.first().now_or_never().is_none());
        let task = failures.finite("account", async { panic!("no") });
        let said = first_of(task, &failures).await;
        assert_eq!(said, "the account failed: it panicked: no");
    }

    #[tokio::test]
    async fn the_first_failure_is_the_one_that_is_told() {
        let failures = Failures::new();
        for name in ["outbox", "repair"] {
            tokio::spawn(failures.vital(name, async { Ok(()) }))
                .await
                .unwrap();
        }
        let said = failures.first().await.to_string();
        assert!(said.contains("outbox"), "{said}");
    }
}
