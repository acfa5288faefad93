//! The push providers of the demo: stand-ins on this machine that are as strict as Apple's and Google's.

use std::path::Path;

use countersign_proto::vocabulary::{ApnsEnvironment, PushChannel};
use countersign_simulator::{
    apns, fcm,
    phone::Inbox,
    stand_in::{Certificates, Common},
};

use super::DemoError;
use crate::config;

const TOPIC: &str = "org.example.authenticator";
const KEY_ID: &str = "DEMOKEY001";
const TEAM_ID: &str = "DEMOTEAM01";

/// Stand-ins that end when this is dropped.
pub(super) struct Providers {
    apns: apns::Handle,
    fcm: fcm::Handle,
}

impl Providers {
    /// Starts them, and puts the credentials that they know into `folder`.
    pub(super) async fn start(folder: &Path) -> Result<Self, DemoError> {
        let certificates = Certificates::generate()?;
        std::fs::write(folder.join("ca.pem"), certificates.ca_pem())?;
        let common = Common { certificates: Some(certificates), ..Common::default() };
        let key = apns::DeveloperKey::generate(KEY_ID, TEAM_ID)?;
        std::fs::write(folder.join("apns.p8"), &key.private_pem)?;
        let options = apns::Options { common: common.clone(), ..apns::Options::new(key, TOPIC) };
        let apns = apns::start(options).await?;
        let fcm = fcm::start(fcm::Options { common, ..fcm::Options::default() }).await?;
        std::fs::write(folder.join("fcm.json"), fcm.service_account_json())?;
        Ok(Self { apns, fcm })
    }

    /// Points the server at them.
    pub(super) fn configure(&self, push: &mut config::Push, folder: &Path) {
        push.extra_ca_file = folder.join("ca.pem");
        let apns = config::Apns {
            key_file: folder.join("apns.p8"),
            key_id: KEY_ID.to_owned(),
            team_id: TEAM_ID.to_owned(),
            topic: TOPIC.to_owned(),
            // What the stand-in's devices are of.
            environment: ApnsEnvironment::Sandbox,
            base_url: self.apns.base_url().to_owned(),
            tenants: Vec::new(),
        };
        push.apns.insert("demo".to_owned(), apns);
        let fcm = config::Fcm {
            service_account_file: folder.join("fcm.json"),
            base_url: self.fcm.base_url().to_owned(),
            tenants: Vec::new(),
        };
        push.fcm.insert("demo".to_owned(), fcm);
    }

    /// A new iPhone's place at Apple's.
    pub(super) async fn iphone(&self) -> Result<Inbox, DemoError> {
        Ok(Inbox::open(PushChannel::Apns, self.apns.control_url()).await?)
    }

    /// A new Android phone's place at Google's.
    pub(super) async fn android(&self) -> Result<Inbox, DemoError> {
        Ok(Inbox::open(PushChannel::Fcm, self.fcm.control_url()).await?)
    }
}
