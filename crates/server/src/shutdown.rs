//! The one signal that the server stops.

use tokio::sync::watch;

/// Begins the stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<bool>);

/// Hears of the stop.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<bool>);

/// A signal and its listener; listeners are cloned.
pub fn signal() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    /// The server stops, for good.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Whether the server stops.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once the server stops (also if whoever could say so is gone).
    pub async fn begun(&mut self) {
        // The only error is that the sender is gone, which also means the end.
        let _gone_or_begun = self.0.wait_for(|stopping| *stopping).await;
    }
}
