//! An honest client that goes on asking while the server is attacked: it must be answered, each time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Client;
use tokio::task::JoinHandle;

use crate::{ProofError, system};

/// Generous: this says that the server is there, not that it is fast.
const DEADLINE: Duration = Duration::from_secs(10);

/// A client beside the attack.
#[derive(Debug)]
pub(super) struct Probe {
    is_over: Arc<AtomicBool>,
    asking: JoinHandle<Asked>,
}

/// What became of its requests.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) answered: u64,
    pub(super) failed: Vec<String>,
    pub(super) slowest_millis: u64,
}

impl Probe {
    /// Asks for something that needs the key, the database and JSON; each time over a connection of its own, so that it
    /// has to be let in, too.
    pub(super) fn start(base: &str, key: String) -> Result<Self, ProofError> {
        let builder = Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE).pool_max_idle_per_host(0);
        let client = builder.build().map_err(|error| ProofError::Rig(format!("no HTTP client: {error}")))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, url) = (Arc::clone(&is_over), format!("{base}/v1/devices?limit=1"));
        let asking = tokio::spawn(async move {
            let mut asked = Asked::default();
            while !over.load(Ordering::Relaxed) {
                let since = system::Stopwatch::start();
                match client.get(&url).bearer_auth(&key).send().await {
                    Ok(reply) if reply.status().as_u16() == 200 => asked.answered = asked.answered.saturating_add(1),
                    Ok(reply) => asked.failed.push(format!("an honest client got {}", reply.status())),
                    Err(error) => asked.failed.push(format!("an honest client got no answer: {error:?}")),
                }
                asked.slowest_millis = asked.slowest_millis.max(since.micros() / 1_000);
                system::pause(Duration::from_millis(20)).await;
            }
            asked
        });
        Ok(Self { is_over, asking })
    }

    /// Ends it.
    pub(super) async fn finish(self) -> Result<Asked, ProofError> {
        self.is_over.store(true, Ordering::Relaxed);
        self.asking.await.map_err(|error| ProofError::Rig(format!("the honest client: {error}")))
    }
}
