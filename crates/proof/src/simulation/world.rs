//! One seed: a network that delays, repeats, reorders and loses, processes that die between any two steps, clocks that
//! drift and jump; then a calm in which everything must settle.
//!
//! Everything happens in one thread, in the order of one queue; all chance comes from the seed's dice. Whatever was found
//! is found again with the same seed and the same number of steps.

mod birth;
mod calm;

use std::collections::BTreeMap;

use countersign_core::policy::Policy;
use countersign_proto::{
    ids::{Id, TenantId},
    timestamp::Timestamp,
};

use super::{
    keys::Keys,
    node::{Context, Job, Next, Node, Reply, Request, Seeded, Stage, Vault},
    oracle::Oracle,
    people::Person,
    store::{Command, Outcome, Sabotage, Store},
    tables::Writes,
};
use crate::dice::Dice;

/// When the world begins, in unix milliseconds.
const BEGINNING: i64 = 1_800_000_000_000;
/// How often a commit that nobody answered is run again.
const REPEATS: u8 = 3;

/// How a seed is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) steps: u64,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) trace: bool,
}

/// What can happen next.
#[derive(Debug)]
enum Happening {
    /// A call reaches a node.
    Arrives(Box<Job>),
    /// A node goes on with a call.
    Goes(Box<Job>, Option<Outcome>),
    /// A write asks for its locks.
    Begins(Box<Job>, Command, u8),
    Commits(Box<Job>, u64, u8),
    /// What belongs to a commit and is written after it.
    Follows {
        node: usize,
        life: u32,
        writes: Writes,
    },
    Hears(usize, Request, Reply),
    Acts(usize),
    Works(usize, u8),
    Trouble,
    Wakes(usize),
}

/// How rough a seed is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Of a hundred messages.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Of a hundred commits, those of which no answer comes.
    pub(crate) unanswered: u64,
    pub(crate) longest_delay: u64,
    /// The longest jump of a clock; 0: none.
    pub(crate) jump: i64,
    /// Between two troubles.
    pub(crate) trouble_every: u64,
}

/// What a run did.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) crashes: u64,
    pub(crate) jumps: u64,
    pub(crate) commits: u64,
    pub(crate) decisions: u64,
    pub(crate) approvals: u64,
    /// The step and what was broken.
    pub(crate) violations: Vec<(u64, String)>,
    pub(crate) trace: Vec<String>,
}

/// See the module.
pub(crate) struct World<'k> {
    pub(crate) keys: &'k Keys,
    pub(crate) store: Store,
    pub(crate) nodes: Vec<Node>,
    pub(crate) people: Vec<Person>,
    pub(crate) policies: BTreeMap<TenantId, Policy>,
    pub(crate) vault: Vault,
    pub(crate) oracle: Oracle,
    pub(crate) dice: Dice,
    pub(crate) entropy: Seeded,
    /// The true time, in unix milliseconds.
    pub(crate) time: i64,
    /// The next key that nobody has.
    pub(crate) next_key: usize,
    pub(crate) texts: u64,
    queue: BTreeMap<(i64, u64), Happening>,
    queued: u64,
    weather: Weather,
    is_calm: bool,
    options: Options,
    tally: Tally,
}

/// Runs a seed.
pub(crate) fn run(seed: u64, keys: &Keys, options: Options) -> Tally {
    let mut world = World::born(seed, keys, options);
    world.storm();
    world.calm();
    world.told()
}

impl World<'_> {
    fn storm(&mut self) {
        for person in 0..self.people.len() {
            self.later(1_000, Happening::Acts(person));
        }
        for node in 0..self.nodes.len() {
            for work in 0..3 {
                self.later(2_000, Happening::Works(node, work));
            }
        }
        self.later(self.weather.trouble_every, Happening::Trouble);
        while self.tally.steps < self.options.steps && self.oracle.violations.is_empty() {
            let Some(((time, _), happening)) = self.queue.pop_first() else { break };
            self.time = self.time.max(time);
            self.tally.steps += 1;
            self.happens(happening);
        }
    }

    fn told(mut self) -> Tally {
        self.tally.violations = std::mem::take(&mut self.oracle.violations);
        (self.tally.decisions, self.tally.approvals) = (self.oracle.decisions, self.oracle.approvals);
        self.tally
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(mut job) => {
                let Some(node) = self.nodes.get(job.node).filter(|node| node.is_up) else { return };
                job.life = node.life;
                self.goes(job, None);
            }
            Happening::Goes(job, outcome) => self.goes(job, outcome),
            Happening::Begins(job, command, tries) => self.begins(job, command, tries),
            Happening::Commits(job, number, tries) => self.commits(job, number, tries),
            Happening::Follows { node, life, writes } => {
                if self.nodes.get(node).is_some_and(|row| row.is_up && row.life == life) {
                    self.store.tables.apply(writes);
                }
            }
            Happening::Hears(person, request, reply) => {
                self.trace(|| format!("{person} hears {reply:?}"));
                self.hears(person, request, reply);
            }
            Happening::Acts(person) => {
                if !self.is_calm {
                    self.acts(person);
                    self.later(1_500, Happening::Acts(person));
                }
            }
            Happening::Works(node, work) => self.works(node, work),
            Happening::Trouble => self.trouble(),
            Happening::Wakes(node) => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.is_up = true;
                }
            }
        }
    }

    fn works(&mut self, node: usize, work: u8) {
        let Some(row) = self.nodes.get(node) else { return };
        let request = match work {
            0 => Request::Sweep,
            1 => Request::Push,
            _ => Request::Tell,
        };
        if row.is_up {
            let job = self.job(node, None, request);
            self.queue_at(0, Happening::Arrives(Box::new(job)));
        }
        if !self.is_calm {
            self.later(4_000, Happening::Works(node, work));
        }
    }

    fn job(&self, node: usize, caller: Option<usize>, request: Request) -> Job {
        let life = self.nodes.get(node).map_or(0, |node| node.life);
        let (at, read_at) = (Timestamp::from_millis(self.time), self.tally.steps);
        Job { node, life, caller, request, stage: Stage::Start, tries: 0, at, read_at }
    }

    /// A step of a node.
    fn goes(&mut self, mut job: Box<Job>, outcome: Option<Outcome>) {
        let time = self.time;
        let Some(node) = self.nodes.get_mut(job.node).filter(|node| node.is_up && node.life == job.life) else {
            return;
        };
        let now = Timestamp::from_millis(time + node.offset + (time - BEGINNING) * node.drift / 1_000_000);
        let mut context = Context {
            store: &self.store,
            node,
            entropy: &self.entropy,
            vault: &self.vault,
            keys: self.keys,
            policies: &self.policies,
            dice: &mut self.dice,
            now,
            step: self.tally.steps,
            is_calm: self.is_calm,
        };
        let next = context.step(&mut job, outcome);
        self.trace(|| format!("node {} at {now:?}: {:?} -> {next:?}", job.node, job.request));
        match next {
            Next::Write(command) => self.later(5, Happening::Begins(job, command, 0)),
            Next::Later(millis) => self.queue_at(millis, Happening::Goes(job, None)),
            Next::Arrived(event, command) => {
                self.oracle.arrived(event);
                self.later(5, Happening::Begins(job, command, 0));
            }
            Next::Answer(reply) => self.answers(&job, reply),
            Next::Stop => {}
        }
    }

    fn begins(&mut self, job: Box<Job>, command: Command, tries: u8) {
        if !self.nodes.get(job.node).is_some_and(|node| node.is_up && node.life == job.life) {
            return;
        }
        match self.store.begin(job.node, command) {
            // Somebody holds one of its rows.
            Err(command) => self.later(3, Happening::Begins(job, *command, tries)),
            Ok(number) => {
                if self.store.is_sabotaged(Sabotage::EarlyReply) {
                    let outcome = self.store.outcome(number).cloned();
                    self.queue_at(0, Happening::Goes(job.clone(), outcome));
                }
                self.later(8, Happening::Commits(job, number, tries));
            }
        }
    }

    fn commits(&mut self, job: Box<Job>, number: u64, tries: u8) {
        let Some(open) = self.store.end(number) else { return };
        let fate = if self.is_calm { 100 } else { self.dice.below(100) };
        let is_answered = fate >= self.weather.unanswered;
        // Only the database knows what became of a commit that is not answered. Who finds their own traces ask again.
        let repeats = !is_answered && open.command.finds_itself() && tries < REPEATS;
        let again = repeats.then(|| open.command.clone());
        if is_answered || self.dice.percent(50) {
            let step = self.tally.steps;
            self.tally.commits += u64::from(open.writes.is_some());
            self.trace(|| format!("node {} commits {:?}", job.node, open.outcome));
            self.oracle.commits(step, &self.store.tables, &open, &self.vault);
            if let Some(writes) = open.writes {
                self.apply(&job, &open.command, writes);
            }
        }
        if self.store.is_sabotaged(Sabotage::EarlyReply) {
            return;
        }
        match again {
            Some(command) => self.later(20, Happening::Begins(job, command, tries + 1)),
            None if is_answered => self.later(5, Happening::Goes(job, Some(open.outcome))),
            None => self.later(20, Happening::Goes(job, Some(Outcome::Unavailable))),
        }
    }

    fn apply(&mut self, job: &Job, command: &Command, mut writes: Writes) {
        if self.store.is_sabotaged(Sabotage::EventApart) && !writes.events.is_empty() {
            let (events, messages) = (std::mem::take(&mut writes.events), std::mem::take(&mut writes.messages));
            let apart = Writes { events, messages, ..Writes::default() };
            self.later(30, Happening::Follows { node: job.node, life: job.life, writes: apart });
        }
        let users: Vec<_> = writes.users.keys().copied().collect();
        self.store.tables.apply(writes);
        let step = self.tally.steps;
        self.oracle.counters(step, &self.store.tables, &users);
        if let Command::Status(change) = command {
            self.oracle.barrier(step, &self.store.tables, change.device_id, change.stamp.at);
        }
    }

    fn answers(&mut self, job: &Job, reply: Reply) {
        let step = self.tally.steps;
        self.oracle.replies(step, job, &reply, &self.store.tables);
        let Some(caller) = job.caller.filter(|_| !self.is_calm) else { return };
        if !self.dice.percent(self.weather.lost) {
            self.later(self.weather.longest_delay, Happening::Hears(caller, job.request.clone(), reply));
        }
    }

    /// A call leaves for some node; it may arrive late, twice or never.
    pub(crate) fn sends(&mut self, caller: usize, request: Request) {
        let copies = if self.dice.percent(self.weather.lost) {
            0
        } else {
            1 + u8::from(self.dice.percent(self.weather.doubled))
        };
        for _ in 0..copies {
            let node = self.below(self.nodes.len());
            let job = self.job(node, Some(caller), request.clone());
            self.later(self.weather.longest_delay, Happening::Arrives(Box::new(job)));
        }
    }

    /// A process dies, or a clock is set.
    fn trouble(&mut self) {
        if self.is_calm {
            return;
        }
        let (number, jump) = (self.below(self.nodes.len()), self.weather.jump);
        let sets_clock = jump > 0 && self.dice.percent(40);
        let far = i64::try_from(self.dice.below(jump.unsigned_abs().saturating_mul(2).max(1))).unwrap_or(0) - jump;
        let holder = Id::from_uuid(
            countersign_core::entropy::new_id::<()>(Timestamp::from_millis(self.time), &self.entropy).as_uuid(),
        );
        self.trace(|| format!("trouble at node {number}: {}", if sets_clock { "its clock is set" } else { "it dies" }));
        if let Some(node) = self.nodes.get_mut(number) {
            if sets_clock {
                self.tally.jumps += 1;
                node.offset = far;
            } else {
                self.tally.crashes += 1;
                (node.is_up, node.life, node.holder) = (false, node.life + 1, holder);
                node.bound.clear();
                node.known.clear();
                self.store.drop_node(number);
                self.later(10_000, Happening::Wakes(number));
            }
        }
        self.later(self.weather.trouble_every, Happening::Trouble);
    }

    /// Somebody new is there.
    pub(crate) fn joins(&mut self, person: usize) {
        self.later(1_000, Happening::Acts(person));
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.dice.below(count as u64)).unwrap_or(0)
    }

    /// At some time from now on.
    fn later(&mut self, longest: u64, happening: Happening) {
        let millis = if self.is_calm { 0 } else { i64::try_from(self.dice.below(longest + 1)).unwrap_or(0) };
        self.queue_at(millis, happening);
    }

    fn queue_at(&mut self, millis: i64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.time + millis, self.queued), happening);
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.options.trace {
            self.tally.trace.push(format!("{:>5} {:>7} {}", self.tally.steps, self.time - BEGINNING, line()));
        }
    }
}
