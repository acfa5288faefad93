//! What travels between countersign and everybody else: ids, times, the JSON of the HTTP API, problem
//! documents, and the strict JOSE profile of the signed artefacts.
//!
//! A device SDK, a simulator or an offline verifier links only this crate. It has no I/O, no clock and no
//! rules of its own beyond form: what is *allowed* lives in `countersign-core`.

pub mod absent;
pub mod api;
pub mod audit;
pub mod evidence;
pub mod ids;
pub mod jose;
pub mod json;
pub mod problem;
pub mod push;
pub mod timestamp;
pub mod vocabulary;
