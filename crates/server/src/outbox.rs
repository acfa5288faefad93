//! Tells the dispatcher's lanes on this node that pushes were queued: a hint, beside a look once a second.

use countersign_proto::vocabulary::{PushChannel, Word as _};
use tokio::sync::watch;

/// One bell per channel.
pub struct Outbox(Vec<(PushChannel, watch::Sender<()>)>);

impl Default for Outbox {
    fn default() -> Self {
        Self(PushChannel::ALL.iter().map(|channel| (*channel, watch::Sender::new(()))).collect())
    }
}

impl Outbox {
    /// Rings for pushes of a channel.
    pub fn ring(&self, channel: PushChannel) {
        for (_, bell) in self.0.iter().filter(|(of, _)| *of == channel) {
            bell.send_replace(());
        }
    }

    /// Hears each ring from now on; several between two looks are one.
    pub fn queued(&self, channel: PushChannel) -> watch::Receiver<()> {
        let bell = self.0.iter().find(|(of, _)| *of == channel);
        bell.map_or_else(|| watch::channel(()).1, |(_, bell)| bell.subscribe())
    }
}
