//! Values from a form, as AWS Query writes them: `Tags.member.2.Key=team`.
//!
//! A form says nothing of types, so the model leads: what it does not have is
//! passed over. Must never make room for what was not sent: a list has as many
//! items as parameters name, whatever numbers they give.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use crate::error::ApiError;
use crate::model::{Kind, Service, ShapeId};

/// The most parameters of one request.
const PARAMETERS_MAX: usize = 4096;
/// Steps of one name; the deepest shape has six.
const DEPTH_MAX: usize = 16;

/// The parameters of a request, by name.
#[derive(Debug, Default)]
pub(crate) struct Form {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    /// By their numbers or names, numbers in order.
    below: BTreeMap<Step, Node>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Number(u32),
    Name(String),
}

// === impl Form ===

impl Form {
    /// # Errors
    /// Too many parameters, or one that is given twice.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ApiError> {
        let malformed = |message: String| ApiError::new("MalformedQueryString", message);
        let mut form = Self::default();
        for (count, (name, value)) in form_urlencoded::parse(text).enumerate() {
            if count == PARAMETERS_MAX {
                let message = format!("a request has at most {PARAMETERS_MAX} parameters");
                return Err(malformed(message));
            }
            let mut node = &mut form.root;
            let mut depth = 0;
            for step in name.split('.') {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(malformed(format!("{name:.64} is too deep")));
                }
                node = node.below.entry(Step::of(step)).or_default();
            }
            if node.value.replace(value.into_owned()).is_some() {
                return Err(malformed(format!("{name:.64} is given twice")));
            }
        }
        Ok(form)
    }

    /// One that is not part of a structure: `Action`, `Version`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.root.under(name)?.value.as_deref()
    }

    /// The value that the form has of `shape`.
    pub(crate) fn value(&self, service: &Service, shape: ShapeId) -> Value {
        self.root
            .value_of(service, shape)
            .unwrap_or_else(|| Value::Object(Map::new()))
    }
}

// === impl Node ===

impl Node {
    fn under(&self, name: &str) -> Option<&Self> {
        self.below.get(&Step::Name(name.to_owned()))
    }

    /// What is not there is none. A number or a flag that is not one, a structure
    /// that is a text, and a list without items that says something all the same
    /// stay a text, which the check then refuses: nothing that is meant is lost.
    fn value_of(&self, service: &Service, shape: ShapeId) -> Option<Value> {
        match &service.shape(shape).kind {
            Kind::Structure(structure) => {
                let mut members = Map::new();
                for member in &structure.members {
                    let found = self.under(&member.name);
                    if let Some(value) = found.and_then(|it| it.value_of(service, member.shape)) {
                        members.insert(member.name.clone(), value);
                    }
                }
                if self.below.is_empty() {
                    return self.value.clone().map(Value::String);
                }
                Some(Value::Object(members))
            }
            Kind::List { member, .. } => {
                let items = self.under("member");
                let items = items.into_iter().flat_map(|it| &it.below);
                let items = items.filter(|(step, _)| matches!(step, Step::Number(_)));
                let values: Vec<Value> = items
                    .filter_map(|(_, item)| item.value_of(service, *member))
                    .collect();
                let text = self.value.as_deref().unwrap_or_default();
                if values.is_empty() && !(self.below.is_empty() && text.is_empty()) {
                    return Some(Value::String(text.to_owned()));
                }
                // `Tags=` is how clients say that a list is empty.
                (!values.is_empty() || self.value.is_some()).then_some(Value::Array(values))
            }
            Kind::Map { value, .. } => {
                let entries = self.under("entry")?;
                let mut map = Map::new();
                for entry in entries.below.values() {
                    let key = entry.under("key").and_then(|key| key.value.clone());
                    let found = entry.under("value");
                    let found = found.and_then(|it| it.value_of(service, *value));
                    if let (Some(key), Some(found)) = (key, found) {
                        map.insert(key, found);
                    }
                }
                Some(Value::Object(map))
            }
            Kind::Integer { .. } => self.scalar(|text| text.parse::<i64>().ok().map(Number::from)),
            Kind::Double => self.scalar(|text| text.parse::<f64>().ok().and_then(Number::from_f64)),
            Kind::Boolean => self.scalar(|text| text.parse::<bool>().ok()),
            Kind::String { .. } | Kind::Timestamp | Kind::Blob { .. } => {
                self.value.clone().map(Value::String)
            }
        }
    }

    fn scalar<T: Into<Value>>(&self, parse: impl Fn(&str) -> Option<T>) -> Option<Value> {
        let text = self.value.as_ref()?;
        let parsed = parse(text).map(Into::into);
        Some(parsed.unwrap_or_else(|| Value::String(text.clone())))
    }
}

// === impl Step ===

impl Step {
    fn of(text: &str) -> Self {
        match text.parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Form, PARAMETERS_MAX};
    use crate::api::Api;
    use crate::model::Models;

    fn value(operation: &str, form: &str) -> Value {
        let models = Models::load().unwrap();
        let service = models.service(Api::Iam);
        let input = service.operation(operation).unwrap().input.unwrap();
        Form::parse(form.as_bytes()).unwrap().value(service, input)
    }

    #[test]
    fn a_form_becomes_the_value_that_the_model_describes() {
        for (operation, form, expected) in [
            ("GetUser", "Action=GetUser&Version=2010-05-08", json!({})),
            (
                "CreateUser",
                "UserName=a&Tags.member.2.Key=k2&Tags.member.2.Value=&Tags.member.1.Key=k1\
                 &Tags.member.1.Value=v+1%2F",
                json!({"UserName": "a", "Tags": [
                    {"Key": "k1", "Value": "v 1/"}, {"Key": "k2", "Value": ""}]}),
            ),
            (
                "ListUsers",
                "MaxItems=10&Unknown.member.1=x",
                json!({"MaxItems": 10}),
            ),
            ("ListUsers", "MaxItems=ten", json!({"MaxItems": "ten"})),
            (
                "CreatePolicyVersion",
                "SetAsDefault=true&PolicyDocument=%7B%7D",
                json!({"SetAsDefault": true, "PolicyDocument": "{}"}),
            ),
            (
                "TagUser",
                "UserName=a&Tags=",
                json!({"UserName": "a", "Tags": []}),
            ),
            // What is not of the shape is refused, not passed over.
            (
                "TagUser",
                "UserName=a&Tags.member.1=k",
                json!({"UserName": "a", "Tags": ["k"]}),
            ),
            (
                "TagUser",
                "UserName=a&Tags=k",
                json!({"UserName": "a", "Tags": "k"}),
            ),
            (
                "TagUser",
                "UserName=a&Tags.1.Key=k",
                json!({"UserName": "a", "Tags": ""}),
            ),
        ] {
            let form = form.replace(' ', "");
            assert_eq!(value(operation, &form), expected, "{form}");
        }
    }

    #[test]
    fn numbers_of_items_cost_nothing() {
        let form = "ActionNames.member.4294967295=b&ActionNames.member.7=a";
        let expected = json!({"ActionNames": ["a", "b"]});
        assert_eq!(value("SimulatePrincipalPolicy", form), expected);
    }

    #[test]
    fn what_no_client_sends_is_refused() {
        let many: Vec<String> = (0..=PARAMETERS_MAX).map(|at| format!("p{at}=1")).collect();
        let deep = format!("{}a=1", "a.".repeat(16));
        for form in [many.join("&"), deep, "UserName=a&UserName=b".to_owned()] {
            let error = Form::parse(form.as_bytes()).unwrap_err();
            assert_eq!(error.code, "MalformedQueryString");
        }
    }
}
