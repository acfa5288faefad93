//! countersign: a server that asks a person's phone to approve a sign-in.
//!
//! The binary's parts, as a library so that tests and the demo start the very server that `countersign serve`
//! starts. `app` puts it together; `http` answers; `worker` tidies up; `cli` is the command line.

pub mod alarm;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connections;
pub mod decisions;
pub mod disabling;
#[cfg(test)]
mod documents;
pub mod entropy;
pub mod http;
pub mod keyring;
pub mod outbox;
pub mod pushing;
#[doc(hidden)]
pub mod rehearsal;
pub mod shutdown;
pub mod sightings;
pub mod signing;
pub mod telemetry;
pub mod telling;
pub mod waiters;
pub mod worker;
