//! The front end of AWS's protocols: ECR and ECR Public (JSON 1.1), IAM and STS
//! (Query), all on one endpoint.
//!
//! A request flows parse -> authenticate -> authorize -> operation -> render.
//! Nothing here knows how anything is kept.
#![expect(dead_code, reason = "the client port does not serve it yet")]

mod api;
mod call;
mod error;
mod model;
mod operations;
mod page;
mod wire;

pub use model::ModelError;
