//! What the fuzz targets do with any bytes: one module per target, with the property that it asserts.
//!
//! The very same files are compiled into the fuzz targets (`fuzz/fuzz_targets/`), which therefore need nothing else of the kit,
//! and replayed over the corpora by `tests/it/hostile.rs`. So a module here uses no other of the kit, and nothing of its
//! neighbours. Each `run` panics where its property is broken, and says whether what it was given was taken.
//!
//! A property never asks the code under test whether it was right: it says the rule a second time, in another way. To add a
//! target: a module here, its line in [`ALL`], `fuzz/fuzz_targets/<target>.rs`, its entry in `fuzz/Cargo.toml`, and a corpus.

pub mod bodies;
pub mod config;
pub mod jose;
pub mod jwk;
pub mod provider;
pub mod webhook_url;

/// A target: whether what it was given was taken.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by the name of its corpus.
pub const ALL: [(&str, Target); 6] = [
    ("bodies", bodies::run),
    ("config", config::run),
    ("jose", jose::run),
    ("jwk", jwk::run),
    ("provider", provider::run),
    ("webhook_url", webhook_url::run),
];
