//! Conditions: whether what a request brings along is as a statement wants it.
//!
//! IAM, "Condition operators": the values of a key are alternatives, keys and
//! operators must all hold. A key that the request does not have makes a
//! condition false, a negated one true; `IfExists` makes both true. A key with
//! several values is for `ForAllValues` and `ForAnyValue` alone: any other
//! operator denies, so that nobody slips a second value past it.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::action::is_vendor;
use super::error::Problem;
use super::evaluate::Facts;
use super::json::Json;
use super::operator::{Operator, Set, Test};
use super::pattern::{Pattern, Signs, Unresolved, Variables, parts};
use super::statement::{Effect, texts};
use crate::clock;

const ARN_PARTS: usize = 6;

/// One key under one operator.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    operator: Operator,
    /// In lower case.
    key: String,
    operands: Vec<Operand>,
}

/// A value of the policy.
#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Text(Pattern),
    Lower(Pattern),
    Arn(Vec<Pattern>),
    Net(IpNet),
    Bool(bool),
    Number(f64),
    Date(i64),
    Binary(Vec<u8>),
}

/// Reads the `Condition` member of a statement.
pub(super) fn parse(value: &Json, variables: bool) -> Result<Vec<Condition>, Problem> {
    let Json::Object(operators) = value else {
        return Err(Problem::Syntax);
    };
    let mut conditions = Vec::new();
    for (name, keys) in operators {
        let (Some(operator), Json::Object(keys)) = (Operator::parse(name), keys) else {
            return Err(Problem::Syntax);
        };
        for (key, values) in keys {
            if !is_key(key) {
                return Err(Problem::Vendor);
            }
            let operands: Result<Vec<Operand>, Problem> = texts(values)?
                .iter()
                .map(|text| Operand::parse(operator.test, text, variables))
                .collect();
            conditions.push(Condition {
                operator,
                key: key.to_lowercase(),
                operands: operands?,
            });
        }
    }
    Ok(conditions)
}

// === impl Condition ===

impl Condition {
    /// Whether it holds. A value whose variable has none of its own equals
    /// nothing; where that would let an allow through by a negation, it does not
    /// hold.
    pub(super) fn holds(&self, facts: &Facts<'_>, effect: Effect) -> bool {
        let values = facts.values(&self.key);
        let Operator {
            test,
            is_negated,
            set,
            if_exists,
        } = self.operator;
        if test == Test::Null {
            let is_missing = Operand::Bool(values.is_empty());
            return self.operands.contains(&is_missing);
        }
        if values.is_empty() {
            return if_exists
                || match set {
                    Some(Set::All) => true,
                    Some(Set::Any) => false,
                    None => is_negated,
                };
        }
        if set.is_none() && values.len() > 1 {
            return effect == Effect::Deny;
        }
        let passes = |value: &String| match (self.equals_any(value, facts), is_negated) {
            (Ok(equals), _) => equals != is_negated,
            (Err(Unresolved), true) => effect == Effect::Deny,
            (Err(Unresolved), false) => false,
        };
        match set {
            Some(Set::All) => values.iter().all(passes),
            Some(Set::Any) | None => values.iter().any(passes),
        }
    }

    fn equals_any(&self, value: &str, facts: &Facts<'_>) -> Result<bool, Unresolved> {
        let lower = match self.operator.test {
            Test::EqualsIgnoreCase => value.to_lowercase(),
            _ => String::new(),
        };
        let mut equals = Ok(false);
        for operand in &self.operands {
            match operand.equals(value, &lower, self.operator.test, facts) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(unresolved) => equals = Err(unresolved),
            }
        }
        equals
    }
}

// === impl Operand ===

impl Operand {
    fn parse(how: Test, text: &str, variables: bool) -> Result<Self, Problem> {
        let signs = |wildcards| Signs {
            wildcards,
            variables,
        };
        let operand = match how {
            Test::Equals => Some(Self::Text(Pattern::parse(text, signs(false))?)),
            Test::Like => Some(Self::Text(Pattern::parse(text, signs(true))?)),
            Test::EqualsIgnoreCase => {
                let pattern = Pattern::parse(text, signs(false))?;
                Some(Self::Lower(pattern.into_lower_case()))
            }
            Test::Arn => {
                let mut patterns = Vec::new();
                for part in parts(text, ARN_PARTS, variables) {
                    patterns.push(Pattern::parse(part, signs(true))?);
                }
                // As in a resource, what is missing is everything.
                patterns.resize(ARN_PARTS, Pattern::parse("*", signs(true))?);
                Some(Self::Arn(patterns))
            }
            Test::Ip => net(text).map(Self::Net),
            Test::Bool | Test::Null => boolean(text).map(Self::Bool),
            Test::Numeric(_) => number(text).map(Self::Number),
            Test::Date(_) => clock::parse(text).map(Self::Date),
            Test::Binary => STANDARD.decode(text).ok().map(Self::Binary),
        };
        operand.ok_or(Problem::Legacy)
    }

    /// A value of the request that is not of the operator's type equals nothing.
    fn equals(
        &self,
        value: &str,
        lower: &str,
        test: Test,
        variables: &impl Variables,
    ) -> Result<bool, Unresolved> {
        Ok(match (self, test) {
            (Self::Text(pattern), _) => return pattern.matches(value, variables),
            (Self::Lower(pattern), _) => return pattern.matches_lower(lower, variables),
            (Self::Arn(patterns), _) => return arn_matches(patterns, value, variables),
            (Self::Net(net), _) => address(value).is_some_and(|address| net.contains(&address)),
            (Self::Bool(own), _) => boolean(value) == Some(*own),
            (Self::Number(own), Test::Numeric(order)) => {
                number(value).is_some_and(|value| order.holds(value, *own))
            }
            (Self::Date(own), Test::Date(order)) => {
                clock::parse(value).is_some_and(|value| order.holds(value, *own))
            }
            (Self::Binary(own), _) => STANDARD.decode(value).is_ok_and(|value| value == *own),
            (Self::Number(_) | Self::Date(_), _) => false,
        })
    }
}

/// Part by part: a `*` does not reach over a colon before the last one.
fn arn_matches(
    patterns: &[Pattern],
    value: &str,
    variables: &impl Variables,
) -> Result<bool, Unresolved> {
    let mut parts = value.splitn(ARN_PARTS, ':');
    let mut matches = true;
    for pattern in patterns {
        // To the last, and of what is no ARN too: that a variable has no value
        // does not depend on the value it is compared with.
        let part = parts.next();
        matches &= pattern.matches(part.unwrap_or_default(), variables)? && part.is_some();
    }
    Ok(matches)
}

fn net(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// An IPv4 address that came over an IPv6 socket is an IPv4 address.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A decimal number; no infinity, no exponent.
fn number(text: &str) -> Option<f64> {
    let is_decimal = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.'));
    is_decimal.then(|| text.parse().ok())?
}

/// `<vendor>:<name>`, or `<issuer>:<claim>` of a web identity, whose issuer is the rest
/// of an address behind `https://`.
fn is_key(key: &str) -> bool {
    if let Some((vendor, name)) = key.split_once(':')
        && is_vendor(vendor)
    {
        return !name.is_empty();
    }
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    key.rsplit_once(':').is_some_and(|(issuer, claim)| {
        issuer.contains('.') && issuer.bytes().all(right) && !claim.is_empty()
    })
}
