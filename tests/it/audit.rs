//! The audit: the log is sealed within a second, proves itself, and verifies without the server.

mod commands;
mod gone;
mod meanwhile;
mod moved;
mod restored;
mod tampering;
mod whole_life;

use countersign::{audit::live, decisions::Decisions, worker};
use countersign_proto::{
    audit::{
        Checkpoint, Hash, VerifierKey, leaf_hash_of,
        verify::{Fault, Report, Verifier},
        verify_consistency, verify_inclusion,
    },
    vocabulary::{DenyReason, UvMethod},
};
use countersign_simulator::phone::EnrollOptions;
use countersign_tests::{ApiClient, TestApp, both, path_of, text};
use serde_json::{Value, json};

use crate::display;

/// Two people, their phones, and challenges that end in every way there is; six of them are decisions.
pub(crate) async fn live_a_day(app: &TestApp, idp: &ApiClient) {
    let ada = idp.enroll_with("ada", EnrollOptions::named("Phone").with_uv_key()).await;
    let grace = idp.enroll("grace").await;
    let lost = idp.enroll("grace").await;
    for _ in 0..2 {
        let challenge = idp.challenge("ada").await;
        let number = challenge.get("number").and_then(Value::as_str);
        ada.approve(&ada.pending_of(&challenge).await, number, None).await.unwrap();
        app.clock.advance(1);
    }
    let verified = json!({"user": {"external_id": "ada"}, "verification": {"mode": "none"},
        "user_verification": "required"});
    let verified = idp.create_challenge(verified).await;
    ada.approve(&ada.pending_of(&verified).await, None, Some(UvMethod::Pin)).await.unwrap();
    let denied = idp.plain_challenge("grace").await;
    grace.deny(&grace.pending_of(&denied).await, Some(DenyReason::Mistake)).await.unwrap();
    let wrong = idp.challenge("ada").await;
    let number = if text(&wrong, "number").starts_with('0') { "111111" } else { "000000" };
    let number = &number[..text(&wrong, "number").len()];
    ada.approve(&ada.pending_of(&wrong).await, Some(number), None).await.unwrap_err();
    for is_right in [true, false] {
        let shown = display::challenge(idp, "ada").await;
        let code = display::shown_code(&ada, &shown).await;
        let code = if is_right { code } else { display::wrong(&code) };
        display::type_code(idp, &shown, &code).await;
    }
    let cancelled = idp.plain_challenge("grace").await;
    idp.post_empty(&format!("{}/cancel", path_of(&cancelled))).await.ok(200);
    let expired = idp.plain_challenge("grace").await;
    app.clock.advance(601);
    app.sweep().await;
    assert_eq!(idp.show(&expired).await["status"], "expired");
    idp.post_empty(&format!("/v1/devices/{}/suspend", grace.device_id())).await.ok(200);
    app.clock.advance(5);
    idp.post_empty(&format!("/v1/devices/{}/resume", grace.device_id())).await.ok(200);
    idp.delete(&format!("/v1/devices/{}", lost.device_id())).await.ok(200);
}

pub(crate) async fn seal(app: &TestApp) {
    worker::seal::round(app.node().app()).await.unwrap();
}

async fn checkpoint(idp: &ApiClient) -> (String, Checkpoint) {
    let key: VerifierKey = text(&idp.get("/v1/audit/key").await.ok(200), "verifier_key").parse().unwrap();
    let note = idp.get("/v1/audit/checkpoint").await.text();
    let opened = Checkpoint::open(&note, &key).unwrap();
    (note, opened)
}

async fn export(idp: &ApiClient, query: &str) -> Vec<String> {
    let reply = idp.get(&format!("/v1/audit/export{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().lines().map(str::to_owned).collect()
}

fn verify(lines: &[String], older: &[String]) -> Report {
    let mut verifier = Verifier::begin(lines[0].as_bytes(), None, older).unwrap();
    lines[1..].iter().for_each(|line| verifier.line(line.as_bytes()));
    verifier.finish()
}

fn faults(lines: &[String]) -> Vec<Fault> {
    verify(lines, &[]).findings.into_iter().map(|finding| finding.fault).collect()
}

pub(crate) async fn look_through(app: &TestApp, older: &[String]) -> Report {
    let server = app.node().app();
    let decisions = Decisions::new(server.keys.clone());
    let tenant = app.default_tenant().await;
    live::verify(&server.audit, &decisions, tenant.id, older, server.now()).await.unwrap()
}

fn hashes(values: &Value) -> Vec<Hash> {
    values.as_array().unwrap().iter().map(hash).collect()
}

fn hash(value: &Value) -> Hash {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_event_is_under_a_signed_checkpoint_that_proves_it() {
    both(async |app| {
        let idp = app.admin().await;
        seal(app).await;
        let tenant = app.default_tenant().await.id;
        let store = &app.node().app().store;
        let before = store.audit_head(tenant).await.unwrap().unwrap();
        assert_eq!(before.size, before.positioned.unsigned_abs());
        let (_, first) = checkpoint(&idp).await;
        live_a_day(app, &idp).await;
        seal(app).await;
        let head = store.audit_head(tenant).await.unwrap().unwrap();
        assert!(head.size > before.size && head.size == head.positioned.unsigned_abs());
        let (_, now) = checkpoint(&idp).await;
        assert_eq!(now.size, head.size);

        let events = idp.get("/v1/events?limit=200").await.ok(200);
        let events = events["items"].as_array().unwrap();
        assert_eq!(events.len() as u64, now.size);
        for event in events {
            let position = event["position"].as_u64().unwrap();
            let proof = idp.get(&format!("/v1/audit/proof/inclusion?position={position}")).await.ok(200);
            let leaf = leaf_hash_of(event).unwrap();
            assert!(verify_inclusion(leaf, position - 1, now.size, &hashes(&proof["hashes"]), now.root), "{proof}");
        }
        let path = format!("/v1/audit/proof/inclusion?position=1&size={}", first.size);
        let proof = idp.get(&path).await.ok(200);
        assert_eq!(hash(&proof["root"]), first.root);
        let path = format!("/v1/audit/proof/consistency?from={}", first.size);
        let proof = idp.get(&path).await.ok(200);
        assert!(verify_consistency(first.size, first.root, now.size, now.root, &hashes(&proof["hashes"])));
        for (path, pointer) in [
            ("inclusion?position=100000".to_owned(), "/position"),
            ("inclusion?position=0".to_owned(), "/position"),
            (format!("inclusion?position={}&size={}", first.size + 1, first.size), "/position"),
            ("consistency?from=0".to_owned(), "/from"),
            ("consistency?from=2&to=1".to_owned(), "/from"),
            ("consistency?from=1&to=100000".to_owned(), "/from"),
        ] {
            idp.get(&format!("/v1/audit/proof/{path}")).await.invalid(&[pointer]);
        }
        let stranger = app.client_of(&app.tenant("other").await, "audit:read").await;
        let (_, theirs) = checkpoint(&stranger).await;
        assert!(theirs.origin != now.origin && theirs.size < now.size);
    })
    .await;
}

#[tokio::test]
async fn the_sealer_seals_by_itself_within_a_second_and_one_node_at_a_time() {
    both(async |app| {
        let idp = app.admin().await;
        let other = app.second_node().await;
        idp.enroll("ada").await;
        let tenant = app.default_tenant().await.id;
        let store = app.node().app().store.clone();
        let sealed = async || {
            let head = store.audit_head(tenant).await.unwrap();
            head.is_some_and(|head| head.size > 0 && head.size == head.positioned.unsigned_abs())
                && store.unpositioned_tenants(None, 10).await.unwrap().is_empty()
        };
        // Nothing but the clock.
        let wait = async {
            while !sealed().await {
                app.clock.advance_millis(500);
                app.node().turn().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("sealed by itself");
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_export_verifies_without_the_server_and_what_was_touched_in_it_is_named() {
    both(async |app| {
        let idp = app.admin().await;
        let (old_note, _) = checkpoint(&idp).await;
        live_a_day(app, &idp).await;
        let lines = export(&idp, "?include=evidence").await;
        let report = verify(&lines, &[old_note]);
        assert!(report.is_good(), "{:?}", report.findings);
        assert_eq!((report.verified, report.erased, report.deleted), (6, 0, 0));
        assert_eq!(report.events + 2, lines.len() as u64);
        let live = look_through(app, &[]).await;
        assert!(live.is_good(), "{:?}", live.findings);
        assert_eq!((live.events, live.verified), (report.events, 6));

        let approved = lines.iter().position(|line| line.contains("challenge.approved")).unwrap();
        let spoil = |at: usize, change: &dyn Fn(&mut Value)| {
            let mut spoilt = lines.clone();
            let mut line: Value = serde_json::from_str(&lines[at]).unwrap();
            change(&mut line);
            spoilt[at] = line.to_string();
            faults(&spoilt)
        };
        let edited = spoil(approved, &|line| line["event"]["data"]["response_sha256"] = json!("x"));
        assert_eq!(edited, [Fault::Tree, Fault::Contradiction]);
        let other = lines.iter().rposition(|line| line.contains("challenge.approved")).unwrap();
        let foreign: Value = serde_json::from_str(&lines[other]).unwrap();
        let swapped = spoil(approved, &|line| line["evidence"] = foreign["evidence"].clone());
        assert!(swapped.contains(&Fault::Contradiction), "{swapped:?}");
        assert_eq!(spoil(approved, &|line| line["evidence"] = Value::Null), [Fault::EvidenceMissing]);
        let mut without_end = lines.clone();
        without_end.pop();
        assert_eq!(faults(&without_end), [Fault::BrokenOff]);
        let mut without_one = lines.clone();
        without_one.remove(approved);
        assert!(faults(&without_one).contains(&Fault::Tree));

        let part = export(&idp, "?include=evidence&from=5").await;
        let of_part = verify(&part, &[]);
        assert!(of_part.is_good(), "{:?}", of_part.findings);
        assert_eq!(of_part.events, report.events - 4);
        assert!(faults(&export(&idp, "").await).is_empty(), "without evidence the log itself verifies");
        for (query, pointer) in [
            ("?format=xml", "/format"),
            ("?from=100000", "/from"),
            ("?from=0", "/from"),
            ("?format=csv&include=evidence", "/include"),
        ] {
            idp.get(&format!("/v1/audit/export{query}")).await.invalid(&[pointer]);
        }
    })
    .await;
}

#[tokio::test]
async fn an_export_for_spreadsheets_ends_with_the_checkpoint() {
    both(async |app| {
        let idp = app.admin().await;
        let text = idp.get("/v1/audit/export?format=csv").await.text();
        assert!(text.starts_with("position,id,type,") && text.ends_with("\"\r\n"), "{text}");
        let (note, head) = checkpoint(&idp).await;
        assert!(text.contains(&note) && text.contains(&format!("\r\n{},,checkpoint,", head.size)), "{text}");
    })
    .await;
}

#[tokio::test]
async fn an_auditor_finds_what_happened_by_its_particulars() {
    both(async |app| {
        let idp = app.admin().await;
        let began = app.clock.time();
        live_a_day(app, &idp).await;
        let all = idp.get("/v1/events?limit=200").await.ok(200);
        let all = all["items"].as_array().unwrap().clone();
        let of = |kind: &str| all.iter().find(|event| event["type"] == kind).unwrap().clone();
        let approved = of("challenge.approved");
        for (query, holds) in [
            ("type=challenge.approved".to_owned(), ("/type", json!("challenge.approved"))),
            (format!("user_id={}", text(&approved, "user_id")), ("/user_id", approved["user_id"].clone())),
            (format!("device_id={}", text(&approved, "device_id")), ("/device_id", approved["device_id"].clone())),
            (
                format!("challenge_id={}", text(&approved, "challenge_id")),
                ("/challenge_id", approved["challenge_id"].clone()),
            ),
            (format!("actor_id={}", idp.id), ("/actor/id", json!(idp.id))),
            (format!("api_client_id={}", idp.id), ("/api_client_id", json!(idp.id))),
        ] {
            let expected: Vec<_> =
                all.iter().filter(|event| event.pointer(holds.0) == Some(&holds.1)).cloned().collect();
            let mut found = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = idp.get(&format!("/v1/audit?limit=2&{query}{cursor}")).await.ok(200);
                found.extend(page["items"].as_array().unwrap().iter().cloned());
                let Some(next) = page.get("next_cursor").and_then(Value::as_str) else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(found, expected, "{query}");
            assert!(!found.is_empty(), "{query}");
        }
        let before = idp.get(&format!("/v1/audit?to={began}&limit=200")).await.ok(200);
        let after = idp.get(&format!("/v1/audit?from={began}&limit=200")).await.ok(200);
        let count = |page: &Value| page["items"].as_array().unwrap().len();
        assert_eq!(count(&before) + count(&after), all.len());
        for (query, pointer) in [
            ("type=nothing", "/type"),
            ("user_id=x", "/user_id"),
            ("from=yesterday", "/from"),
            ("cursor=01", "/cursor"),
            ("limit=0", "/limit"),
        ] {
            idp.get(&format!("/v1/audit?{query}")).await.invalid(&[pointer]);
        }
    })
    .await;
}
