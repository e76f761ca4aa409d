//! How often an operation may be asked for, as ECR has it: so many times a second
//! for each account, and of that so much for each of its principals. Whoever says
//! no name counts by where they come from.
//!
//! Each node counts what it is asked itself. The invariants: what is counted takes
//! no more memory than [`BUCKETS_MAX`] numbers, whoever asks; and nobody is
//! throttled by what another account asks for, unless there are more of them than
//! that.

mod buckets;

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use entrepot_access::{Identity, Principal};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use self::buckets::{Bucket, Buckets};
use crate::{Caller, Registry, ServiceError};

/// The highest rate that can be set; more is as good as none.
pub const RATE_MAX: u32 = 1_000_000;

/// What is counted together. Those of registries have ECR's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    GetAuthorizationToken,
    BatchGetImage,
    GetDownloadUrlForLayer,
    BatchCheckLayerAvailability,
    InitiateLayerUpload,
    UploadLayerPart,
    CompleteLayerUpload,
    PutImage,
    /// Whatever IAM and STS are asked.
    Identity,
    /// Everything else.
    Other,
}

/// How often each may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttling {
    /// Of one account, in a second, for each of [`Operation::ALL`]; 0: as often as
    /// it likes.
    rates: [u32; Operation::ALL.len()],
    /// Of each, what one principal may take.
    pub principal_percent: u32,
}

/// Counts of what was refused. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct ThrottlingMetrics(Family<[(&'static str, Operation); 1], Counter>);

/// Who has asked for what.
#[derive(Debug)]
pub(crate) struct Throttle {
    limits: Throttling,
    buckets: Buckets,
    hashing: RandomState,
    metrics: ThrottlingMetrics,
}

/// Of whom something is counted.
#[derive(Hash)]
enum Of<'a> {
    Account(&'a str),
    Principal(&'a Principal),
    Source(crate::Source),
}

// === impl Operation ===

impl Operation {
    pub const ALL: [Self; 10] = [
        Self::GetAuthorizationToken,
        Self::BatchGetImage,
        Self::GetDownloadUrlForLayer,
        Self::BatchCheckLayerAvailability,
        Self::InitiateLayerUpload,
        Self::UploadLayerPart,
        Self::CompleteLayerUpload,
        Self::PutImage,
        Self::Identity,
        Self::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::GetAuthorizationToken => "GetAuthorizationToken",
            Self::BatchGetImage => "BatchGetImage",
            Self::GetDownloadUrlForLayer => "GetDownloadUrlForLayer",
            Self::BatchCheckLayerAvailability => "BatchCheckLayerAvailability",
            Self::InitiateLayerUpload => "InitiateLayerUpload",
            Self::UploadLayerPart => "UploadLayerPart",
            Self::CompleteLayerUpload => "CompleteLayerUpload",
            Self::PutImage => "PutImage",
            Self::Identity => "Identity",
            Self::Other => "Other",
        }
    }

    /// The one that an operation of ECR's or ECR Public's API is counted as.
    pub fn of_ecr(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found
            .filter(|it| *it != Self::Identity)
            .unwrap_or(Self::Other)
    }
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.name().encode(encoder)
    }
}

// === impl Throttling ===

impl Throttling {
    /// Nobody is throttled.
    pub const OFF: Self = Self {
        rates: [0; Operation::ALL.len()],
        principal_percent: 100,
    };

    /// What stops a program that has gone wild, and nothing that people do: several
    /// times what a node answers on two cores.
    pub const GENEROUS: Self = Self {
        rates: [
            100_000, 200_000, 100_000, 100_000, 20_000, 50_000, 20_000, 20_000, 20_000, 50_000,
        ],
        principal_percent: 100,
    };

    /// ECR's quotas of an account in a region. What it does not tell is as
    /// [`Throttling::GENEROUS`] has it.
    pub const ECR: Self = Self {
        rates: [500, 2_000, 3_000, 1_000, 100, 500, 100, 10, 20_000, 50_000],
        principal_percent: 100,
    };

    pub fn rate(&self, operation: Operation) -> u32 {
        self.rates[operation as usize]
    }

    /// The same with another rate for one of them, of at most [`RATE_MAX`].
    #[must_use]
    pub fn with(mut self, operation: Operation, rate: u32) -> Self {
        self.rates[operation as usize] = rate.min(RATE_MAX);
        self
    }

    fn rate_of_principal(&self, operation: Operation) -> u32 {
        let rate = u64::from(self.rate(operation)) * u64::from(self.principal_percent) / 100;
        u32::try_from(rate).unwrap_or(RATE_MAX).max(1)
    }
}

impl Default for Throttling {
    fn default() -> Self {
        Self::GENEROUS
    }
}

// === impl ThrottlingMetrics ===

impl ThrottlingMetrics {
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register(
            "throttled_requests",
            "Requests that were refused because their account or principal asks too often",
            self.0.clone(),
        );
    }
}

// === impl Throttle ===

impl Throttle {
    pub(crate) fn new(limits: Throttling) -> Self {
        Self {
            limits,
            buckets: Buckets::default(),
            hashing: RandomState::new(),
            metrics: ThrottlingMetrics::default(),
        }
    }

    /// # Errors
    /// After how long it may be asked for again.
    fn take(&self, who: &Caller, operation: Operation) -> Result<(), Duration> {
        let rate = self.limits.rate(operation);
        if rate == 0 {
            return Ok(());
        }
        let principal = &who.principal;
        let taken = if principal.identity == Identity::Anonymous {
            let source = who.origin.source();
            // What nobody can tell apart is not slowed down.
            if !source.is_known() {
                return Ok(());
            }
            self.take_of(&Of::Source(source), operation, rate)
        } else {
            let own = self.limits.rate_of_principal(operation);
            let own = if own < rate {
                self.take_of(&Of::Principal(principal), operation, own)
            } else {
                Ok(())
            };
            own.and_then(|()| {
                self.take_of(&Of::Account(principal.account.as_str()), operation, rate)
            })
        };
        taken.inspect_err(|_| {
            let refused = [("operation", operation)];
            self.metrics.0.get_or_create(&refused).inc();
        })
    }

    fn take_of(&self, of: &Of<'_>, operation: Operation, rate: u32) -> Result<(), Duration> {
        let bucket = Bucket {
            of: self.hashing.hash_one(of),
            operation: operation as u8,
        };
        self.buckets.take(bucket, rate)
    }
}

// === impl Registry ===

impl Registry {
    /// That `who` may ask for it now, as far as how often goes. To be asked once for
    /// each request, as soon as it is known who sent it.
    ///
    /// # Errors
    /// `RateExceeded`
    pub fn admit(&self, who: &Caller, operation: Operation) -> Result<(), ServiceError> {
        let taken = self.throttle.take(who, operation);
        taken.map_err(|after| ServiceError::RateExceeded {
            retry_after_s: after.as_secs() + u64::from(after.subsec_nanos() > 0),
        })
    }

    pub fn throttling_metrics(&self) -> ThrottlingMetrics {
        self.throttle.metrics.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use entrepot_access::User;

    use super::*;
    use crate::Origin;

    fn user(account: &str, name: &str) -> Caller {
        let user = User {
            path: "/".to_owned(),
            name: name.to_owned(),
            id: format!("AIDA{name}"),
        };
        Caller::of(Principal {
            account: account.parse().unwrap(),
            identity: Identity::User(user),
        })
    }

    fn nobody(address: &str) -> Caller {
        let origin = Origin {
            address: Some(address.parse().unwrap()),
            ..Origin::default()
        };
        let account = "000000000001".parse().unwrap();
        Caller::of(Principal::anonymous(account)).from_origin(Arc::new(origin))
    }

    fn taken(throttle: &Throttle, who: &Caller, operation: Operation, times: usize) -> usize {
        let each = (0..times).filter(|_| throttle.take(who, operation).is_ok());
        each.count()
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_has_its_rate_and_no_other_has_less_for_it() {
        let throttle = Throttle::new(Throttling::ECR);
        let (ann, bob) = (user("000000000001", "ann"), user("000000000001", "bob"));
        let other = user("000000000002", "ann");
        assert_eq!(taken(&throttle, &ann, Operation::PutImage, 8), 8);
        assert_eq!(taken(&throttle, &bob, Operation::PutImage, 8), 2);
        assert_eq!(taken(&throttle, &other, Operation::PutImage, 20), 10);
        // Another operation is another matter.
        assert_eq!(
            taken(&throttle, &ann, Operation::InitiateLayerUpload, 100),
            100
        );
        let after = throttle.take(&bob, Operation::PutImage).unwrap_err();
        assert_eq!(after, Duration::from_millis(100));
        tokio::time::advance(after).await;
        assert_eq!(taken(&throttle, &bob, Operation::PutImage, 8), 1);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(taken(&throttle, &bob, Operation::PutImage, 20), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_principal_has_its_part_of_it() {
        let limits = Throttling {
            principal_percent: 50,
            ..Throttling::ECR
        };
        let throttle = Throttle::new(limits);
        let (ann, bob) = (user("000000000001", "ann"), user("000000000001", "bob"));
        assert_eq!(taken(&throttle, &ann, Operation::PutImage, 8), 5);
        assert_eq!(taken(&throttle, &bob, Operation::PutImage, 8), 5);
        let refused = [("operation", Operation::PutImage)];
        assert_eq!(throttle.metrics.0.get_or_create(&refused).get(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_no_name_counts_by_where_they_come_from() {
        let throttle = Throttle::new(Throttling::OFF.with(Operation::BatchGetImage, 3));
        let ask = |address| taken(&throttle, &nobody(address), Operation::BatchGetImage, 5);
        assert_eq!(ask("192.0.2.1"), 3);
        assert_eq!(ask("192.0.2.2"), 3);
        assert_eq!(ask("2001:db8::1"), 3);
        assert_eq!(ask("2001:db8::2"), 0, "of one network");
        let everywhere = Caller::of(Principal::anonymous("000000000001".parse().unwrap()));
        assert_eq!(
            taken(&throttle, &everywhere, Operation::BatchGetImage, 5),
            5
        );
    }

    #[test]
    fn a_rate_of_none_is_none() {
        let throttle = Throttle::new(Throttling::OFF);
        let ann = user("000000000001", "ann");
        for operation in Operation::ALL {
            assert_eq!(taken(&throttle, &ann, operation, 1_000), 1_000);
        }
    }

    #[test]
    fn operations_are_counted_by_ecr_s_names() {
        assert_eq!(Operation::of_ecr("PutImage"), Operation::PutImage);
        assert_eq!(Operation::of_ecr("DescribeImages"), Operation::Other);
        assert_eq!(Operation::of_ecr("Identity"), Operation::Other);
        let ecr = Throttling::ECR;
        assert_eq!(ecr.rate(Operation::PutImage), 10);
        assert_eq!(ecr.rate(Operation::GetDownloadUrlForLayer), 3_000);
        for (nth, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, nth);
        }
    }
}
