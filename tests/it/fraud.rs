//! "That was not me", a help desk's report, and answers that no person gave.

use countersign_core::policy::Policy;
use countersign_proto::vocabulary::{DenyReason, FastApproval, ReportAction, UserVerification, UvMethod};
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, both, path_of, text};
use serde_json::{Value, json};

async fn user_of(idp: &ApiClient, external_id: &str) -> Value {
    idp.get(&format!("/v1/users?external_id={external_id}")).await.ok(200)["items"][0].clone()
}

#[tokio::test]
async fn not_me_ends_all_else_that_is_pending_and_whoever_waits_hears_of_it() {
    both(async |app| {
        let idp = app.admin().await;
        let (phone, watch) = (idp.enroll("ada").await, idp.enroll("ada").await);
        let other = app.second_node().await;
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let challenge = idp.challenge("ada").await;
            waiting.push(idp.at(&other.http).hold(&format!("{}?wait=50", path_of(&challenge))));
        }
        other.until_held(2).await;
        let theirs = idp.challenge("ada").await;
        phone.deny(&phone.pending_of(&theirs).await, Some(DenyReason::NotMe)).await.unwrap();
        // On PostgreSQL the other node has heard already; on SQLite it asks, once a second.
        other.poll().await;
        for reply in waiting {
            let ended = reply.await.unwrap().ok(200);
            assert_eq!((text(&ended, "status"), text(&ended, "reason")), ("cancelled", "reported"));
            assert!(ended.get("result_token").is_some());
        }
        assert!(watch.all_pending().await.is_empty());
        let user = user_of(&idp, "ada").await;
        assert_eq!(user["reported"]["by"], "device");
        assert_eq!(user["reported"]["at"].as_str().map(|at| at.len()), Some("2026-01-01T00:00:00Z".len()));
        assert_eq!((&user["pending_challenges"], user.get("locked_until")), (&json!(0), None));
        assert!(user.get("pushes_stopped_until").is_some());
        // The person still signs in, by opening the app.
        let next = idp.challenge("ada").await;
        phone.approve(&phone.pending_of(&next).await, Some(text(&next, "number")), None).await.unwrap();
        app.clock.advance(1_800);
        let later = user_of(&idp, "ada").await;
        assert_eq!((later.get("pushes_stopped_until"), &later["reported"]), (None, &user["reported"]));
        app.sweep().await;
        let events = idp.get("/v1/events?limit=200").await.ok(200);
        let of = |kind: &str| events["items"].as_array().unwrap().iter().filter(|event| event["type"] == kind).count();
        assert_eq!((of("challenge.reported"), of("user.reported"), of("challenge.cancelled")), (1, 1, 2));
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_help_desk_reports_a_user_and_an_admin_clears_the_report() {
    both(async |app| {
        let idp = app.admin().await;
        let desk = app.client("users:write").await;
        let phone = idp.enroll("ada").await;
        let challenge = idp.challenge("ada").await;
        let report = format!("/v1/users/{}/report", phone.registration().user.id);
        for malformed in [json!({"reason": "because"}), json!({"reason": null}), json!({"text": "x"})] {
            desk.post(&report, malformed).await.problem("invalid-request");
        }
        let reported = desk.post(&report, json!({"reason": "suspicious"})).await.ok(200);
        assert_eq!((&reported["reported"]["by"], reported.get("locked_until")), (&json!("api_client"), None));
        assert_eq!(idp.show(&challenge).await["reason"], "reported");
        let again = desk.post(&report, json!({})).await.ok(200);
        assert_eq!(again["reported"], reported["reported"]);
        desk.delete(&report).await.problem("insufficient-scope");
        for _ in 0..2 {
            let cleared = idp.delete(&report).await.ok(200);
            assert_eq!((cleared.get("reported"), cleared.get("pushes_stopped_until")), (None, None));
        }
        let unknown = "/v1/users/01939b5e-7a2c-7def-8abc-000000000001/report";
        desk.post(unknown, json!({})).await.problem("not-found");
        idp.delete(unknown).await.problem("not-found");
    })
    .await;
}

#[tokio::test]
async fn an_organisation_may_lock_whoever_is_reported_until_the_report_is_cleared() {
    both(async |app| {
        app.change_policy(|policy: &mut Policy| policy.on_report = ReportAction::Lock).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let open = idp.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let challenge = idp.challenge("ada").await;
        phone.deny(&phone.pending_of(&challenge).await, Some(DenyReason::NotMe)).await.unwrap();
        let user = user_of(&idp, "ada").await;
        assert_eq!(user["locked_until"], "9999-12-31T23:59:59Z");
        assert_eq!(idp.get(&format!("/v1/enrollments/{}", text(&open, "id"))).await.ok(200)["status"], "cancelled");
        let next = idp.challenge("ada").await;
        let shown = phone.pending_of(&next).await;
        let locked = phone.approve(&shown, Some(text(&next, "number")), None).await.unwrap_err();
        assert!(locked.is_problem("user-locked"), "{locked}");
        // An unlock is not a clearing, and a clearing also unlocks.
        let path = format!("/v1/users/{}", text(&user, "id"));
        let unlocked = idp.post_empty(&format!("{path}/unlock")).await.ok(200);
        assert_eq!((unlocked.get("locked_until"), &unlocked["reported"]), (None, &user["reported"]));
        idp.post(&format!("{path}/report"), json!({})).await.ok(200);
        let cleared = idp.delete(&format!("{path}/report")).await.ok(200);
        assert_eq!((cleared.get("locked_until"), cleared.get("reported")), (None, None));
    })
    .await;
}

#[tokio::test]
async fn denials_in_a_row_stop_pushes_and_never_a_sign_in() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        for stop in [0, 60, 300, 1_800, 1_800] {
            let challenge = idp.challenge("ada").await;
            phone.deny(&phone.pending_of(&challenge).await, Some(DenyReason::Mistake)).await.unwrap();
            let until = user_of(&idp, "ada").await.get("pushes_stopped_until").cloned();
            let expected = (stop > 0).then(|| json!(app.clock.time().plus_seconds(stop)));
            assert_eq!(until, expected);
        }
        let challenge = idp.challenge("ada").await;
        phone.approve(&phone.pending_of(&challenge).await, Some(text(&challenge, "number")), None).await.unwrap();
        app.clock.advance(1_801);
        let challenge = idp.challenge("ada").await;
        phone.deny(&phone.pending_of(&challenge).await, None).await.unwrap();
        assert_eq!(user_of(&idp, "ada").await.get("pushes_stopped_until"), None);
    })
    .await;
}

#[tokio::test]
async fn an_approve_that_nobody_can_have_read_is_flagged_refused_or_let_through() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        for (rule, wait, refusals, is_flagged) in [
            (FastApproval::Flag, 399, 0, true),
            (FastApproval::Flag, 400, 0, false),
            (FastApproval::Allow, 0, 0, false),
            (FastApproval::Refuse, 0, 1, false),
            (FastApproval::Refuse, 400, 0, false),
        ] {
            app.change_policy(|policy: &mut Policy| policy.fast_approval = rule).await;
            let challenge = idp.challenge("ada").await;
            // However long the phone did not know of it.
            app.clock.advance(10);
            let shown = phone.pending_of(&challenge).await;
            app.clock.advance_millis(wait);
            for _ in 0..refusals {
                let refused = phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap_err();
                assert!(refused.is_problem("approved-too-fast"), "{refused}");
                assert_eq!(idp.show(&challenge).await["status"], "pending");
                app.clock.advance_millis(400);
            }
            phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
            let approved = idp.show(&challenge).await;
            let flags = approved.get("flags").cloned();
            assert_eq!(flags, is_flagged.then(|| json!(["fast_approval"])), "{rule:?} {wait}");
            let payload = countersign_tests::forge::part(text(&approved, "result_token"), 1);
            assert_eq!(payload.get("flags").cloned(), flags);
        }
        assert_eq!(user_of(&idp, "ada").await["consecutive_failures"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_did_not_see_the_fetch_judges_by_the_challenges_age() {
    both(async |app| {
        app.change_policy(|policy: &mut Policy| policy.fast_approval = FastApproval::Refuse).await;
        let idp = app.admin().await;
        let phone = idp.enroll("ada").await;
        let other = app.second_node().await;
        let challenge = idp.challenge("ada").await;
        let shown = phone.pending_of(&challenge).await;
        let answer = countersign_simulator::phone::Answer::approve(Some(text(&challenge, "number")));
        let token = phone.sign_response(&shown, &answer).unwrap();
        let there = phone.at(&other.http);
        app.clock.advance_millis(399);
        there.respond_with(text(&challenge, "id"), &token).await.problem("approved-too-fast");
        app.clock.advance_millis(1);
        there.respond_with(text(&challenge, "id"), &token).await.ok(200);
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn only_methods_that_the_organisation_accepts_count_as_user_verification() {
    both(async |app| {
        let idp = app.admin().await;
        let phone = idp.enroll_with("ada", EnrollOptions::named("Phone").with_uv_key()).await;
        let biometric = |policy: &mut Policy| policy.user_verification_methods = vec![UvMethod::Fpt, UvMethod::Face];
        app.change_policy(biometric).await;
        for (uv, is_verified) in [(UvMethod::Pin, false), (UvMethod::Other, false), (UvMethod::Face, true)] {
            for asked in [UserVerification::Required, UserVerification::Preferred] {
                let body = json!({"user": {"external_id": "ada"}, "user_verification": asked,
                    "verification": {"mode": "none"}});
                let challenge = idp.create_challenge(body).await;
                let shown = phone.pending_of(&challenge).await;
                assert_eq!(shown.claims().user_verification_methods, Some(vec![UvMethod::Fpt, UvMethod::Face]));
                let answered = phone.approve(&shown, None, Some(uv)).await;
                if asked == UserVerification::Required && !is_verified {
                    let refused = answered.unwrap_err();
                    assert!(refused.is_problem("user-verification-required"), "{refused}");
                    phone.deny(&shown, None).await.unwrap();
                    continue;
                }
                answered.unwrap();
                let amr = idp.show(&challenge).await["amr"].clone();
                let expected = if is_verified {
                    json!(["pop", "mca", "user", "mfa", "face"])
                } else {
                    json!(["pop", "mca", "user"])
                };
                assert_eq!(amr, expected, "{uv:?} {asked:?}");
            }
        }
    })
    .await;
}
