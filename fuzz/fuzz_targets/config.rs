//! Any bytes to `tests/src/hostile/config.rs`, which says what has to hold.
#![no_main]

#[allow(dead_code, reason = "the replay in the ordinary tests asks for more")]
#[path = "../../tests/src/hostile/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = config::run(data);
});
