//! Deeds that somebody who writes the database would aim at: each is named by what it is.
//!
//! To add one: a line in [`DEEDS`].

use countersign_tests::{Db, TestApp, both};

use super::{cast::Cast, intruder::Intruder};

/// What is done, in which table, and what `audit verify` says of it.
const DEEDS: &[(&str, &str, &str)] = &[
    ("devices", "UPDATE devices SET status = 'active', revoked_at = NULL WHERE status = 'revoked'", "its status is"),
    ("devices", "UPDATE devices SET status = 'active' WHERE status = 'suspended'", "its status is"),
    ("tenants", "UPDATE tenants SET policy = replace(policy, '\"digits\":7', '\"digits\":2')", "its policy is"),
    (
        "tenants",
        "UPDATE tenants SET policy_version = 2, policy = (SELECT kept.policy FROM policy_versions AS kept \
         WHERE kept.tenant_id = tenants.id AND kept.version = 2) WHERE policy_version = 3",
        "its policy is",
    ),
    (
        "tenants",
        "UPDATE tenants SET policy_version = 1, policy = (SELECT kept.policy FROM policy_versions AS kept \
         WHERE kept.tenant_id = tenants.id AND kept.version = 1) WHERE policy_version = 3",
        "its policy is",
    ),
    ("tenants", "UPDATE tenants SET client_proof_required = 1", "whether callers have to sign"),
    ("tenants", "UPDATE tenants SET settings = '{}' WHERE settings <> '{}'", "its settings are"),
    (
        "policy_versions",
        "UPDATE policy_versions SET policy = replace(policy, '8', '2') WHERE version = 2",
        "another one",
    ),
    ("policy_versions", "DELETE FROM policy_versions WHERE version = 2", "it is gone"),
    ("api_clients", "UPDATE api_clients SET revoked_at = NULL", "whether it is revoked"),
    ("api_clients", "UPDATE api_clients SET scopes = 'admin' WHERE scopes = 'challenges'", "what it may do is not"),
    ("api_keys", "UPDATE api_keys SET revoked_at = NULL", "whether it is revoked"),
    ("users", "UPDATE users SET locked_until = NULL WHERE locked_until IS NOT NULL", "it is locked for longer"),
    ("users", "UPDATE users SET locked_until = locked_until - 60000 WHERE locked_until IS NOT NULL", "for longer"),
    ("users", "UPDATE users SET consecutive_failures = 0 WHERE consecutive_failures = 2", "fewer wrong numbers"),
    ("enrollments", "UPDATE enrollments SET status = 'pending' WHERE status = 'cancelled'", "its status is"),
    ("enrollments", "UPDATE enrollments SET overridden = 1 WHERE overridden = 0", "who agreed to it"),
];

#[tokio::test]
async fn what_an_intruder_would_aim_at_is_named_for_what_it_is() {
    both(async |app| {
        let cast = Cast::live(app).await;
        let findings = cast.findings(app).await;
        assert!(findings.is_empty(), "{findings:?}");
        let intruder = Intruder::enter(&app.database, 1).await;
        for (table, deed, said) in DEEDS {
            assert!(app.database.tamper(deed).await > 0, "{deed}");
            let findings = cast.findings(app).await;
            assert!(findings.iter().any(|found| found.detail.contains(said)), "{deed}: {findings:?}");
            assert!(findings.iter().all(|found| found.detail.starts_with(table)), "{deed}: {findings:?}");
            intruder.repent(table).await;
            let findings = cast.findings(app).await;
            assert!(findings.is_empty(), "left by {deed}: {findings:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_device_that_an_intruder_made_active_again_is_named_with_all_that_it_approves() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let cast = Cast::live(&app).await;
        let revive = "UPDATE devices SET status = 'active', revoked_at = NULL WHERE status <> 'active'";
        assert!(app.database.tamper(revive).await >= 2);
        for phone in &cast.hopper {
            // No signature covers it: until somebody looks it answers.
            let challenge = cast.idp.plain_challenge("hopper").await;
            phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
            assert_eq!(cast.idp.show(&challenge).await["status"], "approved");
            super::seal(&app).await;
            let findings = cast.findings(&app).await;
            let is_named = |found: &str| found.contains(&phone.device_id()) && found.contains("its status is");
            assert!(findings.iter().any(|found| is_named(&found.detail)), "{findings:?}");
        }
    }
}
