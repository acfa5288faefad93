//! A rolling restart: two nodes behind a balancer, restarted one after the other under load, and nobody notices.
//!
//! Complete sign-ins run all the time, with a caller that waits and a phone that waits. The balancer asks `/readyz` ten
//! times a second and never repeats a request, so each one that meets a closed port or a node in its last moments is
//! counted. That it does count is shown by the same restart without a drain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_tests::{
    ApiClient, Balancer, Db, Device, free_port, path_of,
    proof::{rounds, say},
    text,
};
use reqwest::{Method, StatusCode};
use tokio::task::JoinHandle;

use crate::process::{PATIENCE, Program, ServerProcess};

const FLOWS: usize = 6;
const INTERVAL: Duration = Duration::from_millis(100);

struct Stage {
    program: Program,
    balancer: Balancer,
    ports: [u16; 2],
}

impl Stage {
    async fn build(drain_seconds: &str, interval: Duration) -> Self {
        let ports = [free_port(), free_port()];
        let balancer = Balancer::start(&ports, interval).await;
        let program = Program::on(Db::Postgres)
            .await
            .set("server.public_url", balancer.base())
            .set("server.drain_seconds", drain_seconds);
        Self { program, balancer, ports }
    }

    async fn serve(&self, node: usize) -> ServerProcess {
        self.program.serve_at(self.ports[node]).await
    }
}

#[derive(Default)]
struct Tally {
    sign_ins: AtomicUsize,
    is_over: AtomicBool,
}

impl Tally {
    /// Waits until so many more sign-ins are complete.
    async fn until_more(&self, sign_ins: usize) {
        let goal = self.sign_ins.load(Ordering::SeqCst) + sign_ins;
        let wait = async {
            while self.sign_ins.load(Ordering::SeqCst) < goal {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("sign-ins go on");
    }
}

/// One sign-in. Whatever is not the proper answer is a panic.
async fn sign_in(client: &ApiClient, phone: &Device, user: &str) {
    let challenge = client.challenge(user).await;
    let waiting = client.hold(&format!("{}?wait=50", path_of(&challenge)));
    let shown = loop {
        // `None`, or an empty set: the wait was over, or its node had to go. It asks again.
        let set = phone.pending(50, None).await.unwrap();
        if let Some(pending) = set.and_then(|set| set.challenges.into_iter().next()) {
            break phone.verify(&pending).await.unwrap();
        }
    };
    phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
    let mut shown = waiting.await.unwrap().ok(200);
    while shown["status"] == "pending" {
        shown = client.get(&format!("{}?wait=50", path_of(&challenge))).await.ok(200);
    }
    assert_eq!(shown["status"], "approved");
}

async fn flow(client: ApiClient, user: String, tally: Arc<Tally>) {
    let phone = client.enroll(&user).await;
    while !tally.is_over.load(Ordering::SeqCst) {
        sign_in(&client, &phone, &user).await;
        tally.sign_ins.fetch_add(1, Ordering::SeqCst);
    }
}

/// Restarts both, one after the other; while one is away the other carries everything.
async fn restart_both(stage: &Stage, nodes: &mut [Option<ServerProcess>; 2], tally: &Tally) {
    for node in [0, 1] {
        let leaving = nodes[node].take().unwrap();
        let finished = leaving.stop().await;
        assert!(!finished.stderr.contains("\"ERROR\""), "{}", finished.stderr);
        let sent = stage.balancer.forwarded(node);
        tally.until_more(FLOWS).await;
        assert_eq!(stage.balancer.forwarded(node), sent, "it is away");
        nodes[node] = Some(stage.serve(node).await);
        stage.balancer.until_ready(&[true, true]).await;
        tally.until_more(2 * FLOWS).await;
        assert!(stage.balancer.forwarded(node) > sent, "it is back, and works");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_two_nodes_under_load_fails_no_request() {
    let stage = Stage::build("2", INTERVAL).await;
    let mut nodes = [Some(stage.serve(0).await), Some(stage.serve(1).await)];
    stage.balancer.until_ready(&[true, true]).await;
    let client = stage.program.client(nodes[0].as_ref().unwrap(), "admin").await;
    let tally = Arc::new(Tally::default());
    let flows: Vec<_> =
        (0..FLOWS).map(|user| tokio::spawn(flow(client.clone(), format!("user-{user}"), Arc::clone(&tally)))).collect();
    tally.until_more(FLOWS).await;
    let restarts = rounds(1, 10);
    for _ in 0..restarts {
        restart_both(&stage, &mut nodes, &tally).await;
    }
    tally.is_over.store(true, Ordering::SeqCst);
    for flow in flows {
        flow.await.unwrap();
    }
    assert_eq!(stage.balancer.failures(), Vec::<String>::new());
    assert_eq!(client.http().take_failures(), Vec::<String>::new());
    let sign_ins = tally.sign_ins.load(Ordering::SeqCst);
    let approved = "SELECT count(*) FROM challenges WHERE status = 'approved'";
    assert_eq!(stage.program.database.number(approved).await, i64::try_from(sign_ins).unwrap());
    assert_eq!(stage.program.database.number("SELECT count(*) FROM challenges WHERE status <> 'approved'").await, 0);
    say(&format!(
        "rolling restart: {restarts} times both nodes, {sign_ins} sign-ins, {} requests, none failed",
        stage.balancer.forwarded(0) + stage.balancer.forwarded(1)
    ));
    for node in nodes.into_iter().flatten() {
        node.stop().await;
    }
}

/// Asks for as long as it is not over; counts what did not get its answer.
fn knock(client: ApiClient, failed: Arc<AtomicUsize>, is_over: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while !is_over.load(Ordering::SeqCst) {
            let reply = client.request(Method::GET, "/healthz").send().await.unwrap();
            if reply.status() != StatusCode::OK {
                failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_without_a_drain_fails_requests_which_are_counted() {
    // Asked every five seconds: no machine is so slow that nobody knocks meanwhile.
    let stage = Stage::build("0", Duration::from_secs(5)).await;
    let nodes = [stage.serve(0).await, stage.serve(1).await];
    stage.balancer.until_ready(&[true, true]).await;
    let client = stage.program.client(&nodes[0], "admin").await;
    let (failed, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let knocks: Vec<_> = (0..FLOWS).map(|_| knock(client.clone(), Arc::clone(&failed), Arc::clone(&is_over))).collect();
    let [leaving, staying] = nodes;
    leaving.stop().await;
    stage.balancer.until_ready(&[false, true]).await;
    is_over.store(true, Ordering::SeqCst);
    for knock in knocks {
        knock.await.unwrap();
    }
    assert!(failed.load(Ordering::SeqCst) > 0, "the harness would notice nothing");
    assert_eq!(failed.load(Ordering::SeqCst), stage.balancer.failures().len());
    staying.stop().await;
}
