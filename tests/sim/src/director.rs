//! Carries out the plan: faults begin and end when it says so, and all of them
//! end when clients have done their work.

use std::time::Duration;

use std::sync::atomic::Ordering;
use turmoil::Sim;

use crate::machine::{Machine, Standing, Wish};
use crate::plan::{Event, Host, Plan};
use crate::world::{CLIENTS, Phase};

pub(crate) struct Director {
    plan: Plan,
    machines: Vec<Machine>,
    /// The next event.
    next: usize,
    began: Option<Duration>,
    is_healed: bool,
}

// === impl Director ===

impl Director {
    pub(crate) fn new(plan: &Plan, machines: &[Machine]) -> Self {
        Self {
            plan: plan.clone(),
            machines: machines.to_vec(),
            next: 0,
            began: None,
            is_healed: false,
        }
    }

    /// After each tick.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, phase: Phase) {
        for machine in &self.machines {
            match machine.take_wish() {
                Some(Wish::Start) => self.start(sim, machine.id),
                Some(Wish::End) => self.end(sim, machine.id),
                None => {}
            }
        }
        match phase {
            Phase::Start => {}
            Phase::Work => {
                let began = *self.began.get_or_insert(sim.elapsed());
                while let Some((at, event)) = self.plan.events.get(self.next)
                    && began + *at <= sim.elapsed()
                {
                    let event = event.clone();
                    self.next += 1;
                    tracing::info!(?event, "director");
                    self.carry_out(sim, &event);
                }
            }
            Phase::Heal if self.is_healed => {}
            Phase::Heal => {
                self.is_healed = true;
                self.heal(sim);
            }
        }
    }

    fn carry_out(&self, sim: &mut Sim<'_>, event: &Event) {
        match event {
            Event::Kill(node) => self.end(sim, *node),
            Event::CutPower(node, keep) => {
                if let Some(machine) = self.machine(*node) {
                    machine.cut_power(*keep);
                }
                self.end(sim, *node);
            }
            Event::Stop(node) => {
                if let Some(machine) = self.machine(*node)
                    && sim.is_host_running(machine.name())
                {
                    machine.ask_to_stop();
                }
            }
            Event::Start(node) => self.start(sim, *node),
            Event::Cut(from, to) if from != to => {
                sim.partition_oneway(host(*from), host(*to));
            }
            Event::Mend(from, to) if from != to => sim.repair_oneway(host(*from), host(*to)),
            Event::Hold(one, other) if one != other => sim.hold(node(*one), node(*other)),
            Event::Release(one, other) if one != other => sim.release(node(*one), node(*other)),
            Event::Slow(one, other, most) if one != other => {
                self.set_latency(sim, *one, *other, *most);
            }
            Event::Cut(..)
            | Event::Mend(..)
            | Event::Hold(..)
            | Event::Release(..)
            | Event::Slow(..) => {}
            Event::Skew(node, skew) => {
                if let Some(machine) = self.machine(*node) {
                    machine.skew_ms.store(*skew, Ordering::Relaxed);
                }
            }
        }
    }

    fn heal(&self, sim: &mut Sim<'_>) {
        tracing::info!("director heals");
        for (index, one) in self.machines.iter().enumerate() {
            sim.repair(one.name(), CLIENTS);
            for other in &self.machines[index + 1..] {
                sim.release(one.name(), other.name());
                sim.repair(one.name(), other.name());
                self.set_latency(sim, one.id, other.id, None);
            }
        }
        for machine in &self.machines {
            self.start(sim, machine.id);
        }
    }

    /// `most`: of a slow link. One to another region is slow from the first
    /// message on, since all of its messages take the same.
    fn set_latency(&self, sim: &mut Sim<'_>, one: u64, other: u64, most: Option<Duration>) {
        let region = |id| self.machine(id).map(|machine| &machine.region);
        if region(one) == region(other) {
            let most = most.unwrap_or(self.plan.near.1);
            sim.set_link_max_message_latency(node(one), node(other), most);
        } else {
            let most = most.unwrap_or_default().max(self.plan.far);
            sim.set_link_latency(node(one), node(other), most);
        }
    }

    /// Starts a node that does not run, or is about to stop.
    fn start(&self, sim: &mut Sim<'_>, node: u64) {
        let Some(machine) = self.machine(node) else {
            return;
        };
        if matches!(machine.standing(), Standing::Spare | Standing::Gone) {
            return;
        }
        if sim.is_host_running(machine.name()) {
            if !machine.is_stopping() {
                return;
            }
            self.end(sim, node);
        }
        sim.bounce(machine.name());
    }

    /// The process is gone from one moment to the next.
    fn end(&self, sim: &mut Sim<'_>, node: u64) {
        if let Some(machine) = self.machine(node) {
            sim.crash(machine.name());
            machine.ended();
        }
    }

    fn machine(&self, node: u64) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.id == node)
    }
}

fn host(host: Host) -> String {
    match host {
        Host::Node(id) => node(id),
        Host::Clients => CLIENTS.to_owned(),
    }
}

fn node(id: u64) -> String {
    crate::machine::name(id)
}
