//! A second implementation, for tests: reads the JSON anew for every question and
//! does everything the plainest way it can be written down, from IAM's pages and
//! not from the other implementation. Slow, and without limits.

use std::collections::HashMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Decision, Reason, Request, Resource, Source};
use crate::{AssumedRole, Identity, Principal, User};

/// The documents as JSON.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) identity: Vec<Value>,
    pub(super) boundary: Option<Value>,
    pub(super) session: Option<Value>,
    pub(super) resource: Vec<Value>,
    pub(super) resource_must_allow: bool,
}

type Keys = HashMap<String, Vec<String>>;

/// One sign of a pattern whose variables are filled in.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Is(char),
    One,
    Many,
}

pub(super) fn decide(
    request: &Request<'_>,
    context: &[(String, String)],
    texts: &Texts,
) -> Decision {
    let keys = keys(request, context);
    let applying = |documents: &[&Value]| -> Vec<Value> {
        let mut found = Vec::new();
        for document in documents {
            for statement in list(&document["Statement"]) {
                if applies(statement, document, request, &keys) {
                    found.push(statement.clone());
                }
            }
        }
        found
    };
    let identity = applying(&texts.identity.iter().collect::<Vec<_>>());
    let boundary = texts.boundary.as_ref().map(|it| applying(&[it]));
    let session = texts.session.as_ref().map(|it| applying(&[it]));
    let resource = applying(&texts.resource.iter().collect::<Vec<_>>());

    let denies = |found: &[Value]| found.iter().any(|it| it["Effect"] == "Deny");
    let allows = |found: &[Value]| found.iter().any(|it| it["Effect"] == "Allow");
    let explicit = |source| Decision::Deny(Reason::Explicit(source));
    if denies(&identity) {
        return explicit(Source::Identity);
    }
    if boundary.as_deref().is_some_and(denies) {
        return explicit(Source::Boundary);
    }
    if session.as_deref().is_some_and(denies) {
        return explicit(Source::Session);
    }
    if denies(&resource) {
        return explicit(Source::Resource);
    }

    let given: Vec<u8> = resource
        .iter()
        .map(|it| level(it, request.principal))
        .collect();
    let has = |at_least: u8| given.iter().any(|&level| level >= at_least);
    let missing = |source| Decision::Deny(Reason::Implicit(source));
    match request.principal.identity {
        Identity::Service(_) | Identity::Federated { .. } | Identity::Anonymous if has(2) => {
            return Decision::Allow;
        }
        Identity::Service(_) | Identity::Federated { .. } | Identity::Anonymous => {
            return missing(Source::Resource);
        }
        _ => {}
    }
    let identity_allows = allows(&identity) || request.principal.identity == Identity::Root;
    let boundary_allows = boundary.as_deref().is_none_or(allows);
    let session_allows = session.as_deref().is_none_or(allows);
    let owner = keys.get("aws:resourceaccount");
    let same_account = owner.is_none_or(|owner| owner[0] == request.principal.account.as_str());
    if same_account {
        // To the session itself: nothing limits it.
        if has(4) {
            return Decision::Allow;
        }
        // To the user itself: a boundary does not limit it.
        if has(3) {
            return if session_allows {
                Decision::Allow
            } else {
                missing(Source::Session)
            };
        }
        if !has(2) && !identity_allows {
            return missing(Source::Identity);
        }
        if texts.resource_must_allow && !has(1) {
            return missing(Source::Resource);
        }
    } else {
        if !identity_allows {
            return missing(Source::Identity);
        }
        if !has(1) {
            return missing(Source::Resource);
        }
    }
    if !boundary_allows {
        return missing(Source::Boundary);
    }
    if !session_allows {
        return missing(Source::Session);
    }
    Decision::Allow
}

fn keys(request: &Request<'_>, context: &[(String, String)]) -> Keys {
    let principal = request.principal;
    let mut keys = Keys::new();
    for (key, value) in context {
        keys.entry(key.to_lowercase())
            .or_default()
            .push(value.clone());
    }
    let mut set = |key: &str, value: Option<String>| {
        keys.insert(key.to_owned(), value.into_iter().collect());
    };
    let account = principal.account.to_string();
    let is_account = !matches!(
        principal.identity,
        Identity::Service(_) | Identity::Federated { .. } | Identity::Anonymous
    );
    set(
        "aws:principalaccount",
        is_account.then_some(account.clone()),
    );
    set("aws:username", None);
    set("aws:principalisawsservice", Some("false".to_owned()));
    let (arn, kind, id) = match &principal.identity {
        Identity::Root => (
            Some(format!("arn:aws:iam::{account}:root")),
            "Account",
            account,
        ),
        Identity::User(User { path, name, id }) => {
            set("aws:username", Some(name.clone()));
            (
                Some(format!("arn:aws:iam::{account}:user{path}{name}")),
                "User",
                id.clone(),
            )
        }
        Identity::AssumedRole(AssumedRole {
            path,
            role,
            role_id,
            session,
        }) => (
            Some(format!("arn:aws:iam::{account}:role{path}{role}")),
            "AssumedRole",
            format!("{role_id}:{session}"),
        ),
        Identity::Service(name) => {
            set("aws:principalisawsservice", Some("true".to_owned()));
            (None, "Service", name.clone())
        }
        Identity::Federated { provider, subject } => {
            (None, "FederatedUser", format!("{provider}:{subject}"))
        }
        Identity::Anonymous => (None, "Anonymous", "anonymous".to_owned()),
    };
    set("aws:principalarn", arn);
    set("aws:principaltype", Some(kind.to_owned()));
    set("aws:userid", Some(id));
    let owner = match request.resource {
        Resource::One(arn) => Some(arn.account().to_owned()),
        Resource::Any => None,
    };
    set("aws:resourceaccount", owner);
    keys.retain(|_, values| !values.is_empty());
    keys
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn applies(statement: &Value, document: &Value, request: &Request<'_>, keys: &Keys) -> bool {
    let variables = document["Version"] == "2012-10-17";
    let denies = statement["Effect"] == "Deny";
    let is_named = |member: &str| {
        let action = request.action.to_lowercase();
        let named = |it: &&Value| {
            like(
                &fill(&text(it).to_lowercase(), true, false, keys).unwrap(),
                &action,
            )
        };
        list(&statement[member]).iter().any(named)
    };
    let action =
        is_named("Action") || (!statement["NotAction"].is_null() && !is_named("NotAction"));
    let principal = !(statement["Principal"].is_null() && statement["NotPrincipal"].is_null());
    let whom = !principal || level(statement, request.principal) > 0;
    action
        && whom
        && resource(
            statement,
            request.resource.as_str(),
            variables,
            denies,
            keys,
        )
        && conditions(&statement["Condition"], variables, denies, keys)
}

fn resource(statement: &Value, resource: &str, variables: bool, denies: bool, keys: &Keys) -> bool {
    let compare = |it: &Value| -> Option<bool> {
        let signs = fill(&text(it), true, variables, keys)?;
        if like(&signs, resource) {
            return Some(true);
        }
        // What is missing is everything.
        let colons = signs.iter().filter(|sign| **sign == Sign::Is(':')).count();
        let mut whole = signs.clone();
        for _ in colons..5 {
            whole.extend([Sign::Is(':'), Sign::Many]);
        }
        Some(like(&whole, resource) && signs != [Sign::Many])
    };
    if !statement["Resource"].is_null() {
        return list(&statement["Resource"])
            .into_iter()
            .any(|it| compare(it) == Some(true));
    }
    if statement["NotResource"].is_null() {
        return true;
    }
    let compared: Vec<Option<bool>> = list(&statement["NotResource"])
        .into_iter()
        .map(compare)
        .collect();
    !compared.contains(&Some(true)) && (denies || !compared.contains(&None))
}

/// 0: not named; 1: its account; 2: its role, or everyone; 3: the user; 4: the
/// session, or the service.
fn level(statement: &Value, principal: &Principal) -> u8 {
    let negated = statement["Principal"].is_null();
    let named = if negated {
        &statement["NotPrincipal"]
    } else {
        &statement["Principal"]
    };
    let account = principal.account.as_str();
    let mut own_names: Vec<(String, u8)> = vec![("AWS:*".to_owned(), 2)];
    if principal.is_of_an_account() {
        own_names.push((format!("AWS:{account}"), 1));
        own_names.push((format!("AWS:arn:aws:iam::{account}:root"), 1));
    }
    match &principal.identity {
        Identity::Root | Identity::Anonymous => {}
        Identity::User(User { path, name, id }) => {
            own_names.push((format!("AWS:arn:aws:iam::{account}:user{path}{name}"), 3));
            own_names.push((format!("AWS:{id}"), 3));
        }
        Identity::AssumedRole(AssumedRole {
            path,
            role,
            role_id,
            session,
        }) => {
            own_names.push((format!("AWS:arn:aws:iam::{account}:role{path}{role}"), 2));
            own_names.push((format!("AWS:{role_id}"), 2));
            let session = format!("AWS:arn:aws:sts::{account}:assumed-role/{role}/{session}");
            own_names.push((session, 4));
        }
        Identity::Service(name) => own_names.push((format!("Service:{name}"), 4)),
        Identity::Federated { provider, .. } => {
            own_names.push((format!("Federated:{provider}"), 4));
        }
    }
    let mut level = u8::from(named == "*") * 2;
    if let Some(kinds) = named.as_object() {
        for (kind, values) in kinds {
            for value in list(values) {
                let name = format!("{kind}:{}", text(value));
                for (own, given) in &own_names {
                    if *own == name {
                        level = level.max(*given);
                    }
                }
            }
        }
    }
    if !negated {
        return level;
    }
    let is_spared = level > 1 || (level == 1 && principal.identity == Identity::Root);
    if is_spared { 0 } else { 2 }
}

fn conditions(block: &Value, variables: bool, denies: bool, keys: &Keys) -> bool {
    let Some(operators) = block.as_object() else {
        return true;
    };
    for (operator, wanted) in operators {
        for (key, operands) in wanted.as_object().unwrap() {
            let values = keys.get(&key.to_lowercase()).cloned().unwrap_or_default();
            let operands: Vec<String> = list(operands).into_iter().map(text).collect();
            if !condition(operator, &values, &operands, variables, denies, keys) {
                return false;
            }
        }
    }
    true
}

fn condition(
    operator: &str,
    values: &[String],
    operands: &[String],
    variables: bool,
    denies: bool,
    keys: &Keys,
) -> bool {
    let (set, rest) = match operator.split_once(':') {
        Some((set, rest)) => (set, rest),
        None => ("", operator),
    };
    let name = rest.strip_suffix("IfExists").unwrap_or(rest);
    if name == "Null" {
        return operands.contains(&values.is_empty().to_string());
    }
    let negated = name.contains("Not");
    if values.is_empty() {
        return rest != name || set == "ForAllValues" || (set.is_empty() && negated);
    }
    // Which of them is meant, nobody knows.
    if set.is_empty() && values.len() != 1 {
        return denies;
    }
    let base = name.replace("Not", "");
    let passes = |value: &String| {
        let found: Vec<Option<bool>> = operands
            .iter()
            .map(|operand| compare(&base, value, operand, variables, keys))
            .collect();
        let equals = found.contains(&Some(true));
        if negated {
            !equals && (denies || !found.contains(&None))
        } else {
            equals
        }
    };
    if set == "ForAllValues" {
        values.iter().all(passes)
    } else {
        values.iter().any(passes)
    }
}

fn compare(base: &str, value: &str, operand: &str, variables: bool, keys: &Keys) -> Option<bool> {
    let order = |left: f64, right: f64| {
        let kind = base
            .trim_start_matches("Numeric")
            .trim_start_matches("Date");
        match kind {
            "Equals" => left.total_cmp(&right).is_eq(),
            "LessThan" => left < right,
            "LessThanEquals" => left <= right,
            "GreaterThan" => left > right,
            "GreaterThanEquals" => left >= right,
            other => panic!("{other}"),
        }
    };
    Some(match base {
        "StringEquals" => like(&fill(operand, false, variables, keys)?, value),
        "StringEqualsIgnoreCase" => {
            let lower = |sign: Sign| match sign {
                Sign::Is(character) => Sign::Is(character.to_ascii_lowercase()),
                sign => sign,
            };
            let signs: Vec<Sign> = fill(operand, false, variables, keys)?
                .into_iter()
                .map(lower)
                .collect();
            like(&signs, &value.to_ascii_lowercase())
        }
        "StringLike" => like(&fill(operand, true, variables, keys)?, value),
        "ArnEquals" | "ArnLike" => {
            // The tests' ARNs have five colons, and so have the patterns.
            let signs = fill(operand, true, variables, keys)?;
            value.matches(':').count() == 5 && like(&signs, value)
        }
        "IpAddress" => in_net(value, operand),
        "Bool" => value.to_lowercase() == operand.to_lowercase(),
        "BinaryEquals" => STANDARD
            .decode(value)
            .is_ok_and(|it| it == STANDARD.decode(operand).unwrap()),
        _ if base.starts_with("Numeric") => match (value.parse(), operand.parse()) {
            (Ok(value), Ok(operand)) => order(value, operand),
            _ => false,
        },
        // The tests' dates have one form, whose order is that of texts.
        _ => match value.cmp(operand) {
            _ if !value.ends_with('Z') => false,
            std::cmp::Ordering::Less => order(0.0, 1.0),
            std::cmp::Ordering::Equal => order(0.0, 0.0),
            std::cmp::Ordering::Greater => order(1.0, 0.0),
        },
    })
}

fn in_net(value: &str, net: &str) -> bool {
    let bits = |text: &str| match text.parse() {
        Ok(IpAddr::V4(it)) => Some((32, u128::from(it.to_bits()))),
        Ok(IpAddr::V6(it)) => Some((128, it.to_bits())),
        Err(_) => None,
    };
    let (net, length) = net
        .split_once('/')
        .map_or((net, None), |(net, n)| (net, n.parse::<u32>().ok()));
    match (bits(value), bits(net)) {
        (Some((width, value)), Some((other, net))) => {
            let shift = width - length.unwrap_or(width);
            width == other && (value.checked_shr(shift) == net.checked_shr(shift))
        }
        _ => false,
    }
}

/// None when a variable has no value.
fn fill(pattern: &str, wildcards: bool, variables: bool, keys: &Keys) -> Option<Vec<Sign>> {
    let mut signs = Vec::new();
    let mut rest = pattern.to_owned();
    while !rest.is_empty() {
        if variables && rest.starts_with("${") {
            let end = rest.find('}').unwrap();
            let inside = rest[2..end].to_owned();
            rest = rest[end + 1..].to_owned();
            let value = match inside.split_once(',') {
                _ if ["*", "?", "$"].contains(&&*inside) => Some(inside.clone()),
                None => single(keys, &inside),
                Some((key, default)) => {
                    single(keys, key).or(Some(default.trim().replace('\'', "")))
                }
            };
            signs.extend(value?.chars().map(Sign::Is));
            continue;
        }
        let character = rest.remove(0);
        signs.push(match character {
            '*' if wildcards => Sign::Many,
            '?' if wildcards => Sign::One,
            character => Sign::Is(character),
        });
    }
    Some(signs)
}

fn single(keys: &Keys, key: &str) -> Option<String> {
    match &keys.get(&key.trim().to_lowercase())?[..] {
        [value] => Some(value.clone()),
        _ => None,
    }
}

fn like(signs: &[Sign], text: &str) -> bool {
    let mut characters = text.chars();
    match signs.split_first() {
        None => text.is_empty(),
        Some((Sign::Many, rest)) => {
            like(rest, text) || (characters.next().is_some() && like(signs, characters.as_str()))
        }
        Some((Sign::One, rest)) => characters.next().is_some() && like(rest, characters.as_str()),
        Some((Sign::Is(sign), rest)) => {
            characters.next() == Some(*sign) && like(rest, characters.as_str())
        }
    }
}
