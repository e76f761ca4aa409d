//! The simulation of one seed, from the first tick to the last check.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use entrepot_proto::peers::PeerInfo;
use http::StatusCode;
use tokio::time::Instant;
use turmoil::{Builder, Sim};

use crate::client::{Client, Place};
use crate::director::Director;
use crate::draw::Draw;
use crate::flaw::Flaw;
use crate::folder::Folder;
use crate::http::Ask;
use crate::invariants::Observer;
use crate::machine::{self, Machine, Shape, Standing};
use crate::operator::Operator;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::{entropy, trace};

/// The host that all clients are on.
pub(crate) const CLIENTS: &str = "clients";
/// Simulated time after which something hangs.
const AT_MOST: Duration = Duration::from_mins(10);
/// For a region to serve its first request, and its first after all faults.
const READY_WITHIN: Duration = Duration::from_mins(1);
const READY_RETRY: Duration = Duration::from_millis(100);
/// For copies to be where they belong after all faults.
const CONVERGE_WITHIN: Duration = Duration::from_secs(100);
/// Room of a connection in each direction, in messages.
const TCP_MESSAGES: usize = 65_536;
/// Repositories: what is replicated, and what is not.
const REPLICATED: &str = "team/app";
const OWN: &str = "own/app";

/// What clients and the director share.
#[derive(Debug)]
pub(crate) struct Shared {
    oracle: RefCell<Oracle>,
    phase: Cell<Phase>,
    began: Cell<Option<Instant>>,
    /// Nodes come or go, or are about to.
    changing: Cell<bool>,
}

/// How far the simulation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The cluster forms.
    Start,
    /// Clients work, things go wrong.
    Work,
    /// Everything is to be repaired; clients look for what they stored.
    Heal,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: String,
    pub(crate) events: u64,
    pub(crate) operations: u64,
    pub(crate) unknown: u64,
    pub(crate) elapsed: Duration,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn oracle(&self) -> Ref<'_, Oracle> {
        self.oracle.borrow()
    }

    pub(crate) fn oracle_mut(&self) -> RefMut<'_, Oracle> {
        self.oracle.borrow_mut()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn is_changing(&self) -> bool {
        self.changing.get()
    }

    /// When clients began to work, on their own clock.
    pub(crate) fn began(&self) -> Instant {
        self.began.get().unwrap_or_else(Instant::now)
    }
}

/// Simulates a plan. Once in a process: what this process drew before would
/// change what comes.
pub(crate) fn run(plan: &Plan, flaw: Flaw) -> Outcome {
    entropy::begin(plan.seed);
    let shared = Rc::new(Shared {
        oracle: RefCell::default(),
        phase: Cell::new(Phase::Start),
        began: Cell::new(None),
        changing: Cell::new(plan.change.is_some()),
    });
    let folder = Folder::of(std::process::id());
    let machines = machines(plan, flaw, folder.path());
    let mut sim = build(plan, &machines);
    let all = clients(plan.clone(), machines.clone(), Rc::clone(&shared));
    sim.client(CLIENTS, all);
    let mut director = Director::new(plan, &machines);
    let mut observer = Observer::new(plan, &machines);
    let mut done_at = None;
    loop {
        let stepped = sim.step();
        entropy::set_elapsed(sim.elapsed());
        match stepped {
            Ok(false) => {}
            Ok(true) => {
                let done_at = *done_at.get_or_insert(sim.elapsed());
                let is_over = sim.elapsed() > done_at + CONVERGE_WITHIN;
                if is_over || observer.is_converged(sim.elapsed()) {
                    break;
                }
            }
            Err(error) => {
                shared
                    .oracle_mut()
                    .violation(format!("the simulation stopped: {error}"));
                break;
            }
        }
        director.step(&mut sim, shared.phase());
        observer.step(sim.elapsed(), &shared.oracle());
    }
    let mut violations = shared.oracle_mut().violations();
    violations.extend(observer.finish(&shared.oracle()));
    let (trace, events) = trace::digest();
    let oracle = shared.oracle();
    Outcome {
        violations,
        trace,
        events,
        operations: oracle.operations,
        unknown: oracle.unknown,
        elapsed: sim.elapsed(),
    }
}

fn machines(plan: &Plan, flaw: Flaw, folder: &Path) -> Vec<Machine> {
    let peer = |(region, id): (&str, u64)| {
        Some(PeerInfo {
            id,
            region: region.parse().ok()?,
            address: machine::peer_address(id),
        })
    };
    let regions = plan.regions.iter();
    let founders = regions.flat_map(|(region, ids)| ids.iter().map(move |id| (*region, *id)));
    let peers: Vec<PeerInfo> = founders.filter_map(peer).collect();
    let shape = Shape {
        folder: folder.to_owned(),
        compaction: plan.compaction,
        copies: plan.copies,
        flaw,
        rule: plan.regions.get(1).and_then(|(name, _)| name.parse().ok()),
    };
    let machines = peers.iter().map(|peer| Machine::new(peer, &peers, &shape));
    let mut machines: Vec<Machine> = machines.collect();
    let joins = plan.change.as_ref().and_then(|change| {
        let (region, _) = plan.regions.get(change.region)?;
        peer((*region, change.joins?))
    });
    if let Some(joins) = joins {
        // It lists itself; nobody else ever lists it.
        let peers = [peers.as_slice(), std::slice::from_ref(&joins)].concat();
        let machine = Machine::new(&joins, &peers, &shape);
        machine.set_standing(Standing::Spare);
        machines.push(machine);
    }
    machines
}

fn build<'a>(plan: &Plan, machines: &[Machine]) -> Sim<'a> {
    let mut sim = Builder::new()
        .rng_seed(plan.seed)
        .epoch(std::time::SystemTime::UNIX_EPOCH)
        .simulation_duration(AT_MOST)
        .tick_duration(plan.tick)
        .min_message_latency(plan.near.0)
        .max_message_latency(plan.near.1)
        .tcp_capacity(TCP_MESSAGES)
        .enable_random_order()
        .build();
    for machine in machines {
        let host = machine.clone();
        sim.host(machine.name(), move || host.clone().run());
        if machine.standing() == Standing::Spare {
            sim.crash(machine.name());
        }
    }
    for one in machines {
        for other in machines.iter().filter(|other| other.region != one.region) {
            sim.set_link_latency(one.name(), other.name(), plan.far);
        }
    }
    sim
}

/// All clients, from the first request to the last look.
async fn clients(plan: Plan, machines: Vec<Machine>, shared: Rc<Shared>) -> turmoil::Result {
    ready(&machines).await?;
    shared.began.set(Some(Instant::now()));
    shared.phase.set(Phase::Work);
    let mut working = Vec::new();
    for number in 0..plan.clients {
        let mut draw = Draw::new(plan.seed, &format!("client {number}"));
        let place = place(&plan, &machines, draw.below(plan.regions.len()));
        let client = Client::new(number, draw, place, &shared);
        working.push(client.run(plan.operations));
    }
    let change = async {
        if let Some(operator) = Operator::of(&plan, &machines, &shared) {
            operator.run().await;
        }
        shared.changing.set(false);
    };
    futures::future::join(futures::future::join_all(working), change).await;
    shared.phase.set(Phase::Heal);
    ready(&machines).await?;
    let mut looking = Vec::new();
    for region in 0..plan.regions.len() {
        let place = place(&plan, &machines, region);
        for node in place.nodes() {
            let number = plan.clients + looking.len();
            let draw = Draw::new(plan.seed, &format!("look at {node}"));
            let mut client = Client::new(number, draw, place.clone(), &shared);
            looking.push(async move { client.verify(node, READY_WITHIN).await });
        }
    }
    futures::future::join_all(looking).await;
    Ok(())
}

fn place(plan: &Plan, machines: &[Machine], region: usize) -> Place {
    let (name, _) = &plan.regions[region];
    let own = machines.iter();
    let own = own.filter(|machine| machine.region.as_str() == *name);
    Place {
        region: (*name).to_owned(),
        machines: own.cloned().collect(),
        repository: if region == 0 { REPLICATED } else { OWN },
    }
}

/// Waits until every node answers.
async fn ready(machines: &[Machine]) -> anyhow::Result<()> {
    let until = Instant::now() + READY_WITHIN;
    for node in machines.iter().filter(|machine| machine.is_in()) {
        let node = node.id;
        loop {
            let answer = Ask::get("/v2/").of(node).await;
            if answer.is_ok_and(|answer| answer.status == StatusCode::OK) {
                break;
            }
            anyhow::ensure!(
                Instant::now() < until,
                "node {node} does not answer although nothing is broken"
            );
            tokio::time::sleep(READY_RETRY).await;
        }
    }
    Ok(())
}
