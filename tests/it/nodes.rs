//! Several nodes over one PostgreSQL, and what happens to them: leaving, restarts, a database that goes away, a COMMIT
//! whose answer is lost, a machine that goes without a word, roles with few rights, TLS that is not what it should be.
//!
//! Nodes are processes wherever a process is what comes and goes. To add a fault: a module with the fault, a test that
//! nothing is lost or done twice by it, and where a harness counts failures, one that shows that it can count.
#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

mod database_restart;
mod database_tls;
mod drain;
mod lost_commits;
mod roles;
mod rolling_restart;
mod silence;
