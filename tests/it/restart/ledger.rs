//! What the server has acknowledged, and whether it is still so.
#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::{collections::BTreeSet, sync::Mutex};

use countersign_proto::{
    evidence::{self, Evidence},
    jose::Jwks,
    vocabulary::Decision,
};
use countersign_tests::{ApiClient, Database};
use serde_json::Value;
use tokio::sync::watch;

use crate::process::PATIENCE;

/// Something that got a 2xx; each names its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// The enrollment of this device was confirmed.
    DeviceActive(String),
    /// Somebody began to revoke this device; not acknowledged yet, it may be either way.
    RevokeBegun(String),
    /// This device is revoked.
    DeviceRevoked(String),
    /// This challenge was created.
    ChallengeCreated(String),
    /// This challenge got this end by its device's response.
    Decided(String, &'static str),
}

/// All facts, in order.
#[derive(Debug)]
pub(super) struct Ledger {
    facts: Mutex<Vec<Fact>>,
    count: watch::Sender<u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { facts: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Ledger {
    pub(super) fn add(&self, fact: Fact) {
        let mut facts = self.facts.lock().unwrap();
        facts.push(fact);
        self.count.send_replace(facts.len() as u64);
    }

    pub(super) fn len(&self) -> u64 {
        *self.count.borrow()
    }

    /// Waits until there are so many facts.
    pub(super) async fn until(&self, facts: u64) {
        let mut count = self.count.subscribe();
        tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= facts)).await.expect("load goes on").unwrap();
    }

    /// What is no longer as it was acknowledged, and what cannot be right whatever was.
    pub(super) async fn violations(&self, client: &ApiClient, database: &Database) -> Vec<String> {
        let facts = self.facts.lock().unwrap().clone();
        let keys: Jwks = serde_json::from_value(client.http().get("/.well-known/jwks.json").await.ok(200)).unwrap();
        let mut violations = Vec::new();
        let unsure = facts.iter().filter_map(|fact| match fact {
            Fact::RevokeBegun(id) => Some(id.clone()),
            _ => None,
        });
        let unsure: BTreeSet<_> = unsure.collect();
        for fact in &facts {
            let fault = match fact {
                Fact::RevokeBegun(_) => None,
                Fact::DeviceActive(id) if unsure.contains(id) => None,
                Fact::DeviceActive(id) => device_fault(client, id, "active").await,
                Fact::DeviceRevoked(id) => device_fault(client, id, "revoked").await,
                Fact::ChallengeCreated(id) => challenge_fault(client, &keys, id, None).await,
                Fact::Decided(id, status) => challenge_fault(client, &keys, id, Some(status)).await,
            };
            violations.extend(fault.map(|fault| format!("{fact:?}: {fault}")));
        }
        violations.extend(contradictions(database).await);
        violations
    }
}

async fn device_fault(client: &ApiClient, id: &str, status: &str) -> Option<String> {
    let reply = client.get(&format!("/v1/devices/{id}")).await;
    (reply.status != 200 || reply.json()["status"] != status).then(|| reply.text())
}

async fn challenge_fault(client: &ApiClient, keys: &Jwks, id: &str, status: Option<&str>) -> Option<String> {
    let reply = client.get(&format!("/v1/challenges/{id}?include=evidence")).await;
    if reply.status != 200 {
        return Some(reply.text());
    }
    let shown = reply.json();
    if status.is_some_and(|status| shown["status"] != status) {
        return Some(reply.text());
    }
    // Acknowledged or not: whoever sees an approval or a denial can prove it.
    let decision = match shown["status"].as_str() {
        Some("approved") => Decision::Approve,
        Some("denied") => Decision::Deny,
        _ => return None,
    };
    prove(&shown["evidence"], keys, id, decision).err()
}

/// Offline, as anybody could.
fn prove(evidence: &Value, keys: &Jwks, id: &str, decision: Decision) -> Result<(), String> {
    let evidence: Evidence = serde_json::from_value(evidence.clone()).map_err(|error| error.to_string())?;
    let verified =
        evidence::verify(&evidence, &|thumbprint| keys.find(thumbprint)).map_err(|error| error.to_string())?;
    if verified.challenge.jti == id && verified.response.decision == decision {
        Ok(())
    } else {
        Err("the evidence is of something else".to_owned())
    }
}

/// What the rows say against each other: each change and its event are one transaction, and counters count.
async fn contradictions(database: &Database) -> Vec<String> {
    let mut found = Vec::new();
    for (what, sql) in [
        (
            "approved without evidence",
            "SELECT count(*) FROM challenges WHERE status IN ('approved', 'denied') \
             AND (response IS NULL OR binding IS NULL OR device_id IS NULL OR decided_at IS NULL)",
        ),
        (
            "approvals without their event, or events without their approval",
            "SELECT abs((SELECT count(*) FROM challenges WHERE status = 'approved') - \
             (SELECT count(*) FROM events WHERE kind = 'challenge.approved'))",
        ),
        (
            "challenges without their event, or events without their challenge",
            "SELECT abs((SELECT count(*) FROM challenges) - \
             (SELECT count(*) FROM events WHERE kind = 'challenge.created'))",
        ),
        (
            "revoked devices without their event, or events without their device",
            "SELECT abs((SELECT count(*) FROM devices WHERE status = 'revoked') - \
             (SELECT count(*) FROM events WHERE kind = 'device.revoked'))",
        ),
        (
            "users whose counter of pending challenges is wrong",
            "SELECT count(*) FROM users WHERE pending_challenges <> (SELECT count(*) FROM challenges \
             WHERE challenges.user_id = users.id AND challenges.status = 'pending')",
        ),
        (
            "pending challenges without a delivery",
            "SELECT count(*) FROM challenges WHERE NOT EXISTS \
             (SELECT 1 FROM deliveries WHERE deliveries.challenge_id = challenges.id)",
        ),
    ] {
        let number = database.number(sql).await;
        if number != 0 {
            found.push(format!("{number} {what}"));
        }
    }
    found
}
