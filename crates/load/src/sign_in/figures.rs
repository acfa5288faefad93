//! What a run of sign-ins came to, for people and for scripts.

use std::time::Duration;

use countersign_simulator::process::Usage;
use serde_json::{Map, Value, json};

use super::{Args, Sample};
use crate::{
    LoadError,
    results::Kept,
    statistics::{Latencies, rounded},
};

/// How long one of a sign-in's steps took.
type Took = fn(&Sample) -> Duration;

/// Each latency with its name. Their meaning is documented at [`Sample`].
const LATENCIES: [(&str, Took); 7] = [
    ("create", |sample| sample.create),
    ("pull", |sample| sample.pull),
    ("respond", |sample| sample.respond),
    ("wait", |sample| sample.wait),
    ("response_to_caller", |sample| sample.response_to_caller),
    ("reply_to_caller", |sample| sample.reply_to_caller),
    ("whole", |sample| sample.whole),
];
/// An open loop that begins its sign-ins later than this has not kept its rate.
const TOLERABLE_LATENESS: Duration = Duration::from_millis(5);

/// What was measured.
#[derive(Debug)]
pub(super) struct Figures {
    /// What counts.
    pub(super) samples: Vec<Sample>,
    /// Every result, to be verified.
    pub(super) kept: Vec<Kept>,
    /// How long what counts took.
    pub(super) took: Duration,
    /// The server's usage, if its process is known, and one's own.
    pub(super) before: (Option<Usage>, Option<Usage>),
    pub(super) after: (Option<Usage>, Option<Usage>),
    /// How many results hold.
    pub(super) verified: u64,
}

impl Figures {
    fn per_second(&self) -> f64 {
        if self.took.is_zero() { 0.0 } else { self.count() / self.took.as_secs_f64() }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    fn count(&self) -> f64 {
        self.samples.len() as f64
    }

    fn latencies(&self, of: Took) -> Latencies {
        self.samples.iter().map(of).collect()
    }

    /// Sign-ins that began later than they should have, and the longest delay.
    fn lateness(&self) -> (usize, Duration) {
        let late = self.samples.iter().filter(|sample| sample.late > TOLERABLE_LATENESS).count();
        (late, self.samples.iter().map(|sample| sample.late).max().unwrap_or_default())
    }

    /// Processor time per sign-in in microseconds, and what the memory is.
    fn usage(&self, before: Option<Usage>, after: Option<Usage>) -> Option<(f64, Usage)> {
        let (before, after) = (before?, after?);
        let micros = if self.samples.is_empty() { 0.0 } else { after.since(before).as_secs_f64() * 1e6 / self.count() };
        Some((micros, after))
    }

    pub(super) fn to_json(&self, arguments: &Args) -> Value {
        let latencies: Map<String, Value> =
            LATENCIES.iter().map(|(name, of)| ((*name).to_owned(), self.latencies(*of).to_json())).collect();
        let usage = |before, after| {
            self.usage(before, after).map(|(micros, usage)| {
                json!({"processor_micros_per_sign_in": rounded(micros),
                    "resident_kib": usage.resident_kib, "peak_resident_kib": usage.peak_kib})
            })
        };
        let (late, latest) = self.lateness();
        json!({
            "sign_ins": self.samples.len(), "verified": self.verified,
            "flows": arguments.flows, "users": arguments.users, "rate": arguments.rate,
            "seconds": rounded(self.took.as_secs_f64()), "sign_ins_per_second": rounded(self.per_second()),
            "latency_millis": latencies,
            "began_late": late, "latest_beginning_millis": rounded(latest.as_secs_f64() * 1e3),
            "server": usage(self.before.0, self.after.0), "generator": usage(self.before.1, self.after.1),
        })
    }

    pub(super) fn to_text(&self, arguments: &Args) -> String {
        let mut text = format!(
            "{} sign-ins in {:.2} s, {} at a time: {:.0} per second; {} results verified",
            self.samples.len(),
            self.took.as_secs_f64(),
            arguments.flows,
            self.per_second(),
            self.verified
        );
        for (name, of) in LATENCIES {
            text.push_str(&format!("\n{name:>20}  {}", self.latencies(of).to_text()));
        }
        let sides = [("server", self.before.0, self.after.0), ("generator", self.before.1, self.after.1)];
        for (name, before, after) in sides {
            if let Some((micros, usage)) = self.usage(before, after) {
                text.push_str(&format!(
                    "\n{name:>20}  {micros:.0} µs of processor time per sign-in, {} MiB resident, {} MiB at most",
                    usage.resident_kib / 1024,
                    usage.peak_kib / 1024
                ));
            }
        }
        if arguments.rate.is_some() {
            let (late, latest) = self.lateness();
            text.push_str(&format!("\n{late} began late, the latest by {latest:.2?}"));
            if late > 0 {
                text.push_str(": the rate was not kept; latencies are counted from when they should have begun");
            }
        }
        text
    }

    /// Whether the figures are figures.
    pub(super) fn judge(&self) -> Result<(), LoadError> {
        if self.samples.is_empty() {
            return Err(LoadError::Failed("not one sign-in ended in the measured time".to_owned()));
        }
        Ok(())
    }
}
