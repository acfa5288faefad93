//! The `webhooks` settings: what may be connected to.

use std::path::PathBuf;

use serde::Deserialize;

/// Webhooks (protocol 13).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Ports beside 443.
    pub additional_ports: Vec<u16>,
    /// Networks beside the public ones, as `address/length`.
    pub additional_networks: Vec<String>,
    /// Networks that are never connected to, even if public or additional.
    pub refused_networks: Vec<String>,
    /// PEM; authorities that are trusted beside the system's.
    pub extra_ca_file: PathBuf,
}
