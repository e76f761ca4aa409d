//! What a node counts, as Prometheus reads it.
//!
//! Owns the registry; each part registers numbers of its own. The invariant:
//! looking changes nothing and waits for nothing but a lock on the list.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const PREFIX: &str = "entrepot";
/// The text that Prometheus has asked for since its version 2.5.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers of a node while it is put together.
pub(crate) struct Metrics(Registry);

/// They are all there. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct MetricsText(Arc<Registry>);

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        Self(Registry::with_prefix(PREFIX))
    }

    /// Where parts add theirs.
    pub(crate) fn registry(&mut self) -> &mut Registry {
        &mut self.0
    }

    pub(crate) fn text(self) -> MetricsText {
        MetricsText(Arc::new(self.0))
    }
}

/// `/metrics`.
pub(crate) fn router(metrics: MetricsText) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
}

async fn text(
    State(metrics): State<MetricsText>,
) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    let mut text = String::new();
    // Writing to a string cannot fail.
    encode(&mut text, &metrics.0).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[tokio::test]
    async fn numbers_have_the_name_of_the_program() {
        let mut metrics = Metrics::new();
        let counter: Counter = Counter::default();
        metrics
            .registry()
            .register("things", "What for", counter.clone());
        let metrics = metrics.text();
        counter.inc();
        let (_, text) = text(State(metrics)).await.unwrap();
        assert!(text.contains("entrepot_things_total 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
