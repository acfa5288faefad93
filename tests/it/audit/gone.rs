//! What is gone: lawfully, because it was kept for long enough, or not; and a log whose head is gone.

use countersign::{
    audit::{
        AuditError,
        export::{Export, Format, Options},
    },
    config::Retention,
    worker::forget,
};
use countersign_core::clock::Clock as _;
use countersign_proto::audit::verify::{Fault, Report};
use countersign_tests::{ApiClient, Database, TestApp, both};
use serde_json::json;

use super::{checkpoint, export, look_through, seal, verify};

const DAY: i64 = 86_400;

/// As the server's own worker does it.
async fn forget(app: &TestApp) {
    forget::round(app.node().app(), &Retention { challenge_days: 90, enrollment_days: 90 }).await.unwrap();
}

async fn sign_in(app: &TestApp, idp: &ApiClient, user: &str) {
    let phone = idp.enroll(user).await;
    idp.plain_challenge(user).await;
    phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    seal(app).await;
}

/// With a retention that is taken back afterwards: the server's own worker has nothing to write down from then on.
async fn forget_for_once(app: &TestApp, idp: &ApiClient, days: u32) {
    idp.patch("/v1/tenant", json!({"retention": {"challenge_days": days}})).await.ok(200);
    forget(app).await;
    idp.patch("/v1/tenant", json!({"retention": {}})).await.ok(200);
    seal(app).await;
}

async fn put_back(database: &Database, notes: &str) {
    database.tamper("DELETE FROM forgotten").await;
    database.tamper(&format!("INSERT INTO forgotten (tenant_id, note) SELECT tenant_id, note FROM {notes}")).await;
    database.tamper(&format!("DROP TABLE {notes}")).await;
}

fn missing(report: &Report) -> usize {
    report.findings.iter().filter(|finding| finding.fault == Fault::EvidenceMissing).count()
}

#[tokio::test]
async fn an_export_that_is_overtaken_by_a_shorter_retention_breaks_off_and_accuses_nobody() {
    both(async |app| {
        let idp = app.admin().await;
        sign_in(app, &idp, "ada").await;
        app.clock.advance(10 * DAY);
        sign_in(app, &idp, "grace").await;
        let (server, tenant) = (app.node().app(), app.default_tenant().await);
        let options = Options { format: Format::Jsonl, from: 1, has_evidence: true };
        let mut begun = Export::begin(&server.audit, tenant.id, options, app.clock.now()).await.unwrap();
        begun.next().await.unwrap().expect("its header, which says that all is kept");
        idp.patch("/v1/tenant", json!({"retention": {"challenge_days": 5}})).await.ok(200);
        forget(app).await;
        assert_eq!(begun.next().await, Err(AuditError::Overtaken));
        // Whoever begins again is told.
        let report = verify(&export(&idp, "?include=evidence").await, &[]);
        assert!(report.is_good(), "{:?}", report.findings);
        assert_eq!((report.deleted, report.verified), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn nobody_who_puts_back_or_invents_a_note_makes_more_of_a_deletion_lawful() {
    both(async |app| {
        let idp = app.admin().await;
        sign_in(app, &idp, "ada").await;
        app.clock.advance(10 * DAY);
        sign_in(app, &idp, "grace").await;
        forget_for_once(app, &idp, 9).await;
        assert!(look_through(app, &[]).await.is_good());
        let database = &app.database;
        database.tamper("CREATE TABLE first_notes AS SELECT tenant_id, note FROM forgotten").await;
        app.clock.advance(10 * DAY);
        forget_for_once(app, &idp, 5).await;
        sign_in(app, &idp, "alan").await;
        assert!(look_through(app, &[]).await.is_good(), "two are gone, lawfully");

        // Another's note, one for all, a later time: none of them is the log key's.
        let other = app.tenant("other").await;
        let here = database.id(&idp.tenant_id);
        let nil = database.id("00000000-0000-0000-0000-000000000000");
        let note = "(SELECT note FROM forgotten WHERE tenant_id = ";
        for forgery in [
            format!("UPDATE forgotten SET tenant_id = {} WHERE tenant_id = {here}", database.id(&other.id.to_string())),
            format!("UPDATE forgotten SET note = {note}{nil}) WHERE tenant_id = {here}"),
            format!("UPDATE forgotten SET note = replace(note, '00000', '99999') WHERE tenant_id = {here}"),
            format!("DELETE FROM forgotten WHERE tenant_id = {here}"),
        ] {
            database.tamper("CREATE TABLE last_notes AS SELECT tenant_id, note FROM forgotten").await;
            assert!(database.tamper(&forgery).await > 0, "{forgery}");
            assert_eq!(missing(&look_through(app, &[]).await), 2, "{forgery}");
            put_back(database, "last_notes").await;
        }
        // An older one says less: what went since is named.
        put_back(database, "first_notes").await;
        assert_eq!(missing(&look_through(app, &[]).await), 1);
    })
    .await;
}

#[tokio::test]
async fn a_log_without_a_head_is_named_however_young_it_looks() {
    both(async |app| {
        let idp = app.admin().await;
        sign_in(app, &idp, "ada").await;
        let (note, _) = checkpoint(&idp).await;
        assert!(look_through(app, std::slice::from_ref(&note)).await.is_good());
        let behead = "UPDATE audit_heads SET size = 0, checkpoint = NULL, sealed_at = NULL";
        assert!(app.database.tamper(behead).await > 0);
        assert!(app.database.tamper("DELETE FROM audit_tiles").await > 0);
        let report = look_through(app, &[]).await;
        let told = report.findings.iter().find(|finding| finding.fault == Fault::Checkpoint).unwrap();
        assert!(told.detail.contains("countersign audit checkpoint"), "what to do: {told}");
        app.clock.advance(DAY);
        // With times of this moment it looks like the first second of a new server: still named, and what was kept
        // elsewhere says that it is another log.
        let young = format!("UPDATE events SET at = {}", app.clock.now().as_millis());
        assert!(app.database.tamper(&young).await > 0);
        assert!(look_through(app, &[]).await.findings.iter().any(|finding| finding.fault == Fault::Checkpoint));
        let faults: Vec<_> = look_through(app, &[note]).await.findings.into_iter().map(|it| it.fault).collect();
        assert!(faults.contains(&Fault::Checkpoint) && faults.contains(&Fault::OlderCheckpoint), "{faults:?}");
    })
    .await;
}
