//! A server that has got another public URL: what it signed before is what it signed, for an auditor who says so.

use std::sync::Arc;

use countersign::{
    audit::{Audit, live},
    decisions::Decisions,
    entropy::SystemEntropy,
    signing::ServerKeys,
};
use countersign_core::clock::Clock as _;
use countersign_proto::audit::verify::{Fault, Report};
use countersign_tests::{Db, TestApp};

use super::{checkpoint, export, live_a_day, look_through, seal, verify};

/// As `countersign audit verify --formerly …`.
async fn look_through_as(app: &TestApp, formerly: &[&str]) -> Report {
    let (server, settings) = (app.node().app(), app.settings());
    let entropy = SystemEntropy::default();
    let keys = ServerKeys::open(&settings.key_file(), false, app.issuer(), app.clock.now(), &entropy).unwrap();
    let keys = Arc::new(keys.formerly(formerly.iter().map(|url| (*url).to_owned()).collect()));
    let audit = Arc::new(Audit::new(Arc::clone(&server.store), Arc::clone(&keys), &settings.audit).unwrap());
    let tenant = app.default_tenant().await;
    live::verify(&audit, &Decisions::new(keys), tenant.id, &[], server.now()).await.unwrap()
}

#[tokio::test]
async fn after_a_move_the_live_check_names_what_is_of_no_issuer_that_the_auditor_knows() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        live_a_day(&app, &idp).await;
        app.clock.advance(600);
        app.sweep().await;
        seal(&app).await;
        let (old, former) = (app.issuer().to_owned(), checkpoint(&idp).await.0);
        let app = app.restart_with(|settings| settings.server.public_url = "http://moved.example".to_owned()).await;
        seal(&app).await;

        let strict = look_through(&app, &[]).await;
        assert!(!strict.is_good() && strict.findings.iter().all(|found| found.fault == Fault::Row), "{strict:?}");
        let wrong = look_through_as(&app, &["http://elsewhere.example"]).await;
        assert_eq!(wrong.findings.len(), strict.findings.len());
        let told = look_through_as(&app, &["http://elsewhere.example", &old]).await;
        assert!(told.is_good(), "{:?}", told.findings);
        // An export needs none of that, nor do checkpoints from before.
        let exported = verify(&export(&idp, "?include=evidence").await, &[former]);
        assert!(exported.is_good() && exported.verified > 0, "{:?}", exported.findings);
        // It is still looked at: a name says nothing by itself.
        assert!(app.database.tamper("UPDATE challenges SET jws = replace(jws, 'a', 'b')").await > 0);
        assert!(!look_through_as(&app, &[&old]).await.is_good());
        app.finish().await;
    }
}
