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

/// What became of the deeds.
#[derive(Default)]
struct Tally {
    named: BTreeMap<&'static str, u32>,
    refused: u32,
    harmless: u32,
    unseen: Vec<String>,
}

impl Tally {
    /// Deeds that could change something.
    fn counted(&self) -> u32 {
        self.named.values().sum::<u32>() + self.refused
    }

    fn tell(&self, db: Db) {
        let Self { named, refused, harmless, unseen } = self;
        let (all, unseen) = (self.counted(), unseen.len());
        say(&format!(
            "tampering, {db:?}: {all} deeds that count, {refused} refused when used, the others named: {named:?}; \
             {unseen} unseen; {harmless} more without effect on any decision"
        ));
    }
}

async fn tamper(db: Db) {
    let app = TestApp::start(db).await;
    let cast = Cast::live(&app).await;
    let findings = cast.findings(&app).await;
    assert!(findings.is_empty(), "{findings:?}");
    let mut intruder = Intruder::enter(&app.database, 0x5eed).await;
    let (mut judge, mut tally) = (Judge::default(), Tally::default());
    let wanted = u32::try_from(rounds(SMALL, FULL)).unwrap();
    for _ in 0..wanted * 30 {
        if tally.counted() >= wanted {
            break;
        }
        let Some(deed) = intruder.strike().await else { continue };
        if !cast.findings(&app).await.is_empty() {
            *tally.named.entry(deed.table).or_default() += 1;
        } else {
            match judge.judge(&app.database, &deed).await {
                Verdict::Harmless => tally.harmless += 1,
                Verdict::Sealed if cast.is_refused(&app, deed.table).await => tally.refused += 1,
                Verdict::Sealed | Verdict::Unseen => {
                    say(&format!("tampering, {db:?}: unseen: {}", deed.sql));
                    tally.unseen.push(deed.sql);
                }
            }
        }
        intruder.repent(deed.table).await;
        if (tally.counted() + tally.harmless) % 1_000 == 0 {
            tally.tell(db);
        }
    }
    tally.tell(db);
    say(&format!("tampering, {db:?}: of the lists not met: {:?}", judge.idle()));
    assert!(tally.unseen.is_empty(), "{} unseen:\n{}", tally.unseen.len(), tally.unseen.join("\n"));
    let all = tally.counted();
    assert!(all >= wanted, "too many deeds were refused by the database itself, or harmless: {all}");
    if wanted as usize == FULL {
        assert_eq!(tally.named.len(), TABLES.len(), "{:?}", tally.named);
    }
    let findings = cast.findings(&app).await;
    assert!(findings.is_empty(), "the intruder has left something: {findings:?}");
}

#[tokio::test]
async fn whatever_an_intruder_changes_in_a_decision_or_its_record_is_named_or_refused_on_sqlite() {
    tamper(Db::Sqlite).await;
}

#[tokio::test]
async fn whatever_an_intruder_changes_in_a_decision_or_its_record_is_named_or_refused_on_postgresql() {
    tamper(Db::Postgres).await;
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
