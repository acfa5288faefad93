//! The HTTP API: one file per operation, `http/<noun>/<verb>.rs`.
//!
//! A handler parses, asks the rules (`countersign-core`) and the store, and shows the outcome. It holds the clock;
//! it never decides by itself what is allowed, never builds a problem document (only [`problem`] does) and never
//! checks who calls (only [`access`] does).
//! To add an operation: a row in [`operations`], a handler, a line in [`routes`].

pub mod access;
pub mod admission;
pub mod api_clients;
pub mod audit;
pub mod body;
pub mod challenges;
pub mod client_address;
pub mod client_proof;
pub mod device_api;
pub mod devices;
pub mod enrollments;
pub mod events;
pub mod expiry;
pub mod hold;
pub mod installations;
pub mod layers;
pub mod meta;
pub mod openapi;
pub mod operations;
pub mod overtaken;
pub mod paging;
pub mod policy;
pub mod problem;
pub mod reports;
pub mod routes;
pub mod state;
pub mod tenant;
pub mod users;
pub mod webhooks;
