//! What people and operators do all year round is no tampering: after each of it the live database, an export and its
//! checkpoint agree.

use countersign::{
    config::Retention,
    entropy::SystemEntropy,
    signing::rotation,
    worker::{forget, reload},
};
use countersign_core::clock::Clock as _;
use countersign_proto::{
    audit::verify::{Fault, Report},
    vocabulary::DenyReason,
};
use countersign_simulator::phone::{EnrollOptions, Replace};
use countersign_tests::{ApiClient, TestApp, both};
use serde_json::json;

use super::{checkpoint, export, live_a_day, look_through, seal, verify};

const DAY: i64 = 86_400;

/// Whoever looks finds what was signed.
async fn is_in_order(app: &TestApp, idp: &ApiClient, after: &str) -> (u64, u64, u64) {
    // What an event tells of a moment ago may still be on its way.
    app.clock.advance(120);
    seal(app).await;
    let live = look_through(app, &[]).await;
    assert!(live.is_good(), "live, after {after}: {:?}", live.findings);
    let (note, _) = checkpoint(idp).await;
    let report = verify(&export(idp, "?include=evidence").await, &[note]);
    assert!(report.is_good(), "exported, after {after}: {:?}", report.findings);
    (report.verified, report.erased, report.deleted)
}

/// Somebody whose phone's keys have changed and whose app was installed again.
async fn change_phones(idp: &ApiClient) {
    let mut options = EnrollOptions::named("Phone").with_uv_key();
    options.device.installation_id = Some("installation-1".to_owned());
    let phone = idp.enroll_with("hedy", options.clone()).await;
    idp.plain_challenge("hedy").await;
    phone.approve(&phone.only_pending().await, None, None).await.unwrap();
    let phone = phone.rotated(Replace::DeviceKey).await;
    idp.plain_challenge("hedy").await;
    phone.deny(&phone.only_pending().await, Some(DenyReason::NotMe)).await.unwrap();
    idp.delete(&format!("/v1/users/{}/report", phone.registration().user.id)).await.ok(200);
    let again = idp.enroll_with("hedy", options).await;
    idp.plain_challenge("hedy").await;
    again.approve(&again.only_pending().await, None, None).await.unwrap();
    again.deregister(None).await.unwrap();
}

#[tokio::test]
async fn a_year_of_ordinary_life_is_no_finding() {
    both(async |app| {
        let idp = app.admin().await;
        live_a_day(app, &idp).await;
        let (verified, ..) = is_in_order(app, &idp, "a day").await;
        change_phones(&idp).await;
        let (after, ..) = is_in_order(app, &idp, "rotations, a new installation and a phone that left").await;
        assert_eq!(after, verified + 3);

        let entropy = SystemEntropy::default();
        let path = app.settings().key_file();
        rotation::rotate(&path, app.clock.now(), &entropy).unwrap();
        reload::keys_round(app.node().app()).unwrap();
        app.clock.advance(DAY);
        change_phones_of(&idp, "under the next key").await;
        is_in_order(app, &idp, "a rotation of the server's key").await;

        let person = idp.enroll("erased").await;
        for _ in 0..2 {
            idp.plain_challenge("erased").await;
            person.approve(&person.only_pending().await, None, None).await.unwrap();
        }
        let user = format!("/v1/users/{}", person.registration().user.id);
        let (before, ..) = is_in_order(app, &idp, "another person").await;
        assert_eq!(idp.delete(&user).await.status, 204);
        let (after, erased, _) = is_in_order(app, &idp, "an erasure").await;
        assert_eq!((after, erased), (before - 2, 2));

        // Long after, what was kept for long enough is gone; the organisation keeps it for less.
        let tenant = |days: i64| json!({"retention": {"challenge_days": days}});
        idp.patch("/v1/tenant", tenant(7)).await.ok(200);
        app.clock.advance(8 * DAY);
        forget::round(app.node().app(), &Retention { challenge_days: 90, enrollment_days: 90 }).await.unwrap();
        let (after, _, deleted) = is_in_order(app, &idp, "the end of retention").await;
        assert_eq!((after, deleted), (0, before));

        // Whoever makes it longer afterwards has deleted no more and no less for that.
        for days in [90, 30] {
            app.clock.advance(DAY);
            idp.patch("/v1/tenant", tenant(days)).await.ok(200);
            change_phones_of(&idp, &format!("under {days} days")).await;
            let (_, _, deleted) = is_in_order(app, &idp, &format!("a retention of {days} days")).await;
            assert_eq!(deleted, before);
        }
        // What went before its time is named.
        let unlawful = "DELETE FROM challenges WHERE status = 'approved'";
        assert_eq!(app.database.tamper(unlawful).await, 2);
        let missing =
            |report: &Report| report.findings.iter().filter(|finding| finding.fault == Fault::EvidenceMissing).count();
        let report = verify(&export(&idp, "?include=evidence").await, &[]);
        assert_eq!((report.deleted, missing(&report)), (before, 2), "{:?}", report.findings);
        assert_eq!(missing(&look_through(app, &[]).await), 2);
        // Nobody but the log key says that it may be gone.
        let note = "UPDATE forgotten SET note = replace(note, 'forgotten', 'forgotten ')";
        assert!(app.database.tamper(note).await > 0);
        assert_eq!(missing(&look_through(app, &[]).await) as u64, before + 2);
    })
    .await;
}

/// A sign-in of somebody new.
async fn change_phones_of(idp: &ApiClient, user: &str) {
    let phone = idp.enroll(user).await;
    idp.plain_challenge(user).await;
    phone.approve(&phone.only_pending().await, None, None).await.unwrap();
}
