//! What holding and waking came to.

use std::time::Duration;

use countersign_simulator::process::Usage;
use serde_json::{Value, json};

use super::Woken;
use crate::{LoadError, statistics::Latencies};

/// A wake-up that comes later is none.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// One side's held reads.
#[derive(Debug)]
pub(super) struct Side {
    /// The server while it held them.
    usage: Option<Usage>,
    from_request: Latencies,
    from_reply: Latencies,
    woken: usize,
    lost: usize,
}

impl Side {
    /// `cause` says when what woke a waiter was begun and answered.
    pub(super) fn new(
        usage: Option<Usage>,
        woken: &[Woken],
        cause: impl Fn(usize) -> Option<(Duration, Duration)>,
    ) -> Self {
        let (mut from_request, mut from_reply, mut lost) = (Vec::new(), Vec::new(), 0);
        for Woken { waiter, at, .. } in woken {
            let (begun, answered) = cause(*waiter).unwrap_or_default();
            from_request.push(at.saturating_sub(begun));
            from_reply.push(at.saturating_sub(answered));
            // Before its cause was begun it was not woken by it.
            lost += usize::from(*at < begun || at.saturating_sub(begun) > LOST_AFTER);
        }
        let (from_request, from_reply) = (from_request.into_iter().collect(), from_reply.into_iter().collect());
        Self { usage, from_request, from_reply, woken: woken.len(), lost }
    }

    fn to_json(&self) -> Value {
        json!({
            "woken": self.woken, "lost": self.lost,
            "resident_kib": self.usage.map(|usage| usage.resident_kib),
            "peak_resident_kib": self.usage.map(|usage| usage.peak_kib),
            "wake_millis": {"from_request": self.from_request.to_json(), "from_reply": self.from_reply.to_json()},
        })
    }

    fn to_text(&self, name: &str) -> String {
        let memory = self.usage.map_or_else(String::new, |usage| {
            format!("; the server has {} MiB, {} MiB at most", usage.resident_kib / 1024, usage.peak_kib / 1024)
        });
        format!(
            "\n{} {name} woken, {} lost{memory}\n  from the request  {}\n  from its reply    {}",
            self.woken,
            self.lost,
            self.from_request.to_text(),
            self.from_reply.to_text()
        )
    }
}

/// Both sides.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// The server before anything was held.
    pub(super) idle: Option<Usage>,
    pub(super) devices: Option<Side>,
    pub(super) callers: Option<Side>,
    /// How many callers' results hold.
    pub(super) verified: u64,
}

impl Figures {
    pub(super) fn to_json(&self, waiters: u32) -> Value {
        json!({
            "waiters": waiters, "verified": self.verified,
            "idle_resident_kib": self.idle.map(|usage| usage.resident_kib),
            "devices": self.devices.as_ref().map(Side::to_json), "callers": self.callers.as_ref().map(Side::to_json),
        })
    }

    pub(super) fn to_text(&self, waiters: u32) -> String {
        let idle = self.idle.map_or_else(String::new, |usage| format!("; before, {} MiB", usage.resident_kib / 1024));
        let side = |name, side: &Option<Side>| side.as_ref().map_or_else(String::new, |side| side.to_text(name));
        let verified = self.verified;
        format!(
            "{waiters} of each side{idle}; {verified} results verified{}{}",
            side("devices", &self.devices),
            side("callers", &self.callers)
        )
    }

    /// Whether all were woken.
    pub(super) fn judge(&self, waiters: usize) -> Result<(), LoadError> {
        for side in [&self.devices, &self.callers].into_iter().flatten() {
            if side.lost > 0 || side.woken != waiters {
                return Err(LoadError::Failed(format!(
                    "{waiters} waited, {} were woken, {} of them too late",
                    side.woken, side.lost
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(at_millis: &[u64]) -> Side {
        let woken: Vec<_> = at_millis
            .iter()
            .enumerate()
            .map(|(waiter, at)| Woken { waiter, at: Duration::from_millis(*at), kept: None })
            .collect();
        Side::new(None, &woken, |_| Some((Duration::from_millis(100), Duration::from_millis(105))))
    }

    #[test]
    fn a_wake_up_is_counted_from_its_cause() {
        let figures = side(&[102, 110]).to_json();
        assert_eq!(figures["wake_millis"]["from_request"]["max"], 10.0);
        assert_eq!(figures["wake_millis"]["from_reply"]["p50"], 0.0, "woken before the reply was there");
    }

    #[test]
    fn who_comes_too_late_or_before_the_cause_or_not_at_all_was_not_woken() {
        let judge = |side| Figures { callers: Some(side), ..Figures::default() }.judge(2);
        assert!(judge(side(&[102, 110])).is_ok());
        assert!(judge(side(&[102, 5_101])).is_err());
        assert!(judge(side(&[102, 99])).is_err());
        assert!(judge(side(&[102])).is_err());
    }
}
