//! Any bytes to `tests/src/hostile/webhook_url.rs`, which says what has to hold.
#![no_main]

#[allow(dead_code, reason = "the replay in the ordinary tests asks for more")]
#[path = "../../tests/src/hostile/webhook_url.rs"]
mod webhook_url;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = webhook_url::run(data);
});
