//! The front end of AWS's protocols: ECR and ECR Public (JSON 1.1), IAM and STS
//! (Query), all on one endpoint.
//!
//! A request flows parse -> authenticate -> authorize -> operation -> render.
//! Nothing here knows how anything is kept.

mod api;
mod body;
mod call;
mod error;
mod model;
mod operations;
mod page;
mod request;
mod router;
mod wire;

pub use model::ModelError;
pub use router::{is_ours, is_public, region, router};
