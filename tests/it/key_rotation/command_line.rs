//! The command-line phone replaces its keys, and survives not hearing whether it did.

use std::path::PathBuf;

use countersign_simulator::{
    KeysFile, Phone,
    phone::{Registration, Replace, Rotation},
};
use countersign_tests::{ApiClient, Db, text};
use serde_json::json;

use crate::process::{Program, ServerProcess};

struct Desk {
    program: Program,
    server: ServerProcess,
    client: ApiClient,
    file: PathBuf,
}

impl Desk {
    /// A command-line phone with two keys.
    async fn new(db: Db) -> Self {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let client = program.client(&server, "admin").await;
        let enrollment = client.create_enrollment(json!({"user": {"external_id": "ada"}})).await;
        let uri = text(&enrollment, "enrollment_uri");
        let enrolled = program.json(&["device", "enroll", uri, "--name", "Terminal", "--uv"]).await;
        client.confirm(&enrollment, text(&enrolled, "confirmation_code")).await.ok(200);
        let file = program.database.file(text(&enrolled, "keys_file"));
        Self { program, server, client, file }
    }

    fn registration(&self) -> Registration {
        KeysFile::load(&self.file).unwrap().registrations.remove(0)
    }

    async fn phone(&self) -> Phone {
        let (_, surroundings) = self.client.phones();
        Phone::connect(self.registration(), surroundings.clone()).await.unwrap()
    }

    /// The program dies after it has written the new keys down.
    async fn broken_off(&self, replace: Replace) -> (Phone, Rotation) {
        let phone = self.phone().await;
        let rotation = phone.prepare_rotation(replace).unwrap();
        KeysFile::update(&self.file, |keys| keys.registrations[0].rotation = Some(rotation.clone())).unwrap();
        (phone, rotation)
    }

    /// The server is a process, whose clock is the machine's: its device may replace keys again.
    async fn a_minute_passes(&self) {
        self.program.database.tamper("UPDATE devices SET keys_changed_at = NULL").await;
    }

    async fn is_active(&self) {
        let listed = self.program.json(&["device", "list"]).await;
        assert_eq!(listed["devices"][0]["status"], "active", "{listed}");
        assert!(self.registration().rotation.is_none(), "nothing is under way");
    }

    async fn thumbprint(&self) -> String {
        let devices = self.client.get("/v1/devices").await.ok(200);
        text(&devices["items"][0], "key_thumbprint").to_owned()
    }
}

#[tokio::test]
async fn a_command_line_phone_replaces_its_keys() {
    for db in [Db::Sqlite, Db::Postgres] {
        let desk = Desk::new(db).await;
        for arguments in [&["device", "rotate-key"][..], &["device", "rotate-key", "--uv"]] {
            desk.a_minute_passes().await;
            let before = desk.registration();
            let rotated = desk.program.json(arguments).await;
            let after = desk.registration();
            assert_eq!(text(&rotated, "key_thumbprint"), after.device_key.thumbprint().as_str());
            assert_eq!(desk.thumbprint().await, after.device_key.thumbprint().as_str());
            let uv = |registration: &Registration| registration.uv_key.as_ref().unwrap().thumbprint().clone();
            assert_eq!(uv(&before) != uv(&after), arguments.len() == 3);
            assert_ne!(before.device_key.thumbprint(), after.device_key.thumbprint());
            desk.is_active().await;
        }
        desk.server.stop().await;
    }
}

#[tokio::test]
async fn a_keys_file_speaks_for_its_device_wherever_a_rotation_was_broken_off() {
    for db in [Db::Sqlite, Db::Postgres] {
        let desk = Desk::new(db).await;
        // Before it was sent.
        desk.broken_off(Replace::DeviceKey).await;
        desk.is_active().await;
        desk.a_minute_passes().await;
        // After it was sent, before the reply.
        let (phone, rotation) = desk.broken_off(Replace::Both).await;
        phone.rotate(&rotation).await.unwrap();
        desk.is_active().await;
        assert_eq!(desk.thumbprint().await, desk.registration().device_key.thumbprint().as_str());
        desk.a_minute_passes().await;
        // The same, and the server has forgotten the message meanwhile.
        let (phone, rotation) = desk.broken_off(Replace::DeviceKey).await;
        phone.rotate(&rotation).await.unwrap();
        desk.program.database.tamper("DELETE FROM replies").await;
        desk.is_active().await;
        assert_eq!(desk.program.database.number("SELECT count(*) FROM device_keys").await, 2 + 1 + 2 + 1);
        desk.server.stop().await;
    }
}
