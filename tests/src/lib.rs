//! The test kit: the real server in this process, on a database that only this test knows, under a clock that only
//! this test moves.
//!
//! A story is a module `tests/it/<story>.rs` (and its line in `tests/it/main.rs`) with tests like this one:
//!
//! ```ignore
//! #[tokio::test]
//! async fn an_approval_ends_the_waiting_call() {
//!     both(async |app| {
//!         let idp = app.admin().await;                                   // an API client with scope `admin`
//!         let phone = idp.enroll("ada").await;                           // enrolled, confirmed, active
//!         let challenge = idp.create_challenge(json!({"user": {"external_id": "ada"}})).await;
//!         let waiting = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
//!         app.until_held(1).await;
//!         let shown = phone.only_pending().await;                        // pulled and verified
//!         phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
//!         assert_eq!(waiting.await.unwrap().ok(200)["status"], "approved");
//!     })
//!     .await;
//! }
//! ```
//!
//! - [`both`] runs the story on SQLite and then on PostgreSQL, and ends each with [`TestApp::finish`], which asserts
//!   what every story must leave behind. [`both_with`] adjusts the settings first. [`TestApp::start`] is one alone.
//! - [`TestApp`]: `clock.advance(seconds)`, `sweep()`, `poll()`, `second_node()`, `database` (SQL behind the
//!   server's back), `http` (raw requests), `client(scopes)`, `tenant(slug)`, `client_of(&tenant, scopes)`.
//! - [`ApiClient`]: `get`, `post`, `delete` give a [`Reply`]; `.ok(status)` is its JSON, `.problem(slug)` asserts a
//!   whole problem document. `enroll` gives a [`Device`], which is the simulator's phone and what tests add to it.
//! - [`at_once`] runs many things at the same time.
//! - Artefacts that no honest phone would send: [`forge`]. What the fuzz targets do with any bytes: [`hostile`].
//! - Around several nodes: [`Balancer`] before them, [`commit_thief`] between them and PostgreSQL, [`Cluster`]:
//!   a PostgreSQL of the test's own, to restart.
//!
//! Must never sleep, skip a database, or look at the system's clock. To add a helper: beside its like, if two
//! stories need it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "in a test a panic is the report"
)]

mod api_client;
mod app;
mod at_once;
mod balancer;
mod clock;
mod cluster;
mod database;
mod device;
pub mod forge;
pub mod hostile;
mod http;
mod ports;
pub mod proof;
pub mod providers;
pub mod receiver;

pub use self::{
    api_client::{ApiClient, path_of, text},
    app::{Node, Tenant, TestApp, TestAppOptions, both, both_with},
    at_once::at_once,
    balancer::Balancer,
    clock::TestClock,
    cluster::{Certificate, Cluster, postgres_program},
    database::{Database, Db, commit_thief},
    device::Device,
    http::{Ear, Exchange, Http, Reply},
    ports::free_port,
};
