//! Every operation, as clients call it, over a registry in memory: what goes in
//! and what comes out is held against the models each time.

mod denied;
mod kept;
mod public;
mod registry;
mod replication;
mod repositories;
mod world;

use serde_json::json;

use super::{ECR, Handler};
use crate::api::Api;
use crate::model::Models;

#[test]
fn every_operation_is_in_its_table_once_and_in_order() {
    let models = Models::load().unwrap();
    for (api, table) in [(Api::Ecr, ECR), (Api::EcrPublic, super::public::TABLE)] {
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        let operations = models.service(api).operations();
        let known: Vec<&str> = operations.map(|it| it.name.as_str()).collect();
        assert_eq!(names, known);
        for (name, handler) in table {
            if let Handler::Refused(reason) = handler {
                assert!(reason.len() > 20, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_refused_says_why_in_a_code_that_the_model_has() {
    let world = world::World::new();
    let scan = json!({"repositoryName": "team/app", "imageId": {"imageTag": "v1"}});
    let refused = world.ecr("StartImageScan", scan).await;
    let error = refused.unwrap_err();
    assert_eq!(error.code, "ValidationException");
    assert!(
        error.message.contains("has no scanner"),
        "{}",
        error.message
    );
}
