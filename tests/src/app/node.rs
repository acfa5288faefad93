//! One server process of a story: what it is made to do by hand instead of in its own time, and what it is asked.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use countersign::{
    app::{self, Running},
    config::Settings,
    entropy::SystemEntropy,
    worker,
};

#[cfg(doc)]
use crate::TestApp;
use crate::{Http, TestClock};

/// One server process: the first is in [`TestApp`], further ones from [`TestApp::second_node`].
pub struct Node {
    running: Running,
    /// Raw requests to this node.
    pub http: Http,
}

impl Node {
    pub(super) async fn start(settings: &Settings, clock: &TestClock) -> Self {
        let entropy = Arc::new(SystemEntropy::default());
        let running = app::start(settings, Arc::new(clock.clone()), entropy, None).await;
        let running = running.unwrap_or_else(|error| panic!("the server does not start: {error}"));
        let http = Http::new(format!("http://{}", running.address));
        Self { running, http }
    }

    /// What its handlers have at hand: store, keys, held reads.
    pub fn app(&self) -> &Arc<countersign::http::state::App> {
        &self.running.app
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Runs the sweeper once.
    pub async fn sweep(&self) {
        worker::sweep::round(self.app()).await.unwrap();
    }

    /// Sends what is due on every channel, once; returns how much that was. Its own dispatcher may have been faster.
    pub async fn dispatch(&self) -> usize {
        let mut sent = 0;
        for channel in worker::dispatch::CHANNELS {
            sent += worker::dispatch::round(self.app(), channel).await.unwrap();
        }
        sent
    }

    /// Tells webhooks what is due, once; returns how much that was. Its own worker may have been faster.
    pub async fn tell(&self) -> usize {
        worker::webhooks::round(self.app()).await.unwrap()
    }

    /// Writes down what devices were seen to do, once.
    pub async fn observe(&self) {
        worker::observe::round(self.app()).await.unwrap();
    }

    /// Runs the poller of held reads once.
    pub async fn poll(&self) {
        worker::poll::round(self.app()).await.unwrap();
    }

    /// Ids of challenges and devices that held reads wait for.
    pub fn held(&self) -> usize {
        self.app().waiters.challenges().len() + self.app().waiters.devices().len()
    }

    /// Waits until held reads wait for this many ids: no longer than they take to arrive.
    pub async fn until_held(&self, ids: usize) {
        self.until(|node| node.held() == ids).await;
    }

    /// Waits until something is so that needs no more than other tasks of this process getting their turn.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                self.turn().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it became so within 10 s");
    }

    /// Lets the other tasks of this process have their turn: for a millisecond.
    pub async fn turn(&self) {
        tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>()).await.unwrap_err();
    }

    /// Stops it; it must have answered no request with 500.
    pub async fn stop(self) {
        self.running.stop().await;
        let failures = self.http.take_failures();
        assert!(failures.is_empty(), "replies 500: {failures:#?}");
    }
}
