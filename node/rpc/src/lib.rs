//! The gRPC front ends of the client port.
//!
//! They authenticate like `/v2/` does (HTTP Basic), call the service, and turn
//! its answers into messages. They decide nothing. The invariants: nothing of a
//! call is read before its caller is known; content passes through in pieces, in
//! both directions; the one thing held whole is a manifest, which has a limit.

mod accounts;
mod admin;
mod body;
mod caller;
mod cluster;
mod collection;
mod gather;
mod history;
mod lifecycle;
mod registry;
mod render;
mod replication;
mod request;
mod status;
mod trust;
mod usage;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use entrepot_proto::admin::accounts_server::AccountsServer as AccountsService;
use entrepot_proto::admin::admin_server::AdminServer as AdminService;
use entrepot_proto::admin::cluster_server::ClusterServer as ClusterService;
use entrepot_proto::admin::collection_server::CollectionServer as CollectionService;
use entrepot_proto::admin::history_server::HistoryServer as HistoryService;
use entrepot_proto::admin::lifecycle_server::LifecycleServer as LifecycleService;
use entrepot_proto::admin::replication_server::ReplicationServer as ReplicationService;
use entrepot_proto::admin::trust_server::TrustServer as TrustService;
use entrepot_proto::admin::usage_server::UsageServer as UsageService;
use entrepot_proto::admin::webhooks_server::WebhooksServer as WebhooksService;
use entrepot_proto::registry::registry_server::RegistryServer as RegistryService;
use entrepot_service::Registry;
use tonic::service::Routes;

use crate::accounts::AccountsServer;
use crate::admin::AdminServer;
use crate::cluster::ClusterServer;
use crate::collection::CollectionServer;
use crate::history::HistoryServer;
use crate::lifecycle::LifecycleServer;
use crate::registry::RegistryServer;
use crate::replication::ReplicationServer;
use crate::trust::TrustServer;
use crate::usage::UsageServer;
use crate::webhooks::WebhooksServer;

/// A message from a client: a manifest with its names, and some room.
const REQUEST_BYTES_MAX: usize = 5 * 1024 * 1024;

/// All gRPC services of the client port. A body that brings nothing for
/// `body_timeout`, while it is waited for, is given up.
pub fn router(registry: Arc<Registry>, body_timeout: Duration) -> Router {
    let admin = AdminService::new(AdminServer::new(Arc::clone(&registry)));
    let accounts = AccountsService::new(AccountsServer::new(Arc::clone(&registry)));
    let trust = TrustService::new(TrustServer::new(Arc::clone(&registry)));
    let front_ends = RegistryService::new(RegistryServer::new(Arc::clone(&registry), body_timeout))
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let cluster = ClusterService::new(ClusterServer::new(Arc::clone(&registry)));
    let webhooks = WebhooksService::new(WebhooksServer::new(Arc::clone(&registry)));
    let replication = ReplicationService::new(ReplicationServer::new(Arc::clone(&registry)));
    let lifecycle = LifecycleService::new(LifecycleServer::new(Arc::clone(&registry)));
    let history = HistoryService::new(HistoryServer::new(Arc::clone(&registry)));
    let usage = UsageService::new(UsageServer::new(Arc::clone(&registry)));
    let collection = CollectionService::new(CollectionServer::new(Arc::clone(&registry)));
    Routes::new(admin)
        .add_service(cluster)
        .add_service(trust)
        .add_service(accounts)
        .add_service(webhooks)
        .add_service(replication)
        .add_service(lifecycle)
        .add_service(usage)
        .add_service(history)
        .add_service(collection)
        .add_service(front_ends)
        .prepare()
        .into_axum_router()
        .layer(middleware::from_fn_with_state(
            Arc::clone(&registry),
            gather::bounded,
        ))
        .layer(middleware::from_fn_with_state(registry, caller::required))
}
