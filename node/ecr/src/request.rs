//! A request, from its head to the call that it makes.
//!
//! The order: what it is for, whose key signs it, its body, whether the signature
//! is right, whether the model allows the input. So nothing is read from anybody
//! whose key there is not, and nothing is looked at for anybody who has not proved
//! who they are.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, HOST, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use entrepot_oci::{AccountId, RegionName, RegistryId};
use entrepot_service::sigv4::{Message, Payload, SigV4Error, Signature};
use entrepot_service::{Caller, Gathering, Operation as Counted, Origin, RequestId, SignedError};
use serde_json::Value;

use crate::api::{Api, Target};
use crate::body::{self, Content};
use crate::call::Call;
use crate::error::ApiError;
use crate::model::{Operation, Service};
use crate::operations::{self, Handler};
use crate::router::Front;
use crate::wire::form::Form;
use crate::wire::json;

const REGISTRY_ID: &str = "registryId";
/// What nobody has to sign: it brings a token of its own.
const UNSIGNED: &str = "AssumeRoleWithWebIdentity";

/// Names and values.
type Headers<'a> = Vec<(&'a str, &'a str)>;

/// A request whose head is well-formed and signed by somebody.
pub(crate) struct Signed<'a> {
    parts: &'a Parts,
    pub(crate) api: Api,
    target: Target,
    host: &'a str,
    headers: Headers<'a>,
    signature: Signature,
}

/// What a request asks for, and who asks.
pub(crate) struct Asked<'a> {
    pub(crate) call: Call,
    pub(crate) operation: &'a Operation,
    pub(crate) handler: Handler,
    /// As the model allows it.
    pub(crate) input: Value,
    /// What the body takes, until the operation is done.
    pub(crate) memory: Gathering,
}

// === impl Signed ===

impl<'a> Signed<'a> {
    /// # Errors
    /// What is wrong, and the service that says so.
    pub(crate) fn of(parts: &'a Parts) -> Result<Self, (Api, ApiError)> {
        let uri = &parts.uri;
        let target = Target::of(&parts.method, uri.path(), uri.query(), &parts.headers);
        let target = match target {
            Some(target @ (Target::Json { .. } | Target::Query)) => target,
            Some(Target::JsonUnknown) | None => {
                return Err((Api::Ecr, ApiError::unknown_operation(Api::Ecr, "")));
            }
        };
        let presumed = match &target {
            Target::Json { api, .. } => *api,
            Target::JsonUnknown | Target::Query => Api::Iam,
        };
        let (host, headers) = texts(uri, &parts.headers).map_err(|error| (presumed, error))?;
        let signature = Signature::read(&message(&parts.method, uri, &headers))
            .map_err(|error| (presumed, ApiError::unsigned(presumed, &error)))?;
        // The form, which says it too, is in the body.
        let is_sts = target == Target::Query && signature.service() == Api::Sts.name();
        Ok(Self {
            parts,
            api: if is_sts { Api::Sts } else { presumed },
            target,
            host,
            headers,
            signature,
        })
    }

    /// Reads the body, and proves the caller.
    ///
    /// # Errors
    /// In the service's own words.
    pub(crate) async fn asked<'f>(
        self,
        front: &'f Front,
        body: Body,
        id: &RequestId,
    ) -> Result<Asked<'f>, ApiError> {
        let api = self.api;
        let service = front.models.service(api);
        let registry = &front.registry;
        let unsigned = |error| ApiError::unsigned(api, &error);
        // A region is a registry's; identities are the whole cluster's, and clients
        // sign for the region that they are set to.
        let region = (api == Api::Ecr).then(|| registry.region().as_str());
        let scope = self.signature.check_scope(&[api.name()], region);
        scope.map_err(unsigned)?;
        let limit = self.limit(service)?;
        let origin = origin(self.parts, id);
        // A signature is quickly checked: who guesses is not to do so at will.
        let (source, key_id) = (origin.source(), self.signature.key_id());
        let may_try = registry.may_try(source, key_id);
        may_try.map_err(|_| ApiError::throttled(api))?;
        let guessed = |error: &SigV4Error| {
            if matches!(error, SigV4Error::Mismatch | SigV4Error::UnknownKey) {
                registry.has_failed(source, key_id, &error.to_string());
            }
        };
        let key = registry.signing_key(&self.signature);
        let key = key.map_err(|error| {
            if let SignedError::Signature(error) = &error {
                guessed(error);
            }
            ApiError::unproved(api, error)
        })?;
        let mut memory = registry.signed_body(source, key_id);
        let body = body::whole(api, self.parts, body, limit, &mut memory).await?;
        let content = Content::of(body)
            .await
            .map_err(|error| ApiError::internal_of(api, &error))?;
        let payload = Payload::Sha256(content.sha256);
        let message = message(&self.parts.method, &self.parts.uri, &self.headers);
        let caller = registry
            .verify_signed(key, &self.signature, &message, payload)
            .inspect_err(guessed)
            .map_err(unsigned)?;
        registry.has_proved(source, key_id);
        let caller = caller.from_origin(origin);
        let (operation, input) = self.read(service, &content.bytes)?;
        let admitted = registry.admit(&caller, counted_as(api, operation));
        admitted.map_err(|_| ApiError::throttled(api))?;
        drop(content);
        // Every operation of the models has one.
        let handler = operations::handler(api, &operation.name)
            .ok_or_else(|| ApiError::unknown_operation(api, &operation.name))?;
        if let Handler::Works(_) = handler {
            check(api, service, operation, &input)?;
        }
        let caller = meaning(api, operation, caller, &input)?;
        Ok(Asked {
            call: Call {
                caller,
                registry: registry.clone(),
                api,
                host: self.host.to_owned(),
                domain: front.domain.clone(),
            },
            handler,
            operation,
            input,
            memory,
        })
    }

    /// Of the body, in bytes.
    fn limit(&self, service: &Service) -> Result<usize, ApiError> {
        match &self.target {
            Target::Json { operation, .. } => {
                named(service, self.api, operation)?;
                Ok(body::json_limit(operation))
            }
            Target::JsonUnknown | Target::Query => Ok(body::FORM_BYTES_MAX),
        }
    }

    /// The operation and its input, as they were sent.
    fn read<'s>(
        &self,
        service: &'s Service,
        content: &[u8],
    ) -> Result<(&'s Operation, Value), ApiError> {
        let api = self.api;
        if let Target::Json { operation, .. } = &self.target {
            return Ok((named(service, api, operation)?, json::parse(content)?));
        }
        let form = if self.parts.method == Method::GET {
            let query = self.parts.uri.query().unwrap_or_default();
            if query.contains('+') {
                // A space to a form, and itself to a signature: which one was signed
                // cannot be told.
                return Err(ApiError::new(
                    "MalformedQueryString",
                    "a signed query writes a space as %20 and a plus as %2B",
                ));
            }
            Form::parse(query.as_bytes())?
        } else {
            Form::parse(content)?
        };
        let action = form.text("Action").unwrap_or_default();
        let version = form.text("Version").and_then(Api::of_version);
        if version != Some(api) {
            return Err(ApiError::unknown_operation(api, action));
        }
        let operation = named(service, api, action)?;
        let input = operation.input.map(|shape| form.value(service, shape));
        Ok((
            operation,
            input.unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        ))
    }
}

/// Whether a request may be one that nobody has to sign; its body says it.
pub(crate) fn may_be_unsigned(parts: &Parts) -> bool {
    let uri = &parts.uri;
    let target = Target::of(&parts.method, uri.path(), uri.query(), &parts.headers);
    let has_proof = parts.headers.contains_key(AUTHORIZATION) || uri.query().is_some();
    parts.method == Method::POST && target == Some(Target::Query) && !has_proof
}

/// Such a request: on behalf of nobody.
///
/// # Errors
/// In the service's own words.
pub(crate) async fn unsigned<'f>(
    front: &'f Front,
    parts: &Parts,
    body: Body,
    id: &RequestId,
) -> Result<Asked<'f>, ApiError> {
    let (api, registry) = (Api::Sts, &front.registry);
    let service = front.models.service(api);
    let origin = origin(parts, id);
    let nobody = registry.caller(None, Arc::clone(&origin), None).await;
    let caller = nobody.map_err(|error| ApiError::internal_of(api, &error))?;
    let admitted = registry.admit(&caller, Counted::Identity);
    admitted.map_err(|_| ApiError::throttled(api))?;
    let mut memory = registry.signed_body(origin.source(), "");
    let body = body::whole(api, parts, body, body::UNSIGNED_BYTES_MAX, &mut memory).await?;
    let form = Form::parse(&body)?;
    let is_sts = form.text("Version").and_then(Api::of_version) == Some(api);
    if !is_sts || form.text("Action") != Some(UNSIGNED) {
        return Err(ApiError::unsigned(Api::Iam, &SigV4Error::Missing));
    }
    let operation = named(service, api, UNSIGNED)?;
    let input = operation.input.map(|shape| form.value(service, shape));
    let input = input.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let handler = operations::handler(api, &operation.name)
        .ok_or_else(|| ApiError::unknown_operation(api, &operation.name))?;
    check(api, service, operation, &input)?;
    let headers = texts(&parts.uri, &parts.headers)?;
    Ok(Asked {
        call: Call {
            caller,
            registry: registry.clone(),
            api,
            host: headers.0.to_owned(),
            domain: front.domain.clone(),
        },
        operation,
        handler,
        input,
        memory,
    })
}

fn origin(parts: &Parts, id: &RequestId) -> Arc<Origin> {
    let agent = parts.headers.get(USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    let connection: Origin = parts.extensions.get().cloned().unwrap_or_default();
    connection.of_request(id, agent)
}

/// The region of a signature for a private registry, well-formed or not at all.
pub(crate) fn signed_region<B>(request: &axum::http::Request<B>) -> Option<RegionName> {
    let (_, headers) = texts(request.uri(), request.headers()).ok()?;
    let signature = Signature::read(&message(request.method(), request.uri(), &headers));
    let signature = signature.ok()?;
    let is_registry = signature.service() == Api::Ecr.name();
    is_registry.then(|| signature.region().parse().ok())?
}

fn named<'s>(service: &'s Service, api: Api, name: &str) -> Result<&'s Operation, ApiError> {
    let operation = service.operation(name);
    operation.ok_or_else(|| ApiError::unknown_operation(api, name))
}

/// As which operation it counts where somebody asks too often.
fn counted_as(api: Api, operation: &Operation) -> Counted {
    match api {
        Api::Ecr | Api::EcrPublic => Counted::of_ecr(&operation.name),
        Api::Iam | Api::Sts => Counted::Identity,
    }
}

fn check(
    api: Api,
    service: &Service,
    operation: &Operation,
    input: &Value,
) -> Result<(), ApiError> {
    let Some(shape) = operation.input else {
        return Ok(());
    };
    let violations = service.violations(shape, input);
    if violations.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(api, &violations))
}

/// The caller, and the registry that the request names. ECR Public has aliases
/// there as well.
fn meaning(
    api: Api,
    operation: &Operation,
    caller: Caller,
    input: &Value,
) -> Result<Caller, ApiError> {
    let named = input.get(REGISTRY_ID).and_then(Value::as_str);
    if api != Api::EcrPublic {
        let named = named.and_then(|text| text.parse::<AccountId>().ok());
        return Ok(match named {
            Some(account) if api == Api::Ecr => caller.meaning(account),
            _ => caller,
        });
    }
    let Some(named) = named else {
        let own = RegistryId::public(&caller.principal.account);
        return Ok(caller.meaning(own));
    };
    let registry = named.parse().map_err(|_| no_registry(operation, named))?;
    Ok(caller.meaning(RegistryId::public(&RegistryId::account(&registry))))
}

/// What names no registry, in words that the operation has.
fn no_registry(operation: &Operation, named: &str) -> ApiError {
    const CODE: &str = "RegistryNotFoundException";
    if operation.errors.iter().any(|code| *code == CODE) {
        let message = format!("The registry with id or alias '{named}' does not exist");
        return ApiError::new(CODE, message);
    }
    ApiError::new(
        "InvalidParameterException",
        "Invalid parameter at 'registryId' failed to satisfy constraint: 'Invalid registry id or \
         alias'",
    )
}

/// The host, and all headers as they are signed.
fn texts<'a>(uri: &'a Uri, sent: &'a HeaderMap) -> Result<(&'a str, Headers<'a>), ApiError> {
    let mut headers = Vec::with_capacity(sent.len() + 1);
    for (name, value) in sent {
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| {
            ApiError::new(
                "IncompleteSignatureException",
                format!("The value of the header '{name}' is not UTF-8."),
            )
        })?;
        headers.push((name.as_str(), value));
    }
    let own = headers.iter().find(|(name, _)| *name == HOST.as_str());
    if let Some((_, host)) = own {
        return Ok((host, headers));
    }
    // HTTP/2 says it in another place.
    let host = uri.authority().map_or("", |it| it.as_str());
    headers.push((HOST.as_str(), host));
    Ok((host, headers))
}

fn message<'m>(method: &'m Method, uri: &'m Uri, headers: &'m [(&'m str, &'m str)]) -> Message<'m> {
    Message {
        method: method.as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers,
    }
}
