//! The services' models: which operations there are, what goes in and out of
//! them, and which errors they may answer.
//!
//! Owns the reading of the files in `model/`, which are botocore's. A model is
//! read once, when the front end is made; the invariant afterwards: every shape
//! that is named is there, and every pattern compiles.

mod check;
mod shape;

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

pub(crate) use self::check::{Expected, Violation};
pub(crate) use self::shape::{Kind, Shape, ShapeId};
use crate::api::Api;

/// The models of all services.
#[derive(Debug)]
pub(crate) struct Models {
    services: [Service; Api::ALL.len()],
}

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    operations: BTreeMap<String, Operation>,
    shapes: Vec<Shape>,
    /// Of answers in XML.
    pub(crate) xml_namespace: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    /// None: takes nothing.
    pub(crate) input: Option<ShapeId>,
    /// None: answers nothing.
    pub(crate) output: Option<ShapeId>,
    /// The element around the output in XML.
    pub(crate) result_wrapper: Option<String>,
    /// The codes that the model lists.
    pub(crate) errors: Vec<String>,
}

/// Why a model cannot be used: a mistake of whoever changed it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the model of {service} cannot be read")]
    Json {
        service: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the model of {service} names the shape {shape:?}, which it does not have")]
    ShapeUnknown {
        service: &'static str,
        shape: String,
    },
    #[error("the model of {service} has a pattern in {shape:?} that does not compile")]
    Pattern {
        service: &'static str,
        shape: String,
        #[source]
        source: Box<regex::Error>,
    },
}

#[derive(Deserialize)]
struct File {
    metadata: Metadata,
    operations: BTreeMap<String, OperationText>,
    shapes: BTreeMap<String, shape::Text>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    xml_namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OperationText {
    input: Option<String>,
    output: Option<String>,
    result_wrapper: Option<String>,
    errors: Vec<String>,
}

// === impl Models ===

impl Models {
    /// # Errors
    /// A model that was damaged when it was changed.
    pub(crate) fn load() -> Result<Self, ModelError> {
        Ok(Self {
            services: [
                Service::read(Api::Ecr)?,
                Service::read(Api::EcrPublic)?,
                Service::read(Api::Iam)?,
                Service::read(Api::Sts)?,
            ],
        })
    }

    pub(crate) fn service(&self, api: Api) -> &Service {
        &self.services[api as usize]
    }
}

// === impl Service ===

impl Service {
    fn read(api: Api) -> Result<Self, ModelError> {
        let service = api.name();
        let json = |source| ModelError::Json { service, source };
        let file: File = serde_json::from_str(api.model()).map_err(json)?;
        let names: HashMap<String, ShapeId> = file
            .shapes
            .keys()
            .enumerate()
            .map(|(at, name)| (name.clone(), ShapeId(at)))
            .collect();
        let id = |name: &str| {
            let unknown = || ModelError::ShapeUnknown {
                service,
                shape: name.to_owned(),
            };
            names.get(name).copied().ok_or_else(unknown)
        };
        let codes = |errors: &[String]| -> Result<Vec<String>, ModelError> {
            let code = |name: &String| {
                id(name)?;
                let shape = file.shapes.get(name);
                Ok(shape.map_or(name.as_str(), |it| it.code(name)).to_owned())
            };
            errors.iter().map(code).collect()
        };
        let mut operations = BTreeMap::new();
        for (name, text) in file.operations {
            let operation = Operation {
                name: name.clone(),
                input: text.input.as_deref().map(&id).transpose()?,
                output: text.output.as_deref().map(&id).transpose()?,
                result_wrapper: text.result_wrapper,
                errors: codes(&text.errors)?,
            };
            operations.insert(name, operation);
        }
        let mut shapes = Vec::with_capacity(file.shapes.len());
        for (name, text) in file.shapes {
            shapes.push(Shape::read(name, text, service, &id)?);
        }
        Ok(Self {
            operations,
            shapes,
            xml_namespace: file.metadata.xml_namespace,
        })
    }

    pub(crate) fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(name)
    }

    pub(crate) fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id.0]
    }

    /// All of them, by name.
    #[cfg(test)]
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }
}

#[cfg(test)]
mod tests {
    use super::Models;
    use crate::api::Api;

    #[test]
    fn every_operation_of_ecr_and_of_ecr_public_is_there() {
        let models = Models::load().unwrap();
        let counted = Api::ALL.map(|api| models.service(api).operations().count());
        assert_eq!(counted, [62, 23, 75, 5]);
    }

    #[test]
    fn errors_are_listed_by_their_codes() {
        let models = Models::load().unwrap();
        let errors = |api, name| &models.service(api).operation(name).unwrap().errors;
        let put = errors(Api::Ecr, "PutImage");
        assert!(put.contains(&"ImageAlreadyExistsException".to_owned()));
        let create = errors(Api::Iam, "CreateUser");
        assert!(create.contains(&"EntityAlreadyExists".to_owned()));
    }
}
