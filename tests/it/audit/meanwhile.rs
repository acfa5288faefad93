//! What happens while others seal, look and read is no tampering, and hides none; and nobody keeps anybody else waiting.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll};

use countersign::audit::{
    export::{Export, Format, Options},
    turns::Told,
};
use countersign_core::clock::Clock;
use countersign_proto::ids::TenantId;
use countersign_tests::{ApiClient, Database, Db, TestApp, both, text};

use super::{checkpoint, live_a_day, look_through, seal};

/// Lets it go until it has waited so often; `Some` if it ends before. What it waits for then has come, and it has not
/// looked at it yet.
async fn go<F: Future + Unpin>(future: &mut F, waits: usize) -> Option<F::Output> {
    let mut left = waits;
    let step = |context: &mut std::task::Context<'_>| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        Pin::new(&mut *future).poll(context).map(Some)
    };
    std::future::poll_fn(step).await
}

/// Two events.
async fn suspend_and_resume(idp: &ApiClient, device_id: &str) {
    for verb in ["suspend", "resume"] {
        idp.post_empty(&format!("/v1/devices/{device_id}/{verb}")).await.ok(200);
    }
}

#[tokio::test]
async fn whoever_is_overtaken_while_sealing_takes_the_database_for_no_other_one() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let device_id = phone.device_id().to_string();
        seal(app).await;
        let (server, tenant_id) = (app.node().app(), app.default_tenant().await.id);
        let mut overtaken = 0;
        // At each of the places at which it waits; how often that is, is up to the database.
        for waits in 1..=24 {
            let mut slow = Box::pin(server.audit.seal(tenant_id, server.now()));
            let is_done = go(&mut slow, waits).await.is_some();
            suspend_and_resume(&idp, &device_id).await;
            server.audit.newest(tenant_id, server.now()).await.unwrap();
            if !is_done {
                overtaken += 1;
                slow.await.unwrap();
            }
            assert!(!server.audit.is_halted(), "overtaken after {waits} waits");
        }
        assert!(overtaken > 0, "it never waited");
    })
    .await;
}

#[tokio::test]
async fn what_happens_while_the_live_database_is_looked_through_is_no_finding() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        seal(app).await;
        let mut waits = 1;
        loop {
            let mut look = Box::pin(look_through(app, &[]));
            let ended = go(&mut look, waits).await;
            let challenge = idp.plain_challenge("ada").await;
            phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();
            app.clock.advance(30);
            suspend_and_resume(&idp, &phone.device_id().to_string()).await;
            seal(app).await;
            let is_done = ended.is_some();
            let report = match ended {
                Some(report) => report,
                None => look.await,
            };
            assert!(report.is_good(), "after {waits} waits: {:?}", report.findings);
            if is_done {
                break;
            }
            waits += 3;
        }
        assert!(waits > 1, "it never waited");
    })
    .await;
}

/// An event that nobody wrote but whoever can write the database.
async fn insert(database: &Database, tenant_id: &str, number: u32, columns: &[(&str, String)]) {
    let value = |column: &str, otherwise: &str| {
        let given = columns.iter().find(|(name, _)| *name == column);
        given.map_or_else(|| otherwise.to_owned(), |(_, value)| value.clone())
    };
    let id = database.id(&format!("01890a5d-ac96-774b-bcce-{number:012x}"));
    let tenant = database.id(tenant_id);
    let (at, body) = (value("at", "at"), value("body", "'{}'"));
    let (kind, user_id) = (value("kind", "'device.renamed'"), value("user_id", "user_id"));
    let (device_id, challenge_id) = (value("device_id", "device_id"), value("challenge_id", "challenge_id"));
    let insert = format!(
        "INSERT INTO events (id, tenant_id, kind, actor_kind, user_id, device_id, challenge_id, request_id, at, body) \
         SELECT {id}, {tenant}, {kind}, 'system', {user_id}, {device_id}, {challenge_id}, 'sweep', {at}, {body} \
         FROM events WHERE tenant_id = {tenant} AND kind = 'challenge.approved' ORDER BY position LIMIT 1"
    );
    database.tamper(&insert).await;
}

#[tokio::test]
async fn an_event_that_merely_names_a_row_explains_nothing() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        live_a_day(&app, &idp).await;
        seal(&app).await;
        assert!(look_through(&app, &[]).await.is_good());
        let hide = "UPDATE challenges SET status = 'cancelled' WHERE id = \
                    (SELECT challenge_id FROM events WHERE kind = 'challenge.approved' ORDER BY position LIMIT 1)";
        app.database.tamper(hide).await;
        // Both name the challenge and its device, and no checkpoint is over them.
        insert(&app.database, &idp.tenant_id, 1, &[]).await;
        let report = look_through(&app, &[]).await;
        assert!(report.findings.iter().any(|found| found.fault.as_str() == "row"), "{:?}", report.findings);
        insert(&app.database, &idp.tenant_id, 2, &[("body", "'{\"x\":1.5}'".to_owned())]).await;
        let report = look_through(&app, &[]).await;
        let faults: Vec<_> = report.findings.iter().map(|found| found.fault.as_str()).collect();
        assert!(faults.contains(&"row") && faults.contains(&"unreadable"), "{:?}", report.findings);
    }
}

#[tokio::test]
async fn a_decision_that_somebody_slips_in_as_an_old_one_is_named() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        live_a_day(&app, &idp).await;
        seal(&app).await;
        let made_at = app.clock.time().as_millis() - 91 * 86_400_000;
        for (number, at) in [(10, made_at + 1_000), (20, app.clock.time().as_millis())] {
            let challenge = format!("{:08x}-{:04x}-774b-bcce-{number:012x}", made_at >> 16, made_at & 0xffff);
            let challenge = ("challenge_id", app.database.id(&challenge));
            for (offset, kind) in ["'challenge.created'", "'challenge.approved'"].into_iter().enumerate() {
                let offset = u32::try_from(offset).unwrap();
                let columns = [challenge.clone(), ("kind", kind.to_owned()), ("at", at.to_string())];
                insert(&app.database, &idp.tenant_id, number + offset, &columns).await;
            }
        }
        seal(&app).await;
        let report = look_through(&app, &[]).await;
        let missing = report.findings.iter().filter(|found| found.fault.as_str() == "evidence_missing").count();
        assert_eq!((missing, report.deleted), (2, 0), "{:?}", report.findings);
    }
}

#[tokio::test]
async fn every_node_notices_a_database_that_was_put_back_whoever_seals() {
    let app = TestApp::start(Db::Postgres).await;
    let idp = app.admin().await;
    let phone = idp.enroll("ada").await;
    let other = app.second_node().await;
    seal(&app).await;
    let heads = "CREATE TABLE kept AS SELECT tenant_id, size, checkpoint FROM audit_heads";
    app.database.tamper(heads).await;
    suspend_and_resume(&idp, &phone.device_id().to_string()).await;
    seal(&app).await;
    other.app().audit.look_around().await.unwrap();
    let back = "UPDATE audit_heads SET (size, checkpoint) = \
                (SELECT kept.size, kept.checkpoint FROM kept WHERE kept.tenant_id = audit_heads.tenant_id)";
    app.database.tamper(back).await;
    other.app().audit.look_around().await.unwrap_err();
    assert!(other.app().audit.is_halted(), "it has sealed nothing itself, and noticed");
    other.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_sealed_keeps_no_other_one_waiting() {
    for (db, damage) in [
        (Db::Sqlite, "UPDATE audit_heads SET size = -1 WHERE tenant_id = "),
        (Db::Postgres, "UPDATE audit_heads SET size = -1 WHERE tenant_id = "),
        (Db::Sqlite, "UPDATE tenants SET event_head = 0 WHERE id = "),
        (Db::Postgres, "UPDATE tenants SET event_head = 0 WHERE id = "),
    ] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let stranger = app.client_of(&app.tenant("other").await, "admin").await;
        let theirs = stranger.enroll("grace").await;
        seal(&app).await;
        // Whoever comes first in the order of the sealing.
        let (broken, sound) = if idp.tenant_id < stranger.tenant_id { (&idp, &stranger) } else { (&stranger, &idp) };
        suspend_and_resume(&idp, &phone.device_id().to_string()).await;
        suspend_and_resume(&stranger, &theirs.device_id().to_string()).await;
        app.database.tamper(&format!("{damage}{}", app.database.id(&broken.tenant_id))).await;
        let server = app.node().app();
        seal(&app).await;
        let sound: TenantId = sound.tenant_id.parse().unwrap();
        let head = server.store.audit_head(sound).await.unwrap().unwrap();
        assert_eq!(head.size, head.positioned.unsigned_abs(), "{db:?}: {damage}");
        assert_eq!(server.audit.stuck_logs(), 1, "{db:?}: {damage}");
        assert!(!server.audit.is_halted());
    }
}

#[tokio::test]
async fn the_checkpoint_in_the_folder_catches_up_and_never_goes_back() {
    for db in [Db::Sqlite, Db::Postgres] {
        let app = TestApp::start(db).await;
        let idp = app.admin().await;
        let (old, _) = checkpoint(&idp).await;
        let phone = idp.enroll("ada").await;
        seal(&app).await;
        let (newest, _) = checkpoint(&idp).await;
        // Nothing happens any more; the folder is new.
        let folder = app.database.file("checkpoints");
        std::fs::create_dir(&folder).unwrap();
        let app = app.restart_with(|settings| settings.audit.checkpoint_folder = folder.clone()).await;
        seal(&app).await;
        let file = folder.join(format!("{}.checkpoint", idp.tenant_id));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), newest);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644, "for others to take");
        }
        // Somebody slow has written last.
        std::fs::write(&file, &old).unwrap();
        seal(&app).await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), newest);
        // Another node has sealed more, and this one does not know it yet.
        suspend_and_resume(&idp, &phone.device_id().to_string()).await;
        seal(&app).await;
        let (ahead, _) = checkpoint(&idp).await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), ahead);
        app.finish().await;
    }
}

#[tokio::test]
async fn nobody_shuts_others_out_of_exports() {
    let app = TestApp::start(Db::Sqlite).await;
    let idp = app.admin().await;
    idp.enroll("ada").await;
    let (audit, tenant_id) = (&app.node().app().audit, app.default_tenant().await.id);
    let first = audit.begin_export(tenant_id).unwrap();
    let second = audit.begin_export(tenant_id).unwrap();
    assert!(audit.begin_export(tenant_id).is_none(), "two of one organisation");
    idp.get("/v1/audit/export").await.problem("unavailable");
    let stranger = app.client_of(&app.tenant("other").await, "audit:read").await;
    assert_eq!(stranger.get("/v1/audit/export").await.status, 200);
    drop(second);
    assert_eq!(idp.get("/v1/audit/export").await.status, 200);

    // Whoever takes nothing for a minute has lost it, and its place.
    let options = Options { format: Format::Jsonl, from: 1, has_evidence: false };
    let export = Export::begin(audit, tenant_id, options, app.clock.time()).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(app.clock.clone());
    let mut told = Told::begin(export, first, clock, || async { true });
    assert!(told.next().await.unwrap().is_some());
    let room = async {
        loop {
            app.clock.advance(61);
            app.node().turn().await;
            let turns = [audit.begin_export(tenant_id), audit.begin_export(tenant_id)];
            if turns.iter().all(Option::is_some) {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), room).await.expect("room again");
    let rest = async {
        while told.next().await?.is_some() {}
        Ok::<_, std::io::Error>(())
    };
    rest.await.unwrap_err();
}

#[tokio::test]
async fn whoever_goes_on_beyond_the_end_of_a_log_is_told() {
    both(async |app| {
        let idp = app.admin().await;
        let page = idp.get("/v1/events?limit=200").await.ok(200);
        let end = text(&page, "next_cursor").to_owned();
        for list in ["/v1/events", "/v1/audit"] {
            idp.get(&format!("{list}?cursor={end}")).await.ok(200);
            let beyond = end.parse::<u64>().unwrap() + 1_000;
            idp.get(&format!("{list}?cursor={beyond}")).await.invalid(&["/cursor"]);
        }
    })
    .await;
}
