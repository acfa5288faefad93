//! kill -9 under load: what the server has acknowledged is there when it starts again.
//!
//! Sixteen clients enroll phones, ask for approvals, answer and revoke through the API of a real process. It is
//! killed once it has acknowledged a number of things that a printed seed draws, so that fifteen of them are in the
//! middle of something. Then it starts again on the same database, and every acknowledgement is held against it.
//! The checker itself is shown to notice what is missing (`the_checker_notices…`).

mod backup;
mod ledger;
mod load;

use std::sync::Arc;

use countersign::entropy::SystemEntropy;
use countersign_core::entropy::Entropy as _;
use countersign_tests::{ApiClient, Db};

use self::{
    ledger::{Fact, Ledger},
    load::Random,
};
use crate::process::{Program, ServerProcess, free_port};

/// Clients at once.
const CLIENTS: u64 = 16;
/// Kills of one database.
const KILLS: u64 = 10;
/// Far more than a start takes, also in a debug build on a machine that is busy; the promise is one second.
const MAX_READY_MILLIS: u64 = 10_000;

async fn program(db: Db) -> Program {
    // The issuer must outlive the process, and so must its port.
    Program::on(db).await.set("server.listen", &format!("127.0.0.1:{}", free_port()))
}

/// Loads the server until it has acknowledged as many things as the seed says, then kills it.
async fn load_and_kill(server: &mut ServerProcess, client: &ApiClient, ledger: &Arc<Ledger>, seed: u64, round: u64) {
    let mut random = Random::new(seed);
    let acknowledgements = 40 + random.below(160);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, ledger, random) = (client.clone(), Arc::clone(ledger), Random::new(random.next()));
            tokio::spawn(load::run(client, ledger, random, format!("user-{round}-{number}")))
        })
        .collect();
    ledger.until(acknowledgements).await;
    server.kill_9();
    for client in clients {
        client.await.unwrap();
    }
}

async fn survives_kills(db: Db) {
    let mut seed = [0; 8];
    SystemEntropy::default().fill(&mut seed);
    let seed = u64::from_ne_bytes(seed);
    let program = program(db).await;
    let mut server = program.serve().await;
    let client = program.client(&server, "admin").await;
    let mut ledgers = Vec::new();
    for round in 0..KILLS {
        let ledger = Arc::new(Ledger::default());
        load_and_kill(&mut server, &client, &ledger, seed.wrapping_add(round), round).await;
        let finished = server.finish().await;
        assert_eq!(finished.code, None, "killed, not ended: {finished:?}");
        assert!(!finished.stderr.contains("\"alarm\""), "{}", finished.stderr);
        server = program.serve().await;
        println!(
            "{db:?}, seed {seed}, kill {round}: {} acknowledgements; ready after {} ms",
            ledger.len(),
            server.ready_after_millis
        );
        assert!(server.ready_after_millis < MAX_READY_MILLIS);
        let violations = ledger.violations(&client, &program.database).await;
        assert!(violations.is_empty(), "{db:?}, seed {seed}, kill {round}: {violations:#?}");
        ledgers.push(ledger);
    }
    // What was there after one kill is still there after the others.
    for (round, ledger) in ledgers.iter().enumerate() {
        let violations = ledger.violations(&client, &program.database).await;
        assert!(violations.is_empty(), "{db:?}, seed {seed}, after kill {round} and all others: {violations:#?}");
    }
    let finished = server.stop().await;
    assert!(!finished.stderr.contains("\"alarm\""), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_on_sqlite() {
    survives_kills(Db::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_on_postgresql() {
    survives_kills(Db::Postgres).await;
}

#[tokio::test]
async fn the_checker_notices_each_kind_of_loss() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = program(db).await;
        let server = program.serve().await;
        let client = program.client(&server, "admin").await;
        let ledger = Arc::new(Ledger::default());
        let mut random = Random::new(1);
        for number in 0..4 {
            load::flow(&client, &ledger, &mut random, &format!("user-{number}")).await.unwrap();
        }
        assert_eq!(ledger.violations(&client, &program.database).await, Vec::<String>::new());

        // A ledger that claims what never was.
        let device = client.enroll("eve").await;
        let pending = client.plain_challenge("eve").await;
        let pending = pending["id"].as_str().unwrap().to_owned();
        for lie in [
            Fact::DeviceActive("019a0000-0000-7000-8000-000000000000".to_owned()),
            Fact::DeviceRevoked(device.device_id()),
            Fact::ChallengeCreated("019a0000-0000-7000-8000-000000000000".to_owned()),
            Fact::Decided(pending.clone(), "approved"),
            Fact::Decided(pending.clone(), "denied"),
        ] {
            let lies = Ledger::default();
            lies.add(lie);
            assert_eq!(lies.violations(&client, &program.database).await.len(), 1, "{lies:?}");
        }

        // A database that has lost or gained something behind the server's back.
        let nothing = Ledger::default();
        let id = program.database.id(&pending);
        let created = Ledger::default();
        created.add(Fact::ChallengeCreated(pending.clone()));
        let forge = format!("UPDATE challenges SET status = 'approved', decided_at = created_at WHERE id = {id}");
        assert_eq!(program.database.tamper(&forge).await, 1);
        assert!(!created.violations(&client, &program.database).await.is_empty(), "an approval without evidence");
        assert!(!nothing.violations(&client, &program.database).await.is_empty(), "an approval without an event");
        assert_eq!(program.database.tamper(&format!("DELETE FROM challenges WHERE id = {id}")).await, 1);
        assert!(!created.violations(&client, &program.database).await.is_empty(), "a challenge that is gone");
        server.stop().await;
    }
}
