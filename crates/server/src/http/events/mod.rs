//! `/v1/events`: the append-only log.

pub mod list;
