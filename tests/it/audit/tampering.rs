//! Random edits, deletions and insertions behind the server's back: each that could change a decision or its record is
//! named by `audit verify`, or refused when it is used. What may change unseen is listed in `tampering/harmless.rs`, each
//! with its reason; a list that says too much fails the full run.
//!
//! Who lives in the database is in `tampering/cast.rs`, what is done to it in `tampering/intruder.rs`; deeds that
//! somebody would aim at are in `tampering/aimed.rs`. To add a table: its line in [`TABLES`], rows of it in the cast, and
//! in `harmless.rs` only what nothing depends on.

mod aimed;
mod cast;
mod harmless;
mod intruder;

use std::collections::BTreeMap;

use countersign_tests::{
    Db, TestApp,
    proof::{rounds, say},
};

use self::{
    cast::Cast,
    harmless::{Judge, Verdict},
    intruder::Intruder,
};
use super::{checkpoint, live_a_day, look_through, seal};

/// Tables, with what names a row.
const TABLES: [(&str, &[&str]); 12] = [
    ("devices", &["id"]),
    ("device_keys", &["thumbprint"]),
    ("challenges", &["id"]),
    ("events", &["id"]),
    ("audit_heads", &["tenant_id"]),
    ("audit_tiles", &["tenant_id", "level", "tile"]),
    ("users", &["id"]),
    ("enrollments", &["id"]),
    ("tenants", &["id"]),
    ("policy_versions", &["tenant_id", "version"]),
    ("api_clients", &["id"]),
    ("api_keys", &["id"]),
];

/// Deeds that count, on each database.
const SMALL: usize = 120;
const FULL: usize = 10_000;

#[tokio::test]
async fn whatever_an_intruder_changes_in_a_decision_or_its_record_is_named_or_refused() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let cast = Cast::live(&app).await;
        let findings = cast.findings(&app).await;
        assert!(findings.is_empty(), "{findings:?}");
        let mut intruder = Intruder::enter(&app.database, 0x5eed).await;
        let mut judge = Judge::default();
        let (mut named, mut refused, mut harmless) = (BTreeMap::<_, u32>::new(), 0, 0);
        let mut unseen = Vec::new();
        let wanted = u32::try_from(rounds(SMALL, FULL)).unwrap();
        let counted = |named: &BTreeMap<&str, u32>, refused: u32| named.values().sum::<u32>() + refused;
        for _ in 0..wanted * 30 {
            if counted(&named, refused) >= wanted {
                break;
            }
            let Some(deed) = intruder.strike().await else { continue };
            if !cast.findings(&app).await.is_empty() {
                *named.entry(deed.table).or_default() += 1;
            } else {
                match judge.judge(&app.database, &deed).await {
                    Verdict::Harmless => harmless += 1,
                    Verdict::Sealed if cast.is_refused(&app, deed.table).await => refused += 1,
                    Verdict::Sealed | Verdict::Unseen => unseen.push(deed.sql.clone()),
                }
            }
            intruder.repent(deed.table).await;
        }
        assert!(unseen.is_empty(), "{} unseen:\n{}", unseen.len(), unseen.join("\n"));
        let all = counted(&named, refused);
        assert!(all >= wanted, "too many deeds were refused by the database itself, or harmless: {all}");
        assert_eq!(named.len(), TABLES.len(), "{named:?}");
        let findings = cast.findings(&app).await;
        assert!(findings.is_empty(), "the intruder has left something: {findings:?}");
        let idle = judge.idle();
        if wanted as usize == FULL {
            assert!(idle.is_empty(), "said to be harmless, and never was: {idle:?}");
        }
        say(&format!(
            "tampering, {db:?}: {all} deeds that count: {refused} refused when used, the others named ({named:?}); and \
             {harmless} without effect on any decision, {} entries of the list not met",
            idle.len()
        ));
    }
}

#[tokio::test]
async fn a_log_that_was_rewritten_as_a_whole_is_known_by_a_checkpoint_kept_elsewhere() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        live_a_day(&app, &idp).await;
        seal(&app).await;
        let (note, _) = checkpoint(&idp).await;
        // The intruder lets the server itself seal the forged log: after a restart it remembers nothing.
        for forged in [
            "UPDATE events SET request_id = 'forged' WHERE kind = 'user.created'",
            "DELETE FROM audit_tiles",
            "UPDATE audit_heads SET size = 0, checkpoint = NULL",
        ] {
            app.database.tamper(forged).await;
        }
        let app = app.restart().await;
        seal(&app).await;
        assert!(look_through(&app, &[]).await.is_good(), "nothing on the machine tells");
        let report = look_through(&app, &[note]).await;
        assert!(
            report.findings.iter().any(|found| found.fault.as_str() == "older_checkpoint"),
            "{:?}",
            report.findings
        );
        app.finish().await;
    }
}
