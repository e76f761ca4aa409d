//! The names of conditions' operators.

/// An operator: `[ForAllValues:|ForAnyValue:]<test>[IfExists]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) test: Test,
    pub(super) is_negated: bool,
    pub(super) set: Option<Set>,
    pub(super) if_exists: bool,
}

/// How a value of the request is compared with one of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Arn,
    Ip,
    Bool,
    Binary,
    Numeric(Order),
    Date(Order),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Which of the request's values have to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    All,
    Any,
}

const ALL: &str = "ForAllValues:";
const ANY: &str = "ForAnyValue:";
const IF_EXISTS: &str = "IfExists";

/// Name, test, and whether it is the opposite of the test.
const TESTS: [(&str, Test, bool); 27] = [
    ("StringEquals", Test::Equals, false),
    ("StringNotEquals", Test::Equals, true),
    ("StringEqualsIgnoreCase", Test::EqualsIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Test::EqualsIgnoreCase, true),
    ("StringLike", Test::Like, false),
    ("StringNotLike", Test::Like, true),
    ("ArnEquals", Test::Arn, false),
    ("ArnLike", Test::Arn, false),
    ("ArnNotEquals", Test::Arn, true),
    ("ArnNotLike", Test::Arn, true),
    ("IpAddress", Test::Ip, false),
    ("NotIpAddress", Test::Ip, true),
    ("Bool", Test::Bool, false),
    ("BinaryEquals", Test::Binary, false),
    ("Null", Test::Null, false),
    ("NumericEquals", Test::Numeric(Order::Equal), false),
    ("NumericNotEquals", Test::Numeric(Order::Equal), true),
    ("NumericLessThan", Test::Numeric(Order::Less), false),
    (
        "NumericLessThanEquals",
        Test::Numeric(Order::LessOrEqual),
        false,
    ),
    ("NumericGreaterThan", Test::Numeric(Order::Greater), false),
    (
        "NumericGreaterThanEquals",
        Test::Numeric(Order::GreaterOrEqual),
        false,
    ),
    ("DateEquals", Test::Date(Order::Equal), false),
    ("DateNotEquals", Test::Date(Order::Equal), true),
    ("DateLessThan", Test::Date(Order::Less), false),
    ("DateLessThanEquals", Test::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Test::Date(Order::Greater), false),
    (
        "DateGreaterThanEquals",
        Test::Date(Order::GreaterOrEqual),
        false,
    ),
];

// === impl Operator ===

impl Operator {
    /// None for a name that is none. `Null` takes neither prefix nor suffix: it
    /// asks about the key, not about its values.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (set, name) = match (prefixed(name, ALL), prefixed(name, ANY)) {
            (Some(name), _) => (Some(Set::All), name),
            (_, Some(name)) => (Some(Set::Any), name),
            _ => (None, name),
        };
        let at = name.len().checked_sub(IF_EXISTS.len());
        let suffix = at.and_then(|at| name.get(at..)).unwrap_or_default();
        let if_exists = suffix.eq_ignore_ascii_case(IF_EXISTS);
        let name = if if_exists {
            &name[..name.len() - IF_EXISTS.len()]
        } else {
            name
        };
        let named = |(known, ..): &&(&str, Test, bool)| known.eq_ignore_ascii_case(name);
        let &(_, test, is_negated) = TESTS.iter().find(named)?;
        if test == Test::Null && (set.is_some() || if_exists) {
            return None;
        }
        Some(Self {
            test,
            is_negated,
            set,
            if_exists,
        })
    }
}

impl Order {
    pub(super) fn holds<T: PartialOrd + Copy>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

fn prefixed<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let start = name.get(..prefix.len())?;
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| &name[prefix.len()..])
}
