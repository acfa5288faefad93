//! `countersign-proof http`: bytes that no client of good will sends, on raw connections, to a real server.
//!
//! Messages of HTTP/1 with two meanings or no end, floods of HTTP/2 by hand-written frames, connections that are silent,
//! slow or never read. All the while an honest client is answered; afterwards the server holds what it held before, has
//! not panicked, and stops cleanly. What an attacker is told is judged too: refusals, and never more answers than
//! requests. No time is judged but by ends that are far away.
//!
//! To add an attack: a line in `messages` or `frames`; one that misuses a connection itself: a method of [`Attack`].

mod frames;
mod messages;
mod probe;
mod raw;

use std::time::Duration;

use countersign_simulator::process::Usage;
use futures_util::future::join_all;

use self::{
    messages::Message,
    probe::Probe,
    raw::{Heard, Raw, Then, statuses},
};
use crate::{
    ProofError,
    dice::Dice,
    report::Report,
    rig::{Db, Node, Rig, RigArgs, until},
};

/// What the server may hold at its highest.
const MAX_RESIDENT_KIB: u64 = 512 * 1024;
/// How much more it may hold in the end than before: what its allocator keeps.
const MAX_KEPT_KIB: u64 = 128 * 1024;
/// Connections of its own pool that may have come meanwhile.
const MAX_MORE_DESCRIPTORS: u64 = 8;

/// Connections with mutated messages, or random frames, at once.
const AT_ONCE: u64 = 20;
/// Kinds of floods at once.
const FLOODS_AT_ONCE: usize = 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    rig: RigArgs,
    /// How often everything is done.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Connections of each slow kind, and of each flood.
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Mutated messages in each round.
    #[arg(long, default_value_t = 300)]
    mutations: u64,
    /// Wait also until the server has let go of those who never read, which takes it minutes.
    #[arg(long)]
    patient: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One run.
struct Attack<'a> {
    args: &'a Args,
    port: u16,
    report: Report,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let rig = Rig::new(&args.rig, Db::Sqlite).await?.set("server.max_connections", "4000");
    let key = rig.api_key("devices:read", None).await?;
    let node = rig.start().await?;
    let mut attack = Attack { args: &args, port: rig.port, report: Report::new("http") };
    attack.report.figure("seed", args.seed);
    Probe::start(&rig.url(), key.clone())?.finish().await?;
    let before = usage(&node)?;
    let probe = Probe::start(&rig.url(), key)?;
    for round in 0..args.rounds {
        attack.round(&mut Dice::new(args.seed).part(round)).await?;
    }
    let asked = probe.finish().await?;
    attack.report.figure("requests of an honest client answered", asked.answered);
    attack.report.figure("slowest of them in ms", asked.slowest_millis);
    attack.report.figure("not answered", asked.failed.len());
    attack.report.absorb(asked.failed);
    attack.judge_what_is_left(&node, before.resident_kib, before.descriptors).await?;
    let log = node.own_log()?;
    attack.report.absorb(log.lines().filter(|line| line.contains("\"level\":\"ERROR\"")).map(str::to_owned));
    let ended = node.stop().await?;
    if ended != Some(0) {
        attack.report.violated(format!("the server did not stop cleanly: {ended:?}"));
    }
    attack.report.absorb(rig.panics()?);
    rig.finish().await?;
    Ok(attack.report)
}

fn usage(node: &Node) -> Result<Usage, ProofError> {
    node.usage().ok_or_else(|| ProofError::Rig("what the server holds cannot be read (no /proc)".to_owned()))
}

impl Attack<'_> {
    async fn round(&mut self, dice: &mut Dice) -> Result<(), ProofError> {
        // Those who never read are there all the while.
        let greedy = self.held(&messages::greedy()).await?;
        let stalled = self.held(&frames::stalled()).await?;
        self.tell(messages::all()).await?;
        for _ in 0..self.args.mutations.div_ceil(AT_ONCE) {
            self.tell_mutated(dice).await?;
        }
        self.break_off().await?;
        self.be_slow().await?;
        self.flood(frames::all(1)).await?;
        for _ in 0..self.args.mutations.div_ceil(AT_ONCE) {
            self.frames_at_random(dice).await?;
        }
        if self.args.patient {
            // HTTP/2 streams may wait as long as their connection lives and the peer is there; those of HTTP/1 may not.
            for is_let_go in join_all(greedy.into_iter().map(Raw::let_go)).await {
                self.report.count("connections that never read", 1);
                if !is_let_go {
                    self.report.violated("a connection that never read was never let go");
                }
            }
        }
        drop(stalled);
        Ok(())
    }

    /// Connections that have sent this and read nothing.
    async fn held(&mut self, bytes: &[u8]) -> Result<Vec<Raw>, ProofError> {
        let mut held = Vec::new();
        for _ in 0..self.args.connections {
            let mut raw = Raw::open(self.port).await?;
            // What the server does not take it does not hold either.
            let _taken = raw.send(bytes).await;
            held.push(raw);
        }
        Ok(held)
    }

    async fn tell(&mut self, messages: Vec<Message>) -> Result<(), ProofError> {
        let mut under_way = Vec::new();
        for message in &messages {
            under_way.push(Raw::open(self.port).await?.exchange(&message.bytes, Then::Waits));
        }
        for (message, heard) in messages.iter().zip(join_all(under_way).await) {
            self.report.count("messages of two meanings or no end", 1);
            let found = statuses(&heard.bytes);
            let holds = match (message.due, &found) {
                (messages::Due::Refusal, Some(found)) => is_refusal(found),
                (messages::Due::Answers(due), Some(found)) => found == due,
                (_, None) => false,
            };
            if !holds || !heard.is_closed {
                self.report.violated(format!("{}: {found:?}, closed: {}", message.name, heard.is_closed));
            }
        }
        Ok(())
    }

    async fn tell_mutated(&mut self, dice: &mut Dice) -> Result<(), ProofError> {
        let messages: Vec<_> = (0..AT_ONCE).map(|_| messages::mutated(dice)).collect();
        for (bytes, heard) in messages.iter().zip(self.exchange_all(&messages).await?) {
            self.report.count("mutated messages", 1);
            // Two requests at most can be in it, and what follows them can be refused once.
            let found =
                statuses(&heard.bytes).filter(|found| found.len() <= 3 && found.iter().all(|status| *status < 500));
            if found.is_none() || !heard.is_closed {
                self.report.violated(format!("mutated message {}: {:?}", lossy(bytes), lossy(&heard.bytes)));
            }
        }
        Ok(())
    }

    /// Each over a connection of its own, all at once; then the attacker has nothing more to say.
    async fn exchange_all(&self, messages: &[Vec<u8>]) -> Result<Vec<Heard>, ProofError> {
        let mut under_way = Vec::new();
        for bytes in messages {
            under_way.push(Raw::open(self.port).await?.exchange(bytes, Then::Ends));
        }
        Ok(join_all(under_way).await)
    }

    /// Requests whose sender is gone before the answer, or in the middle of the body.
    async fn break_off(&mut self) -> Result<(), ProofError> {
        let (request, half) = (messages::greedy(), messages::endless(true));
        for _ in 0..self.args.connections {
            for bytes in [&request, &half] {
                let mut raw = Raw::open(self.port).await?;
                let _taken = raw.send(bytes).await;
                self.report.count("requests broken off", 1);
            }
        }
        Ok(())
    }

    /// Silence, headers and bodies byte by byte: each is let go, with a refusal at most.
    async fn be_slow(&mut self) -> Result<(), ProofError> {
        let (headers, body) = (messages::endless(false), messages::endless(true));
        let mut slow = Vec::new();
        for _ in 0..self.args.connections {
            for (bytes, begun) in [(&[][..], 0), (headers.as_slice(), 60), (body.as_slice(), 200)] {
                let (at_once, rest) = bytes.split_at(begun.min(bytes.len()));
                let mut raw = Raw::open(self.port).await?;
                let _taken = raw.send(at_once).await;
                slow.push(raw.dribble(rest, Duration::from_millis(500)));
            }
        }
        for heard in join_all(slow).await {
            self.report.count("connections that were silent or slow", 1);
            let refused = statuses(&heard.bytes)
                .is_some_and(|found| found.len() <= 1 && found.iter().all(|status| status / 100 == 4));
            if !heard.is_closed || !refused {
                self.report.violated(format!("a slow client: closed {}, {}", heard.is_closed, lossy(&heard.bytes)));
            }
        }
        Ok(())
    }

    async fn flood(&mut self, floods: Vec<frames::Flood>) -> Result<(), ProofError> {
        for floods in floods.chunks(FLOODS_AT_ONCE) {
            let mut under_way = Vec::new();
            for flood in floods {
                let then = if flood.due == frames::Due::End { Then::Waits } else { Then::Ends };
                for _ in 0..self.args.connections.div_ceil(20) {
                    let raw = Raw::open(self.port).await?;
                    under_way.push(async move { (flood, raw.exchange(&flood.bytes, then).await) });
                }
            }
            for (flood, heard) in join_all(under_way).await {
                self.report.count("floods and misuses of HTTP/2", 1);
                self.judge_frames(flood.name, &flood.bytes, &heard, flood.due == frames::Due::End);
            }
        }
        Ok(())
    }

    async fn frames_at_random(&mut self, dice: &mut Dice) -> Result<(), ProofError> {
        let connections: Vec<_> = (0..AT_ONCE).map(|_| frames::random(dice)).collect();
        for (bytes, heard) in connections.iter().zip(self.exchange_all(&connections).await?) {
            self.report.count("connections of random frames", 1);
            self.judge_frames("random frames", bytes, &heard, false);
        }
        Ok(())
    }

    fn judge_frames(&mut self, name: &str, sent: &[u8], heard: &Heard, must_end: bool) {
        let said = frames::said(&heard.bytes);
        let asked = frames::requests(sent);
        if said.answers.len() > asked || said.answers.values().any(|count| *count > 1) {
            self.report
                .violated(format!("{name}: {} streams were answered, {asked} were asked on", said.answers.len()));
        }
        let has_ended = heard.is_closed || (must_end && said.has_said_goodbye);
        if !has_ended {
            self.report.violated(format!("{name}: the connection goes on"));
        }
    }

    /// Memory and descriptors come back; the panics and the log are judged by the caller.
    async fn judge_what_is_left(&mut self, node: &Node, resident_kib: u64, descriptors: u64) -> Result<(), ProofError> {
        let most = descriptors.saturating_add(MAX_MORE_DESCRIPTORS);
        let given_back = until("descriptors come back", async || Ok(usage(node)?.descriptors <= most)).await;
        let after = usage(node)?;
        if given_back.is_err() {
            self.report.violated(format!("{} descriptors, {descriptors} before", after.descriptors));
        }
        if after.peak_kib > MAX_RESIDENT_KIB || after.resident_kib > resident_kib.saturating_add(MAX_KEPT_KIB) {
            let (peak, now) = (after.peak_kib, after.resident_kib);
            self.report.violated(format!("memory: {peak} KiB at its highest, {now} now, {resident_kib} before"));
        }
        self.report.figure("KiB before", resident_kib);
        self.report.figure("KiB at the highest", after.peak_kib);
        self.report.figure("KiB after", after.resident_kib);
        self.report.figure("descriptors before", descriptors);
        self.report.figure("descriptors after", after.descriptors);
        Ok(())
    }
}

/// At most one answer, and that a 4xx.
fn is_refusal(statuses: &[u16]) -> bool {
    statuses.len() <= 1 && statuses.iter().all(|status| status / 100 == 4)
}

/// The beginning of it, to be shown.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(400).collect::<String>().escape_debug().to_string()
}
