//! PostgreSQL restarts under load, cut in the middle of everything: callers are told 503 and when to ask again, nobody
//! hangs, and what they repeat is done once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_simulator::phone::Answer;
use countersign_tests::{
    ApiClient, Cluster, Database, Device, Http, Reply, path_of,
    proof::{rounds, say},
    text,
};
use reqwest::{
    Method, RequestBuilder,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::json;

use crate::process::{PATIENCE, Program};

const FLOWS: usize = 8;
/// A command waits at most 15 s for its outcome, a read 10 s; some time to spare for a busy machine.
const NO_HANG: Duration = Duration::from_secs(25);

#[derive(Default)]
struct Tally {
    sign_ins: AtomicUsize,
    refused: AtomicUsize,
    is_over: AtomicBool,
}

impl Tally {
    async fn until(counter: &AtomicUsize, goal: usize) {
        let wait = async {
            while counter.load(Ordering::SeqCst) < goal {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(2 * PATIENCE, wait).await.expect("it goes on");
    }

    async fn until_more(counter: &AtomicUsize, more: usize) {
        Self::until(counter, counter.load(Ordering::SeqCst) + more).await;
    }

    /// Repeats a request, the very same, until it is taken. Nothing but 503 with its time may stand in the way.
    async fn persist(&self, http: &Http, request: impl Fn() -> RequestBuilder) -> Reply {
        loop {
            let reply = tokio::time::timeout(NO_HANG, http.send(request())).await.expect("nobody hangs");
            if reply.status != 503 {
                return reply;
            }
            reply.problem("unavailable");
            let seconds: u64 = reply.header("retry-after").parse().unwrap();
            assert!((1..=5).contains(&seconds), "{seconds}");
            self.refused.fetch_add(1, Ordering::SeqCst);
            // The time it was told: a client that does not keep to it would only be refused more often.
            tokio::time::timeout(Duration::from_secs(seconds), std::future::pending::<()>()).await.unwrap_err();
        }
    }
}

async fn sign_in(tally: &Tally, client: &ApiClient, phone: &Device, user: &str, key: &str) {
    let http = client.http();
    let body = json!({"user": {"external_id": user}});
    let create = || client.request(Method::POST, "/v1/challenges").header("idempotency-key", key).json(&body);
    let challenge = tally.persist(http, create).await.ok(201);
    let path = format!("/v1/device/challenges/{}", text(&challenge, "id"));
    let url = format!("{}{path}", phone.registration().issuer);
    let pull = || http.request(Method::GET, &path).header(AUTHORIZATION, phone.proof("GET", &url).unwrap());
    let pending = tally.persist(http, pull).await.ok(200);
    let shown = phone.verify(&serde_json::from_value(pending).unwrap()).await.unwrap();
    // If the first answer to the creation was lost, its replay has the number too: the challenge is pending.
    let answer = Answer::approve(Some(text(&challenge, "number")));
    let token = phone.sign_response(&shown, &answer).unwrap();
    let path = format!("{path}/response");
    let respond = || http.request(Method::POST, &path).header(CONTENT_TYPE, "application/jwt").body(token.clone());
    tally.persist(http, respond).await.ok(200);
    let path = format!("{}?wait=50", path_of(&challenge));
    let ended = tally.persist(http, || client.request(Method::GET, &path)).await.ok(200);
    assert_eq!(ended["status"], "approved");
    tally.sign_ins.fetch_add(1, Ordering::SeqCst);
}

async fn flow(tally: Arc<Tally>, client: ApiClient, phone: Device, user: String) {
    for number in 0.. {
        if tally.is_over.load(Ordering::SeqCst) {
            return;
        }
        sign_in(&tally, &client, &phone, &user, &format!("{user}-{number}")).await;
    }
}

/// How many times a write and a read are refused once the database is back, each asked again at once.
async fn attempts_until_healed(client: &ApiClient, user: &str) -> usize {
    let mut attempts = 0;
    while client.get("/v1/devices?limit=1").await.status != 200 {
        attempts += 1;
    }
    let body = json!({"user": {"external_id": user}, "verification": {"mode": "none"}});
    loop {
        let reply = client.post("/v1/challenges", body.clone()).await;
        if reply.status == 201 {
            // There may be twenty of a user at once, and the full proof has more restarts than that.
            client.post_empty(&format!("{}/cancel", path_of(&reply.json()))).await.ok(200);
            return attempts;
        }
        attempts += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_restarts_under_load_loses_nothing_doubles_nothing_and_hangs_nobody() {
    let mut cluster = Cluster::start().await;
    let program = Program::with(Database::create_in(&cluster.url()).await);
    let server = program.serve().await;
    let client = program.client(&server, "admin").await;
    client.enroll("witness").await;
    let tally = Arc::new(Tally::default());
    let mut flows = Vec::new();
    for number in 0..FLOWS {
        let user = format!("user-{number}");
        let phone = client.enroll(&user).await;
        flows.push(tokio::spawn(flow(Arc::clone(&tally), client.clone(), phone, user)));
    }
    let restarts = rounds(2, 20);
    let mut worst = 0;
    for _ in 0..restarts {
        Tally::until_more(&tally.sign_ins, 2 * FLOWS).await;
        cluster.stop_immediately();
        Tally::until_more(&tally.refused, FLOWS).await;
        assert_eq!(client.http().get("/healthz").await.status, 200);
        cluster.start_again().await;
        worst = worst.max(attempts_until_healed(&client, "witness").await);
        // A connection that broke is found broken once, and replaced.
        assert!(worst <= 4, "{worst} requests were refused by a database that was back");
    }
    Tally::until_more(&tally.sign_ins, 2 * FLOWS).await;
    tally.is_over.store(true, Ordering::SeqCst);
    for flow in flows {
        flow.await.unwrap();
    }
    assert_eq!(client.http().take_failures(), Vec::<String>::new());
    let sign_ins = tally.sign_ins.load(Ordering::SeqCst);
    let count = async |sql: &str| usize::try_from(program.database.number(sql).await).unwrap();
    assert_eq!(count("SELECT count(*) FROM challenges WHERE status = 'approved'").await, sign_ins);
    assert_eq!(count("SELECT count(*) FROM events WHERE kind = 'challenge.approved'").await, sign_ins);
    let users = "SELECT count(*) FROM challenges JOIN users ON users.id = challenges.user_id
        WHERE users.external_id <> 'witness'";
    assert_eq!(count(users).await, sign_ins, "one challenge of each idempotency key");
    let all = count("SELECT count(*) FROM challenges").await;
    assert_eq!(count("SELECT count(*) FROM events WHERE kind = 'challenge.created'").await, all);
    say(&format!(
        "database restarts: {restarts}, {sign_ins} sign-ins, {} requests refused with 503, at most {worst} of them after \
         the database was back",
        tally.refused.load(Ordering::SeqCst)
    ));
    let logs = server.stop().await.stderr;
    assert!(!logs.contains("\"alarm\""), "{logs}");
}
