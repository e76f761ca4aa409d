//! Every operation, as clients call it, over a registry in memory: what goes in
//! and what comes out is held against the models each time.

mod kept;
mod registry;
mod replication;
mod repositories;
mod world;

use super::{ECR, Handler};
use crate::api::Api;
use crate::model::Models;

/// What another part of the front end answers, or will.
const ELSEWHERE: [&str; 1] = ["GetAuthorizationToken"];

#[test]
fn every_operation_of_ecr_is_in_the_table_once_and_in_order() {
    let models = Models::load().unwrap();
    let names: Vec<&str> = ECR.iter().map(|(name, _)| *name).collect();
    let operations = models.service(Api::Ecr).operations();
    let known: Vec<&str> = operations
        .map(|operation| operation.name.as_str())
        .filter(|name| !ELSEWHERE.contains(name) || names.contains(name))
        .collect();
    assert_eq!(names, known);
    for (name, handler) in ECR {
        if let Handler::Refused(reason) = handler {
            assert!(reason.len() > 20, "{name}");
        }
    }
}
