//! The ports of `countersign-core` over SQLite and PostgreSQL. The only crate that knows SQL.
//!
//! One text for both databases: each noun is one plain file under `sql/`, compiled twice, once inside
//! `sqlite.rs` and once inside `postgres.rs`, which supply the types and a small `dialect`. All writes go
//! through one task per store, the writer (`sql/writer.rs`).
//!
//! Never: a statement outside `sql/`; a network call or a decision of the rules inside a transaction; a clock or
//! randomness of its own (`now` and ids come with the commands).
//!
//! To add a method: its command and outcome in core's `ports/<noun>.rs`, the statement in `sql/<noun>.rs`, a
//! contract test in `tests/contract/<noun>.rs`, which runs on both databases. `sql/database.rs` says how.

mod connect;
mod failure;
mod guards;
mod rows;
mod statement;

mod postgres;
mod sqlite;

pub use connect::{ConnectError, Options, connect};
pub use postgres::PLANNING as POSTGRES_PLANNING;
pub use sqlite::{Backup, BackupError, backup, vacuum};
