//! Any bytes to `tests/src/hostile/jwk.rs`, which says what has to hold.
#![no_main]

#[allow(dead_code, reason = "the replay in the ordinary tests asks for more")]
#[path = "../../tests/src/hostile/jwk.rs"]
mod jwk;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = jwk::run(data);
});
