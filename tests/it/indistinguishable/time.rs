//! How long what is somebody else's takes, beside two things that are nobody's.
//!
//! Nothing is asserted of it: a figure for whoever runs `make proof`. The two that are nobody's are asked about in the
//! same round, and are the control: however the machine is, they differ by chance only.

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use countersign_tests::{
    Db,
    proof::{rounds, say},
};

use super::asks::Ask;

/// The operations that are timed: a read, a write and a device's own, of each sort.
const TIMED: [&str; 12] = [
    "users.show ",
    "users.export ",
    "users.erase ",
    "devices.show ",
    "devices.revoke ",
    "challenges.show ",
    "challenges.cancel ",
    "enrollments.show ",
    "webhooks.show ",
    "api_clients.change ",
    "device_api.fetch ",
    "device_api.respond ",
];

#[expect(clippy::disallowed_methods, reason = "real time is what is measured; nothing is asserted of it")]
fn now() -> Instant {
    Instant::now()
}

fn median(took: &[Duration]) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2].as_secs_f64() * 1_000.0
}

/// The Mann-Whitney statistic of the first against the second, as standard deviations from what chance would give.
fn ranks(first: &[Duration], second: &[Duration]) -> f64 {
    let mut above = 0.0;
    let mut sorted = second.to_vec();
    sorted.sort();
    for took in first {
        let below = sorted.partition_point(|other| other.cmp(took) == Ordering::Less);
        let not_above = sorted.partition_point(|other| other <= took);
        above += f64::from(u32::try_from(below + not_above).unwrap()) / 2.0;
    }
    let (n, m) = (f64::from(u32::try_from(first.len()).unwrap()), f64::from(u32::try_from(second.len()).unwrap()));
    (above - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

#[test]
fn ranks_tell_longer_from_shorter_and_find_nothing_where_nothing_is() {
    let times = |from: u64| (from..from + 100).map(Duration::from_millis).collect::<Vec<_>>();
    assert!(ranks(&times(0), &times(0)).abs() < 1e-9);
    assert!(ranks(&times(50), &times(0)) > 5.0);
    assert!(ranks(&times(0), &times(50)) < -5.0);
}

/// Takes the time of the questions that are timed, under `make proof`.
pub(crate) async fn take(asks: &[Ask], db: Db) {
    let samples = rounds(0, 2_000);
    if samples == 0 {
        return;
    }
    for ask in asks.iter().filter(|ask| TIMED.iter().any(|name| ask.name.starts_with(name))) {
        let ids = [ask.foreign.clone(), ask.unknown('1'), ask.unknown('2')];
        let mut took: [Vec<Duration>; 3] = Default::default();
        for round in 0..samples {
            // Each is first, second and third as often as the others.
            for turn in 0..3 {
                let which = (round + turn) % 3;
                let began = now();
                ask.about(&ids[which]).await;
                took[which].push(now() - began);
            }
        }
        let [foreign, unknown, control] = &took;
        let (difference, chance) = (ranks(foreign, unknown), ranks(control, unknown));
        let whose = if ask.is_own_tenants { "own organisation" } else { "another's" };
        say(&format!(
            "{db:?}, {}, {whose}: {samples} rounds, medians somebody else's {:.3} ms, nobody's {:.3} ms and {:.3} ms; \
             z of somebody else's {difference:+.2}, of the control {chance:+.2}",
            ask.name,
            median(foreign),
            median(unknown),
            median(control),
        ));
    }
}
