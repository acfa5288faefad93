//! The store's contract, on SQLite and on PostgreSQL: every method of every port.
//!
//! A test is a sentence and runs on a fresh database of each kind. To add one: a function in its noun's file that
//! goes through `World::each()`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "in a test a panic is the report")]

mod api_clients;
mod audit;
mod challenges;
mod devices;
mod enrollments;
mod events;
mod faults;
mod kit;
mod leases;
mod notifications;
mod plans;
mod queue;
mod reserve;
mod retention;
mod system;
mod tenants;
mod test_pushes;
mod users;
mod webhooks;
mod world;
