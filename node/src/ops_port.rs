//! The ops port: is this node alive, may it be sent requests, and what does it
//! count.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use entrepot_metadata::query;
use entrepot_metadata::{GroupId, Metadata};
use tower::ServiceExt;

use crate::config::ClientLimits;
use crate::connection::Serving;
use crate::listen::{self, Listen};
use crate::metrics::{self, MetricsText};
use crate::stop::Stop;

const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Probes come one by one.
const CONNECTIONS_MAX: usize = 256;

/// Decides whether a node is ready.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    metadata: Arc<dyn Metadata>,
    region: GroupId,
}

// === impl Readiness ===

impl Readiness {
    pub(crate) fn new(metadata: Arc<dyn Metadata>, region: GroupId) -> Self {
        Self { metadata, region }
    }

    /// Ready: this node sees its region's newest state and knows who may log in.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let look = self.metadata.linearize(&self.region);
        match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("group {} does not answer in time", self.region)),
        }
        let global = GroupId::global();
        let view = self.metadata.view(&global).map_err(|e| e.to_string())?;
        match query::first_account(view.as_ref()) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("the cluster has no account yet".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Serves health checks and metrics until `stop`.
pub(crate) async fn serve(
    listener: Box<dyn Listen>,
    readiness: Readiness,
    metrics: MetricsText,
    stop: Stop,
) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(readiness)
        .merge(metrics::router(metrics));
    let serving = Serving::new(&ClientLimits::default(), stop.clone());
    listen::serve(listener, CONNECTIONS_MAX, stop, move |connection, _| {
        let router = router.clone();
        serving.clone().serve(connection, move |request| {
            let answer = router.clone().oneshot(request.map(Body::new));
            async move { answer.await.unwrap_or_else(|never| match never {}) }
        })
    })
    .await;
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.check().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
