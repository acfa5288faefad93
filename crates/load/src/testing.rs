//! What the tests share: a stand-in in this process, described in a file as its program would; a false server.

pub(crate) mod false_server;

use countersign_simulator::apns::{DeveloperKey, Handle, Options, start};
use serde_json::json;
use tempfile::TempDir;

const TOPIC: &str = "org.example.app";
/// The file in the place that [`stand_in`] returns.
pub(crate) const DESCRIPTION: &str = "apns.json";

/// A stand-in, and the place of its files.
pub(crate) async fn stand_in() -> (Handle, TempDir) {
    let key = DeveloperKey::generate("KEY0000001", "TEAM000001").unwrap();
    let place = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key_file = write("key.p8", &key.private_pem);
    let (key_id, team_id) = (key.key_id.clone(), key.team_id.clone());
    let handle = start(Options::new(key, TOPIC)).await.unwrap();
    let ca_file = write("ca.pem", handle.ca_pem().unwrap());
    let description = json!({
        "base_url": handle.base_url(), "control_url": handle.control_url(), "ca_file": ca_file,
        "key_file": key_file, "key_id": key_id, "team_id": team_id, "topics": [TOPIC],
    });
    write(DESCRIPTION, &description.to_string());
    (handle, place)
}
