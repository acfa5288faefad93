//! Any bytes to `tests/src/hostile/jose.rs`, which says what has to hold.
#![no_main]

#[allow(dead_code, reason = "the replay in the ordinary tests asks for more")]
#[path = "../../tests/src/hostile/jose.rs"]
mod jose;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = jose::run(data);
});
