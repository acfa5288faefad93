//! The programs as a developer runs them: what they print is true, and they end when told to.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

const DEADLINE: Duration = Duration::from_secs(30);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-simulator"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A stand-in's program, with what it said when it was ready.
struct Running {
    child: Child,
    /// Held: who prints into a closed pipe dies of it.
    _rest: BufReader<ChildStdout>,
    said: Value,
}

impl Running {
    async fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        tokio::time::timeout(DEADLINE, out.read_line(&mut line)).await.expect("it is ready").unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        Self { child, _rest: out, said }
    }

    fn text(&self, member: &str) -> &str {
        self.said.get(member).and_then(Value::as_str).unwrap_or_else(|| panic!("{member}"))
    }

    fn file(&self, member: &str) -> String {
        std::fs::read_to_string(self.text(member)).unwrap()
    }

    /// Ends it as a terminal or an init system does.
    async fn end(mut self, signal: &str) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
        tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it ends").unwrap()
    }
}

fn client(ca_pem: Option<&str>) -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(DEADLINE).retry(reqwest::retry::never());
    let roots = ca_pem.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
    builder.tls_certs_only(roots).build().unwrap()
}

#[tokio::test]
async fn the_apns_program_prints_what_a_server_needs_and_ends_at_sigterm() {
    let running = Running::start(&["apns", "--json", "--topic", "org.example.a", "--topic", "org.example.b"]).await;
    assert_eq!(running.text("provider"), "apns");
    assert!(running.file("key_file").contains("BEGIN PRIVATE KEY"));
    let settings = running.text("settings");
    for part in ["extra_ca_file", "[push.apns.standin1]", "[push.apns.standin2]", "org.example.b", "sandbox"] {
        assert!(settings.contains(part), "{part} in {settings}");
    }
    let http = client(Some(&running.file("ca_file")));
    let refused = http.post(format!("{}/3/device/{}", running.text("base_url"), "ab".repeat(32))).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 403);
    assert_eq!(refused.json::<Value>().await.unwrap(), json!({"reason": "MissingProviderToken"}));
    let plain = client(None);
    let registered = plain.post(format!("{}/register", running.text("control_url"))).send().await.unwrap();
    let binding: Value = registered.json().await.unwrap();
    assert_eq!((&binding["channel"], &binding["topic"]), (&json!("apns"), &json!("org.example.a")));
    let key_file = running.text("key_file").to_owned();
    assert!(running.end("-TERM").await.success());
    assert!(!Path::new(&key_file).exists(), "its files vanish with it");
}

#[tokio::test]
async fn the_fcm_program_takes_a_script_from_a_file_and_from_the_control_port() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.json");
    std::fs::write(&script, r#"{"t": [{"do": "status", "code": 503}], "*": [{"do": "html", "code": 502}]}"#).unwrap();
    let (script, kept) = (script.to_str().unwrap(), directory.path().join("kept"));
    let kept = kept.to_str().unwrap();
    let running = Running::start(&["fcm", "--json", "--plain-http", "--script", script, "--dir", kept]).await;
    let account: Value = serde_json::from_str(&running.file("service_account_file")).unwrap();
    assert_eq!((&account["token_uri"], &running.said["ca_file"]), (&running.said["token_uri"], &Value::Null));
    let http = client(None);
    let url = format!("{}/v1/projects/stand-in/messages:send", running.text("base_url"));
    let send = async || {
        let sent = http.post(&url).json(&json!({"message": {"token": "t"}})).send().await.unwrap();
        sent.status().as_u16()
    };
    let control = async |path: &str, body: Value| {
        let sent = http.post(format!("{}{path}", running.text("control_url"))).json(&body).send().await.unwrap();
        sent.status().as_u16()
    };
    assert_eq!((send().await, send().await), (503, 502));
    assert_eq!(control("/script/t", json!([{"do": "status", "code": 429}])).await, 204);
    assert_eq!(control("/always", Value::Null).await, 204);
    assert_eq!((send().await, send().await), (429, 401));
    assert_eq!(control("/script/t", json!([{"do": "nonsense"}])).await, 400);
    assert_eq!(control("/elsewhere", json!({})).await, 404);
    let status = http.get(format!("{}/status", running.text("control_url"))).send().await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!((&status["attempted"], &status["accepted"], &status["assertions"]), (&json!(4), &json!(0), &json!(0)));
    assert!(running.end("-INT").await.success());
    assert!(Path::new(kept).join("service-account.json").exists(), "what --dir names stays");
}

#[tokio::test]
async fn the_webpush_program_gives_out_subscriptions() {
    let running = Running::start(&["webpush", "--json"]).await;
    let http = client(Some(&running.file("ca_file")));
    let subscribed: Value = http.post(running.text("subscribe_url")).send().await.unwrap().json().await.unwrap();
    assert!(subscribed["endpoint"].as_str().unwrap().starts_with(running.text("base_url")));
    assert!(running.text("settings").contains("additional_networks"));
    assert!(running.end("-TERM").await.success());
}

#[tokio::test]
async fn a_stand_in_of_a_trial_shows_the_trials_certificate_under_its_name_and_says_that_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let made = program(&["trial", "--dir", &path("."), "--host", "localhost"]).output().await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let bundle = path("localhost.pem");
    let running = Running::start(&["webpush", "--json", "--host", "localhost", "--certificate-file", &bundle]).await;
    assert!(running.text("base_url").starts_with("https://localhost:"), "{}", running.said);
    assert_eq!(running.file("ca_file"), std::fs::read_to_string(path("ca.pem")).unwrap());
    let http = client(Some(&running.file("ca_file")));
    assert_eq!(http.post(running.text("subscribe_url")).send().await.unwrap().status().as_u16(), 201);

    let provider = running.text("control_url").to_owned();
    let health = async |provider: &str| program(&["health", "--provider", provider]).output().await.unwrap();
    assert!(health(&provider).await.status.success());
    assert!(running.end("-TERM").await.success());
    let gone = health(&provider).await;
    assert_eq!((gone.status.code(), String::from_utf8_lossy(&gone.stderr).lines().count()), (Some(1), 1), "{gone:?}");
    let broken = program(&["apns", "--certificate-file", &path("ca.pem")]).output().await.unwrap();
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
}

#[tokio::test]
async fn a_phone_that_cannot_register_says_why_in_one_object() {
    let running = Running::start(&["fcm", "--json", "--plain-http"]).await;
    let provider = running.text("control_url").to_owned();
    let ticket = "A".repeat(43);
    // Nothing listens at port 1.
    let uri = format!("http://127.0.0.1:1/enroll#t={ticket}");
    let rows = [
        (vec!["--enroll", &uri, "--push", "fcm", "--provider", &provider], "no reply"),
        (vec!["--enroll", "nonsense", "--push", "fcm", "--provider", &provider], "enrollment URI"),
        (vec!["--enroll", &uri, "--push", "apns", "--provider", &provider], "another provider"),
    ];
    for (arguments, reason) in rows {
        let mut all = vec!["phone", "--json"];
        all.extend(arguments);
        let Output { status, stdout, stderr } =
            tokio::time::timeout(DEADLINE, program(&all).output()).await.expect("it ends").unwrap();
        assert!(!status.success());
        let said: Value = serde_json::from_slice(&stdout).unwrap();
        assert!(said["error"].as_str().unwrap().contains(reason), "{said}");
        assert!(!String::from_utf8_lossy(&stderr).contains(&ticket), "the ticket is nobody's business");
    }
}
