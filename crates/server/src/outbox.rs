//! Tells the dispatcher's lanes, and the sender of webhooks, on this node that something was queued: a hint, beside a
//! look once a second.

use countersign_proto::vocabulary::{PushChannel, Word as _};
use tokio::sync::watch;

/// One bell per channel, and one for webhooks.
pub struct Outbox {
    channels: Vec<(PushChannel, watch::Sender<()>)>,
    webhooks: watch::Sender<()>,
}

impl Default for Outbox {
    fn default() -> Self {
        let channels = PushChannel::ALL.iter().map(|channel| (*channel, watch::Sender::new(()))).collect();
        Self { channels, webhooks: watch::Sender::new(()) }
    }
}

impl Outbox {
    /// Rings for pushes of a channel.
    pub fn ring(&self, channel: PushChannel) {
        for (_, bell) in self.channels.iter().filter(|(of, _)| *of == channel) {
            bell.send_replace(());
        }
    }

    /// Rings for messages to webhooks.
    pub fn ring_for_webhooks(&self) {
        self.webhooks.send_replace(());
    }

    /// Hears each ring from now on; several between two looks are one.
    pub fn queued(&self, channel: PushChannel) -> watch::Receiver<()> {
        let bell = self.channels.iter().find(|(of, _)| *of == channel);
        bell.map_or_else(|| watch::channel(()).1, |(_, bell)| bell.subscribe())
    }

    /// The same for webhooks.
    pub fn queued_for_webhooks(&self) -> watch::Receiver<()> {
        self.webhooks.subscribe()
    }
}
