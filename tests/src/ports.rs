//! Ports for what must be found again at the same place after a restart.

use std::net::{TcpListener, UdpSocket};

use countersign::entropy::SystemEntropy;
use countersign_core::entropy::Entropy as _;

/// A port that is free now, below those that systems lend to outgoing connections and above those of
/// scripts/with-postgres.sh: a server that is started again finds it free again.
///
/// Nobody else is given it while this process lives, in this run of the tests or in another one: its UDP twin, which no
/// server of ours takes, stays bound as a mark. (So it is never closed.)
pub fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        SystemEntropy::default().fill(&mut random);
        let port = 30_000 + u16::from_ne_bytes(random) % 2_768;
        let Ok(mark) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            std::mem::forget(mark);
            return port;
        }
    }
}
