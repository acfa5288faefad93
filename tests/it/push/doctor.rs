//! `countersign doctor` and a server in trouble, as processes: what an operator sees within a minute.

use countersign_simulator::{apns::DeveloperKey, stand_in::system_clock};
use countersign_tests::{
    Db,
    providers::{Providers, SOON, apns_options, apns_token, fcm_options},
};
use serde_json::Value;

use crate::process::Program;

async fn ask(program: &Program) -> (Option<i32>, Value) {
    let finished = program.run(&["doctor", "--json"]).await;
    (finished.code, finished.object())
}

fn failing(checks: &Value) -> Vec<(String, String)> {
    let all = checks["checks"].as_array().unwrap();
    let text = |value: &Value, member: &str| value[member].as_str().unwrap().to_owned();
    all.iter().filter(|one| one["ok"] == false).map(|one| (text(one, "name"), text(one, "check"))).collect()
}

#[tokio::test]
async fn the_doctor_finds_all_well_rings_nobody_and_names_what_is_not() {
    let providers = Providers::start_by(system_clock()).await;
    let program = Program::on(Db::Sqlite).await.ringing(&providers);
    // Before the first start there is nothing to look at, and nothing is made.
    let (code, checks) = ask(&program).await;
    assert_eq!((code, &checks["ok"]), (Some(1), &Value::Bool(false)), "{checks}");
    assert!(!program.database.file("store.db").exists());
    program.run(&["migrate"]).await;
    let chmod = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        for name in ["apns.p8", "fcm.json"] {
            std::fs::set_permissions(providers.file(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    chmod(0o600);
    let (code, checks) = ask(&program).await;
    assert_eq!((code, &checks["ok"]), (Some(0), &Value::Bool(true)), "{checks}");
    let names: Vec<_> = checks["checks"].as_array().unwrap().iter().map(|check| check["name"].to_string()).collect();
    for name in ["database", "apns:main", "fcm:main", "webpush"] {
        assert!(names.iter().any(|found| found.contains(name)), "{name} is not looked at: {names:?}");
    }
    assert_eq!(providers.apns.accepted_count() + providers.fcm.accepted_count(), 0, "nobody was rung");

    chmod(0o644);
    assert_eq!(failing(&ask(&program).await.1).len(), 2, "both may be read by everybody");
    chmod(0o600);
    let stranger = DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
    std::fs::write(providers.file("apns.p8"), &stranger.private_pem).unwrap();
    let (code, checks) = ask(&program).await;
    assert_eq!(code, Some(1));
    let failing = failing(&checks);
    assert!(failing.iter().all(|(name, _)| name == "apns:main") && !failing.is_empty(), "{failing:?}");
    let text = program.run(&["doctor"]).await;
    assert!(text.stdout.lines().any(|line| line.starts_with("FAIL  apns:main")), "{}", text.stdout);
    assert!(!text.stdout.contains("PRIVATE") && !text.stderr.contains("PRIVATE"));
    providers.stop().await;
}

#[tokio::test]
async fn refused_credentials_show_in_metric_and_log_within_seconds_and_the_others_ring_on() {
    let providers = Providers::start_by(system_clock()).await;
    let stranger = DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
    std::fs::write(providers.file("apns.p8"), &stranger.private_pem).unwrap();
    let program = Program::on(Db::Sqlite).await.ringing(&providers);
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let iphone = client.enroll_with("ada", apns_options(&apns_token('a'))).await;
    let pixel = client.enroll_with("ada", fcm_options("fcm-token-1")).await;
    let challenge = client.plain_challenge("ada").await;
    assert_eq!(providers.next_fcm("fcm-token-1", "challenge").await.data["challenge_id"], challenge["id"]);
    let seen = async {
        while !server.metrics().await.contains("countersign_push_circuits_open{provider=\"apns\"} 1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, seen).await.expect("the metric shows it");
    let metrics = server.metrics().await;
    assert!(metrics.contains("countersign_push_circuits_open{provider=\"fcm\"} 0"), "{metrics}");
    assert!(
        metrics.contains("countersign_pushes_failed_total{provider=\"apns\",reason=\"invalid-provider-token\"}"),
        "{metrics}"
    );
    assert!(metrics.contains("countersign_pushes_accepted_total{provider=\"fcm\",kind=\"challenge\"} 1"), "{metrics}");
    pixel.approve(&pixel.pending_of(&challenge).await, None, None).await.unwrap();
    iphone.fetch_self().await.unwrap();
    let finished = server.stop().await;
    assert!(finished.stderr.contains("apns:main"), "the log names what is refused: {}", finished.stderr);
    providers.stop().await;
}
