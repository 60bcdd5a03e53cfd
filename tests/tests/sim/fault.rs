//! What goes wrong, and for how long.

use crate::net::Quality;
use crate::world::{AGENTS, Event, World};

const HOUR_MS: i64 = 3_600_000;

/// A fault, of one agent or of the aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// No packet passes between an agent and the aggregator.
    Cut(usize),
    /// The aggregator is cut off from all.
    CutAll,
    /// SIGKILL of an agent.
    KillAgent(usize),
    /// SIGTERM of an agent.
    StopAgent(usize),
    /// SIGSTOP of an agent.
    Freeze(usize),
    /// An agent's disk takes no new file.
    FullSpool(usize),
    /// The aggregator reads no samples of an agent: its queue is full.
    Stall(usize),
    /// SIGKILL of the aggregator, with a write under way or not.
    KillAggregator(bool),
    /// SIGTERM of the aggregator.
    StopAggregator,
    /// The aggregator's disk is full.
    FullDisk,
    /// An agent's clock jumps.
    AgentClock(usize, bool),
    /// The aggregator's clock jumps.
    AggregatorClock(bool),
    /// The path of an agent changes.
    Reroute(usize),
}

impl World {
    /// Draws what goes wrong, and when.
    pub(crate) fn draw_faults(&mut self) {
        let count = self.random.between(6, 40);
        for _ in 0..count {
            let when = self.random.below(self.chaos_ends);
            let fault = self.draw_fault();
            self.at(when, Event::Fault(fault));
        }
    }

    fn draw_fault(&mut self) -> Fault {
        let agent = self.random.index(AGENTS);
        let coin = self.random.once_in(2);
        match self.random.below(24) {
            0..=4 => Fault::Cut(agent),
            5 => Fault::CutAll,
            6..=8 => Fault::KillAgent(agent),
            9 | 10 => Fault::StopAgent(agent),
            11 | 12 => Fault::Freeze(agent),
            13 | 14 => Fault::FullSpool(agent),
            15 | 16 => Fault::Stall(agent),
            17 => Fault::KillAggregator(coin),
            18 => Fault::StopAggregator,
            19 => Fault::FullDisk,
            20 | 21 => Fault::AgentClock(agent, coin),
            22 => Fault::AggregatorClock(coin),
            _ => Fault::Reroute(agent),
        }
    }

    pub(crate) fn begin_fault(&mut self, fault: Fault) {
        if self.is_healed {
            return;
        }
        let jump = |ahead: bool| if ahead { HOUR_MS } else { -HOUR_MS };
        let lasts = self.lasts(fault);
        match fault {
            Fault::Cut(agent) => self.cut(agent),
            Fault::CutAll => (0..AGENTS).for_each(|agent| self.cut(agent)),
            Fault::KillAgent(agent) => self.kill_agent(agent),
            Fault::StopAgent(agent) => self.stop_agent(agent),
            Fault::Freeze(agent) => {
                self.cut(agent);
                self.agents[agent].frozen_until = self.agents[agent].frozen_until.max(self.now + lasts);
            }
            Fault::FullSpool(agent) if self.agents[agent].is_disk_full => {}
            Fault::FullSpool(agent) if self.agents[agent].custody.is_none() => {}
            Fault::FullSpool(agent) => {
                self.agents[agent].fill_disk();
                let instance = self.agents[agent].instance;
                self.oracle.disk_full(instance);
            }
            Fault::Stall(agent) => {
                if let Some(held) = self.agents[agent].link.and_then(|link| self.links[link].as_mut()) {
                    held.aggregator.reads_from = self.now + lasts;
                }
            }
            Fault::KillAggregator(is_torn) => self.kill_aggregator(is_torn),
            Fault::StopAggregator => self.stop_aggregator(),
            Fault::FullDisk => self.aggregator.is_disk_full = true,
            Fault::AgentClock(agent, ahead) => self.agents[agent].clock_offset_ms += jump(ahead),
            Fault::AggregatorClock(ahead) => self.aggregator.clock_offset_ms += jump(ahead),
            Fault::Reroute(agent) => self.agents[agent].quality = Quality::draw(&mut self.random),
        }
        self.trace.note(self.now, name(fault), agent_of(fault), lasts);
        self.at(self.now + lasts, Event::Undo(fault));
    }

    fn lasts(&mut self, fault: Fault) -> u64 {
        match fault {
            Fault::Cut(_) | Fault::CutAll => {
                let longest = if self.random.once_in(2) { 2500 } else { 20_000 };
                self.random.between(50, longest)
            }
            // What waits for the thaw knows when it is: healing does not bring it forward.
            Fault::Freeze(_) => self.random.between(50, 12_000).min(self.chaos_ends - self.now),
            Fault::KillAgent(_) | Fault::StopAgent(_) => self.random.between(10, 8000),
            Fault::KillAggregator(_) | Fault::StopAggregator => self.random.between(100, 12_000),
            Fault::FullSpool(_) | Fault::Stall(_) | Fault::FullDisk => self.random.between(500, 25_000),
            Fault::AgentClock(..) | Fault::AggregatorClock(_) | Fault::Reroute(_) => 0,
        }
    }

    pub(crate) fn end_fault(&mut self, fault: Fault) {
        if self.is_healed {
            return;
        }
        match fault {
            Fault::Cut(agent) | Fault::Freeze(agent) => self.mend(agent),
            Fault::CutAll => (0..AGENTS).for_each(|agent| self.mend(agent)),
            Fault::KillAgent(agent) | Fault::StopAgent(agent) => self.start_agent(agent),
            Fault::FullSpool(agent) => self.agents[agent].free_disk(),
            Fault::KillAggregator(_) | Fault::StopAggregator => self.start_aggregator(),
            Fault::FullDisk => self.aggregator.is_disk_full = false,
            Fault::Stall(_) | Fault::AgentClock(..) | Fault::AggregatorClock(_) | Fault::Reroute(_) => {}
        }
    }

    fn cut(&mut self, agent: usize) {
        self.agents[agent].cuts += 1;
        if self.agents[agent].cuts > 1 {
            return;
        }
        self.agents[agent].silence += 1;
        let silence = Some(self.agents[agent].silence);
        for link in self.links_of(agent) {
            for is_agent in [true, false] {
                let when = self.gives_up_at();
                self.at(when, Event::Idle { link, is_agent, silence });
            }
        }
    }

    /// The path is whole again: what either end still holds is sent again.
    fn mend(&mut self, agent: usize) {
        let held = &mut self.agents[agent];
        held.cuts -= 1;
        if held.cuts > 0 {
            return;
        }
        held.silence += 1;
        held.mended_at = self.now;
        let quality = held.quality;
        for number in self.links_of(agent) {
            let again = self.now + quality.delay(&mut self.random);
            let Some(link) = &mut self.links[number] else { continue };
            for (stream, arrival) in link.net.hold(again) {
                self.at(arrival, Event::Arrive { link: number, stream: stream as u8 });
            }
        }
    }

    fn links_of(&self, agent: usize) -> Vec<usize> {
        let of = |link: &Option<_>| {
            link.as_ref().is_some_and(|link: &crate::session::Link| link.net.agent == agent)
        };
        (0..self.links.len()).filter(|number| of(&self.links[*number])).collect()
    }

    /// Everything that went wrong is right again.
    pub(crate) fn heal(&mut self) {
        self.trace.note(self.now, "healed", 0, 0);
        for agent in 0..AGENTS {
            while self.agents[agent].cuts > 0 {
                self.mend(agent);
            }
            self.agents[agent].free_disk();
            self.start_agent(agent);
            if let Some(number) = self.agents[agent].link
                && let Some(link) = &mut self.links[number]
            {
                link.aggregator.reads_from = link.aggregator.reads_from.min(self.now);
                self.lanes_open(number);
            }
        }
        self.aggregator.is_disk_full = false;
        self.start_aggregator();
        self.is_healed = true;
    }
}

const fn agent_of(fault: Fault) -> usize {
    match fault {
        Fault::Cut(agent)
        | Fault::KillAgent(agent)
        | Fault::StopAgent(agent)
        | Fault::Freeze(agent)
        | Fault::FullSpool(agent)
        | Fault::Stall(agent)
        | Fault::AgentClock(agent, _)
        | Fault::Reroute(agent) => agent,
        Fault::CutAll
        | Fault::KillAggregator(_)
        | Fault::StopAggregator
        | Fault::FullDisk
        | Fault::AggregatorClock(_) => 0,
    }
}

const fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Cut(_) => "FAULT cut",
        Fault::CutAll => "FAULT cut all",
        Fault::KillAgent(_) => "FAULT kill agent",
        Fault::StopAgent(_) => "FAULT stop agent",
        Fault::Freeze(_) => "FAULT freeze",
        Fault::FullSpool(_) => "FAULT full spool",
        Fault::Stall(_) => "FAULT stall",
        Fault::KillAggregator(_) => "FAULT kill aggregator",
        Fault::StopAggregator => "FAULT stop aggregator",
        Fault::FullDisk => "FAULT full disk",
        Fault::AgentClock(..) => "FAULT agent clock",
        Fault::AggregatorClock(_) => "FAULT aggregator clock",
        Fault::Reroute(_) => "FAULT reroute",
    }
}
