//! The barrier: once an end has returned, nothing by whom it ends commits, on any node.
//!
//! In `barrier/phones.rs` a phone, its keys, its user or its organisation come to their end while the phone answers,
//! pulls and moves its push channel; in `barrier/callers.rs` an API key, its client or their organisation, while the key
//! asks, cancels, invites and renames. Whoever began after the reply must be refused, and what was done when the reply
//! came is all that ever is. Leases of pushes are raced below HTTP, in the contract tests of devices, users and tenants.
//!
//! Small in `make test`, some thousand acts for each end in `make proof`. To race one more end: a variant of the `End` of
//! either file and a test there.

mod callers;
mod phones;

use std::sync::Arc;

use countersign_tests::{Db, Http, Reply, TestApp};
use tokio::sync::watch;

/// Lanes of each phone or key: on two nodes one through each.
const LANES: usize = 2;

/// What everybody in a round knows of its end.
#[derive(Clone, Default)]
struct Finish {
    has_ended: Arc<watch::Sender<bool>>,
    done: Arc<watch::Sender<usize>>,
}

impl Finish {
    /// Whether what begins now begins after the reply to the end.
    fn is_over(&self) -> bool {
        *self.has_ended.borrow()
    }

    fn call(&self) {
        self.has_ended.send_replace(true);
    }

    fn count(&self) {
        self.done.send_modify(|done| *done += 1);
    }

    /// Until it is over.
    async fn over(&self) {
        self.has_ended.subscribe().wait_for(|is_over| *is_over).await.unwrap();
    }

    /// Until so much was done.
    async fn after(&self, acts: usize) {
        self.done.subscribe().wait_for(|done| *done >= acts).await.unwrap();
    }
}

/// The last part of a refusal's type.
fn kind(reply: &Reply) -> String {
    reply.json()["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap().to_owned()
}

/// On SQLite on one node, on PostgreSQL on two.
async fn everywhere(race: impl AsyncFn(&TestApp, Vec<Http>)) {
    let app = TestApp::start(Db::Sqlite).await;
    race(&app, vec![app.http.clone()]).await;
    app.finish().await;
    let app = TestApp::start(Db::Postgres).await;
    let second = app.second_node().await;
    race(&app, vec![second.http.clone(), app.http.clone()]).await;
    second.stop().await;
    app.finish().await;
}
