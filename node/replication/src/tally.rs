//! How copies to other registries go, in numbers: how long each took, what is
//! still to be done, what is being done now, and what went wrong.
//!
//! The invariant: a task that this node has ended is counted once, and one whose end
//! it only tried to write down is not.

mod objective;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Destination, Objective, Rule, Task, TaskKey};
use entrepot_oci::AccountId;
use entrepot_proto::peer::Flight;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use self::objective::Objectives;

/// Upper bounds of the lag, in seconds: a network trip at the lower end, what ECR
/// promises at the upper.
const LAG_BOUNDS_S: [f64; 18] = [
    0.01, 0.025, 0.05, 0.1, 0.175, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1_800.0, 3_600.0,
];

/// Account, rule and destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct Way {
    account: String,
    /// Empty: none asks for it any more.
    rule: String,
    /// A region, or a region and an account.
    destination: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedWay {
    account: String,
    rule: String,
    destination: String,
    reason: &'static str,
}

/// What is still to be done, by way.
#[derive(Debug, Default)]
pub(crate) struct OpenTasks(BTreeMap<Way, Open>);

#[derive(Debug, Clone, Copy)]
struct Open {
    tasks: i64,
    oldest_at_ms: i64,
}

type Lag = Family<Way, Histogram, fn() -> Histogram>;
type Seconds = Gauge<f64, AtomicU64>;

/// The numbers of one node.
#[derive(Debug)]
pub struct Tally {
    lag: Lag,
    failures: Family<FailedWay, Counter>,
    retries: Family<Way, Counter>,
    pending: Family<Way, Gauge>,
    oldest: Family<Way, Seconds>,
    in_flight: Mutex<BTreeMap<(AccountId, Destination), u64>>,
    flying: Gauge,
    objectives: Objectives,
    /// Those that were open at the last look.
    open_before: Mutex<Vec<Way>>,
}

/// A task that is worked on, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    tally: Arc<Tally>,
    key: (AccountId, Destination),
}

// === impl Tally ===

impl Default for Tally {
    fn default() -> Self {
        Self {
            lag: Family::new_with_constructor(|| Histogram::new(LAG_BOUNDS_S)),
            failures: Family::default(),
            retries: Family::default(),
            pending: Family::default(),
            oldest: Family::default(),
            in_flight: Mutex::default(),
            flying: Gauge::default(),
            objectives: Objectives::default(),
            open_before: Mutex::default(),
        }
    }
}

impl Tally {
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "replication_lag",
            "From the push at the source to the image being durable and visible at the destination",
            Unit::Seconds,
            self.lag.clone(),
        );
        registry.register(
            "replication_failures",
            "Copies that were refused for good, or until their destination allows them",
            self.failures.clone(),
        );
        registry.register(
            "replication_retries",
            "Attempts to copy that failed and will be made again",
            self.retries.clone(),
        );
        registry.register(
            "replication_pending_tasks",
            "This node's share of what is still to be copied",
            self.pending.clone(),
        );
        registry.register_with_unit(
            "replication_oldest_pending",
            "For how long the oldest of this node's share has been waiting",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register(
            "replication_in_flight",
            "Copies that this node works on now",
            self.flying.clone(),
        );
        self.objectives.register(registry);
    }

    pub(crate) fn completed(&self, way: &Way, objective: Option<Objective>, lag_ms: i64) {
        self.objectives.ended(way, objective, Some(lag_ms));
        let lag_ms = u32::try_from(lag_ms.max(0)).unwrap_or(u32::MAX);
        let lag = f64::from(lag_ms) / 1_000.0;
        self.lag.get_or_create(way).observe(lag);
    }

    pub(crate) fn failed(&self, way: &Way, objective: Option<Objective>, is_denied: bool) {
        self.objectives.ended(way, objective, None);
        let reason = if is_denied { "denied" } else { "refused" };
        let way = way.clone();
        let failed = FailedWay {
            account: way.account,
            rule: way.rule,
            destination: way.destination,
            reason,
        };
        self.failures.get_or_create(&failed).inc();
    }

    pub(crate) fn tried_again(&self, key: &TaskKey) {
        self.retries.get_or_create(&Way::new(None, key)).inc();
    }

    /// What a look through all tasks has found. What it has not found is none.
    pub(crate) fn has_open(&self, open: OpenTasks, now_ms: i64) {
        let mut before = lock(&self.open_before);
        for gone in before.iter().filter(|way| !open.0.contains_key(way)) {
            self.pending.remove(gone);
            self.oldest.remove(gone);
        }
        *before = open.0.keys().cloned().collect();
        for (way, open) in open.0 {
            self.pending.get_or_create(&way).set(open.tasks);
            let age_ms = now_ms.saturating_sub(open.oldest_at_ms).max(0);
            let age_ms = u32::try_from(age_ms).unwrap_or(u32::MAX);
            let age = f64::from(age_ms) / 1_000.0;
            self.oldest.get_or_create(&way).set(age);
        }
    }

    /// These are worked on from now until what is returned is dropped.
    pub(crate) fn begun<'a>(
        self: &Arc<Self>,
        tasks: impl Iterator<Item = &'a Task>,
    ) -> Vec<InFlight> {
        let begin = |task: &Task| InFlight::new(self, &task.key);
        tasks.map(begin).collect()
    }

    /// By account and destination.
    pub(crate) fn flights(&self) -> Vec<Flight> {
        let in_flight = lock(&self.in_flight);
        let flight = |((account, to), tasks): (&(AccountId, Destination), &u64)| Flight {
            account: account.to_string(),
            destination_region: to.region.to_string(),
            destination_account: to.account.to_string(),
            tasks: *tasks,
        };
        in_flight.iter().map(flight).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole between any two statements that hold it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl InFlight ===

impl InFlight {
    fn new(tally: &Arc<Tally>, key: &TaskKey) -> Self {
        let key = (key.account.clone(), key.destination.clone());
        *lock(&tally.in_flight).entry(key.clone()).or_default() += 1;
        tally.flying.inc();
        Self {
            tally: Arc::clone(tally),
            key,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.tally.flying.dec();
        let mut in_flight = lock(&self.tally.in_flight);
        if let Some(tasks) = in_flight.get_mut(&self.key) {
            *tasks -= 1;
            if *tasks == 0 {
                in_flight.remove(&self.key);
            }
        }
    }
}

// === impl Way ===

impl Way {
    fn new(rule: Option<&Rule>, key: &TaskKey) -> Self {
        Self {
            account: key.account.to_string(),
            rule: rule.map(|rule| rule.id.clone()).unwrap_or_default(),
            destination: key.destination.name(&key.account),
        }
    }

    /// With the rule that asks for it now, and what that promises.
    pub(crate) fn of(view: &dyn KeyValue, key: &TaskKey) -> (Self, Option<Objective>) {
        // Numbers alone suffer where that cannot be read.
        let rules = query::destinations(view, &key.account, &key.repository).unwrap_or_default();
        let rule = rules.get(&key.destination);
        let objective = rule.and_then(|rule| rule.options.objective);
        (Self::new(rule, key), objective)
    }
}

// === impl OpenTasks ===

impl OpenTasks {
    pub(crate) fn add(&mut self, rule: Option<&Rule>, task: &Task) {
        let open = self.0.entry(Way::new(rule, &task.key)).or_insert(Open {
            tasks: 0,
            oldest_at_ms: task.created_at_ms,
        });
        open.tasks += 1;
        open.oldest_at_ms = open.oldest_at_ms.min(task.created_at_ms);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use entrepot_metadata::query::{TaskKind, TaskState};
    use entrepot_oci::{Algorithm, Digest};
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn task(tag: &str, to: &str, created_at_ms: i64) -> Task {
        let account = "123456789012".parse().unwrap();
        Task {
            key: TaskKey {
                destination: Destination::named(to, &account).unwrap(),
                account,
                repository: "app".parse().unwrap(),
                digest: Digest::of(Algorithm::Sha256, b"image"),
                tag: Some(tag.parse().unwrap()),
            },
            sequence: 1,
            created_at_ms,
            state: TaskState::InProgress,
            ended_at_ms: None,
            reason: None,
            denied: false,
            kind: TaskKind::Copy,
            names: Vec::new(),
            deleted_before: None,
        }
    }

    fn text(tally: &Tally) -> String {
        let mut registry = Registry::default();
        tally.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_is_open_is_told_until_it_is_not() {
        let tally = Tally::default();
        let mut open = OpenTasks::default();
        for (tag, at) in [("v1", 4_000), ("v2", 1_000), ("v3", 2_000)] {
            open.add(None, &task(tag, "eu-west-1", at));
        }
        open.add(None, &task("v1", "ap-south-1", 5_000));
        tally.has_open(open, 6_000);
        let labels = "{account=\"123456789012\",rule=\"\",destination=\"eu-west-1\"}";
        let found = text(&tally);
        for line in [
            format!("replication_pending_tasks{labels} 3\n"),
            format!("replication_oldest_pending_seconds{labels} 5.0\n"),
        ] {
            assert!(found.contains(&line), "{found}");
        }
        tally.has_open(OpenTasks::default(), 7_000);
        assert!(!text(&tally).contains("eu-west-1"));
    }

    #[test]
    fn what_is_in_flight_is_told_by_destination_until_it_ends() {
        let tally = Arc::new(Tally::default());
        let tasks = [
            task("v1", "eu-west-1", 0),
            task("v2", "eu-west-1", 0),
            task("v1", "ap-south-1", 0),
        ];
        let mut flights = tally.begun(tasks.iter());
        let told = |tally: &Tally| -> Vec<(String, u64)> {
            let flights = tally.flights().into_iter();
            flights
                .map(|it| (it.destination_region, it.tasks))
                .collect()
        };
        let of = |region: &str, tasks| (region.to_owned(), tasks);
        assert_eq!(told(&tally), [of("ap-south-1", 1), of("eu-west-1", 2)]);
        flights.truncate(1);
        assert_eq!(told(&tally), [of("eu-west-1", 1)]);
        drop(flights);
        assert_eq!(told(&tally), []);
    }

    #[test]
    fn each_lag_is_counted_under_its_way() {
        let tally = Tally::default();
        let way = Way::new(None, &task("v1", "eu-west-1", 0).key);
        for lag_ms in [20, 40, -3, i64::MAX] {
            tally.completed(&way, None, lag_ms);
        }
        tally.failed(&way, None, true);
        let found = text(&tally);
        let has = |part: &str, end: &str| {
            let mut lines = found.lines();
            lines.any(|line| line.contains(part) && line.ends_with(end))
        };
        assert!(has("le=\"0.05\"", " 3"), "{found}");
        assert!(has("le=\"+Inf\"", " 4"), "{found}");
        assert!(has("reason=\"denied\"", " 1"), "{found}");
    }

    #[test]
    fn copies_are_held_against_what_their_rule_promises() {
        let tally = Tally::default();
        let way = Way::new(None, &task("v1", "eu-west-1", 0).key);
        let objective = Some(Objective {
            per_million: 990_000,
            within_ms: 30_000,
        });
        for lag_ms in [20, 30_000, 30_001] {
            tally.completed(&way, objective, lag_ms);
        }
        tally.failed(&way, objective, false);
        let found = text(&tally);
        let labels = "{account=\"123456789012\",rule=\"\",destination=\"eu-west-1\"}";
        for line in [
            format!("replication_slo_images_total{labels} 4\n"),
            format!("replication_slo_good_total{labels} 2\n"),
            format!("replication_slo_objective_ratio{labels} 0.99\n"),
        ] {
            assert!(found.contains(&line), "{found}");
        }
        // The rule promises nothing any more.
        tally.completed(&way, None, 20);
        assert!(!text(&tally).contains("slo_images_total{"));
    }

    /// Names that begin with `entrepot_replication_`.
    fn names_in(text: &str) -> BTreeSet<&str> {
        let is_sign = |sign: char| sign.is_ascii_lowercase() || sign == '_';
        let words = text.split(|sign| !is_sign(sign));
        words
            .filter(|word| word.starts_with("entrepot_replication_"))
            .collect()
    }

    #[test]
    fn what_dashboards_and_alerts_name_is_there() {
        let tally = Arc::new(Tally::default());
        let task = task("v1", "eu-west-1", 0);
        let way = Way::new(None, &task.key);
        let objective = Objective {
            per_million: 990_000,
            within_ms: 30_000,
        };
        tally.completed(&way, Some(objective), 1);
        tally.failed(&way, Some(objective), true);
        tally.tried_again(&task.key);
        let mut open = OpenTasks::default();
        open.add(None, &task);
        tally.has_open(open, 1);
        let mut registry = Registry::with_prefix("entrepot");
        tally.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.collect::<Vec<_>>().join("\n");
        let known = names_in(&samples);
        let dashboard = include_str!("../../../deploy/monitoring/replication-dashboard.json");
        let rules = include_str!("../../../deploy/monitoring/replication-rules.yaml");
        for (file, least) in [(dashboard, 6), (rules, 5)] {
            let named = names_in(file);
            assert!(named.len() >= least, "{named:?}");
            let missing: Vec<_> = named.difference(&known).collect();
            assert!(missing.is_empty(), "{missing:?} of {known:?}");
        }
        assert!(
            samples.contains("le=\"30.0\""),
            "the objective is one of the bounds"
        );
    }
}
