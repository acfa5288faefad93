//! The signatures of a sign-in, with nothing around them: four are made, two are verified.

use std::{thread, time::Duration};

use countersign_proto::jose::{SigningKey, base64url};

use super::Exchange;
use crate::{LoadError, system::Stopwatch};

/// What is signed, and by whom it would be verified.
struct Signed<'a> {
    key: &'a SigningKey,
    message: &'a [u8],
    signature: [u8; 64],
}

impl<'a> Signed<'a> {
    fn of(key: &'a SigningKey, token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let signature = base64url::decode(signature)?.try_into().ok()?;
        Some(Self { key, message: message.as_bytes(), signature })
    }
}

/// Sign-ins' worth of signatures per second, on all cores.
pub(super) fn measure(exchange: &Exchange, length: Duration) -> Result<f64, LoadError> {
    let broken = || LoadError::Failed("a signature of the sample is none".to_owned());
    let Exchange { sample, device, proof, challenge, response, result, .. } = exchange;
    let of = |key, token| Signed::of(key, token).ok_or_else(broken);
    let (proof, response) = (of(&device.key, proof)?, of(&device.key, response)?);
    let (challenge, result) = (of(&sample.server_key, challenge)?, of(&sample.server_key, result)?);
    let made = [&proof, &response, &challenge, &result];
    let verified = [&proof, &response];
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let (began, mut rounds) = (Stopwatch::start(), 0u32);
        while began.elapsed() < length {
            for signed in made {
                std::hint::black_box(signed.key.signature(signed.message).ok()?);
            }
            if !verified.iter().all(|signed| signed.key.public_key().verifies(signed.message, &signed.signature)) {
                return None;
            }
            rounds += 1;
        }
        Some(f64::from(rounds) / began.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten().ok_or_else(broken)).sum()
    })
}
