//! The stand-ins' only touch of real time and randomness. Everything else is handed a [`Clock`].

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// The stand-in's idea of now, in unix seconds; a test hands in one that it moves.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        #[expect(clippy::disallowed_methods, reason = "the machine's clock, for those who hand in no other")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
        i64::try_from(since).unwrap_or(i64::MAX)
    })
}

/// Real time passes: a slow answer is slow.
pub(crate) async fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "slowness is what is simulated here")]
    tokio::time::sleep(time).await;
}

/// Unpredictable bytes, for tokens and secrets of throw-away accounts.
pub(crate) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| std::io::Error::other("no randomness on this machine"))?;
    Ok(bytes)
}
