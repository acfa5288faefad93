//! The rules of countersign, without I/O: what is allowed, what follows, what is written down.
//!
//! Handlers and workers (the `countersign` crate) parse and hold the clock; this crate decides; the store
//! persists decided transitions by compare-and-swap. Nothing here touches a socket, a file, a clock or the
//! system's random source: time and randomness are values and ports that the caller passes in.
//!
//! To add a rule: put it in its noun's module as a pure function with its own small error enum that knows
//! nothing of HTTP, quote the protocol's step, and test it there. To add a state change: a command and an
//! outcome in `ports/<noun>.rs`, then the store's method and its contract test.

pub mod actor;
pub mod api_client;
pub mod bulk;
pub mod challenge;
pub mod clock;
pub mod device;
pub mod digest;
pub mod enrollment;
pub mod entropy;
pub mod event;
pub mod limits;
pub mod policy;
pub mod ports;
pub mod push;
pub mod retry;
pub mod rotation;
pub mod text;
pub mod verify;
pub mod version;
pub mod wake;
pub mod webhook;
