//! The stories: what the server promises, told through its public API, on both databases.
//!
//! Must never reach into the server where HTTP will do, sleep, or depend on another story. To add one: a module
//! `tests/it/<story>.rs`, its line below, and tests as the kit's first page shows.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test a panic is the report")]

mod access;
mod admission;
mod api_clients;
mod artefacts;
mod audit;
mod barrier;
mod bulk;
mod canaries;
mod client_proof;
mod command_line;
mod demo;
mod deployment;
mod devices;
mod display;
mod dormant;
mod enrollment;
mod enrollment_guard;
mod erasure;
mod fatigue;
mod flood;
mod forgery;
mod fraud;
mod full_disk;
mod held_reads;
mod hostile;
mod housekeeping;
mod identity;
mod indistinguishable;
mod installations;
mod key_rotation;
mod locks;
mod log;
mod lost_replies;
mod nist;
mod nodes;
mod operations;
mod policy;
mod process;
mod proof;
mod push;
mod races;
mod refusals;
mod reports;
mod requests;
mod restart;
mod risk;
mod server_keys;
mod sign_in;
mod tenants;
mod users;
mod webhooks;
