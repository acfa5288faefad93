//! Ports for what must be found again at the same place after a restart.

use std::net::TcpListener;

use countersign::entropy::SystemEntropy;
use countersign_core::entropy::Entropy as _;

/// A port that is free now, below those that systems lend to outgoing connections and above those of
/// scripts/with-postgres.sh: a server that is started again finds it free again.
pub fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        SystemEntropy::default().fill(&mut random);
        let port = 30_000 + u16::from_ne_bytes(random) % 2_768;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
