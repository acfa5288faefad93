//! Proofs: what must hold at a size that no ordinary test has. `make test` runs each small, `make proof` in full.
//!
//! To add one: a test here whose size is [`rounds`], that asserts what must hold at any speed, and says its figures.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use countersign_simulator::stand_in::Behaviour;
use countersign_tests::{
    ApiClient, Device, TestApp,
    proof::{rounds, say},
    providers::{apns_options, both_with_providers, fcm_options},
};
use serde_json::Value;

/// Sign-ins that wait for their answer at any moment: their pushes are retried meanwhile.
const OPEN: usize = 20;

struct Stage<'a> {
    app: &'a TestApp,
    idp: &'a ApiClient,
    phones: Vec<Device>,
}

impl Stage<'_> {
    /// Creates challenges one after the other, answers each by pull some time later; returns how long creating took.
    async fn sign_in(&self, count: usize, is_expected: impl Fn(usize, &Value) -> bool) -> Vec<Duration> {
        let mut open = VecDeque::new();
        let mut took = Vec::with_capacity(count);
        for round in 0..count {
            let user = round % self.phones.len();
            let began = now();
            let challenge = self.idp.plain_challenge(&format!("user-{user}")).await;
            took.push(now() - began);
            assert!(is_expected(round, &challenge), "round {round}: {challenge}");
            open.push_back((user, challenge));
            if open.len() > OPEN {
                self.answer(open.pop_front()).await;
            }
            if round % 3 == 0 {
                self.app.clock.advance(1);
            }
        }
        while !open.is_empty() {
            self.answer(open.pop_front()).await;
        }
        took
    }

    async fn answer(&self, open: Option<(usize, Value)>) {
        let (user, challenge) = open.unwrap();
        let phone = &self.phones[user];
        phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
        assert_eq!(self.idp.show(&challenge).await["status"], "approved");
    }
}

#[expect(clippy::disallowed_methods, reason = "real time is what is measured; nothing is asserted of it")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut took: Vec<Duration>) -> f64 {
    took.sort();
    took[took.len() / 2].as_secs_f64() * 1_000.0
}

#[tokio::test]
async fn both_providers_may_be_dead_for_an_hour_and_every_sign_in_completes() {
    both_with_providers(async |app, providers| {
        let idp = app.admin().await;
        app.ring_without_limit().await;
        let mut phones = Vec::new();
        for user in 0..40 {
            // Not all zeros: that token is none.
            let token = format!("{:064}", user + 1);
            let options = if user % 2 == 0 { apns_options(&token) } else { fcm_options(&token) };
            phones.push(idp.enroll_with(&format!("user-{user}"), options).await);
        }
        let stage = Stage { app, idp: &idp, phones };
        let is_well = |_, challenge: &Value| challenge["push_status"] == "ok";
        let mut well = stage.sign_in(rounds(60, 1_000), is_well).await;

        providers.apns.always(Some(Behaviour::ResetConnection {}));
        providers.fcm.always(Some(Behaviour::status(503)));
        // Until a few pushes have failed nobody can know; from then on each reply says so, at once.
        let count = rounds(240, 10_000);
        let dead = stage.sign_in(count, |round, challenge| round < 60 || challenge["push_status"] == "degraded").await;
        providers.apns.always(None);
        providers.fcm.always(None);
        // Well again, so that a machine that got busier or quieter meanwhile does not pass for the providers. The first
        // few pushes are the probes that close the circuits.
        well.extend(stage.sign_in(rounds(60, 1_000), |round, challenge| round < 60 || is_well(round, challenge)).await);
        let (well, dead) = (median(well), median(dead));
        say(&format!(
            "outage, {:?}: {count} sign-ins completed by pull; median of creating {dead:.2} ms with both providers \
             dead, {well:.2} ms with both well (ratio {:.2})",
            app.database.db(),
            dead / well
        ));
    })
    .await;
}
