//! The push senders as they are configured at this moment.
//!
//! Credentials are files; they and the `push` settings are read again from time to time and at SIGHUP, and senders made
//! of them replace the old ones as a whole. What cannot be used changes nothing: the old senders go on, and the log and
//! a metric say so. Pushes in flight end with the senders that began them.
//! Never holds the lock while anything is sent or read.
//! To add a kind of credential: its settings, its lines in [`read`].

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use countersign_core::{clock::Clock, digest::Digest, entropy::Entropy, ports::Store};
use countersign_proto::ids::TenantId;
use countersign_push::{ApnsSettings, FcmSettings, PushSettings, Senders, SettingsError, WebPushSettings};
use zeroize::Zeroizing;

use crate::config::{ConfigError, Push, Settings};

/// Why push cannot be set up. Each message is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum PushingError {
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("{setting}: cannot read {path}: {cause}")]
    Unreadable {
        /// Which setting names it.
        setting: String,
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A setting names a tenant that does not exist.
    #[error("{setting}.tenants: there is no tenant {slug}")]
    UnknownTenant {
        /// Which setting.
        setting: String,
        /// The slug.
        slug: String,
    },
    /// A network is none.
    #[error("push.webpush.additional_networks: {0} is not a network like 10.1.0.0/16")]
    Network(String),
    /// A credential cannot be used.
    #[error(transparent)]
    Credential(#[from] SettingsError),
    /// The tenants cannot be looked up.
    #[error("the database does not answer: {0}")]
    Store(#[from] countersign_core::ports::StoreError),
}

/// What senders need besides their settings.
#[derive(Clone)]
pub struct Surroundings {
    /// To find tenants.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The Web Push key.
    pub vapid_key: Zeroizing<[u8; 32]>,
    /// Whom push services may write to if the settings name nobody.
    pub issuer: String,
}

/// The senders in use.
pub struct Pushing {
    settings: Settings,
    surroundings: Surroundings,
    senders: RwLock<Arc<Senders>>,
    /// Of everything that the senders were made of.
    digest: Mutex<Digest>,
}

/// What a look at the credentials came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// They are what they were.
    Unchanged,
    /// From now on pushes are sent with new ones.
    Changed,
}

impl Pushing {
    /// Reads the credentials and makes senders.
    ///
    /// # Errors
    /// [`PushingError`].
    pub async fn open(settings: &Settings, surroundings: Surroundings) -> Result<Self, PushingError> {
        let (push, digest) = read(&settings.push, &surroundings).await?;
        let senders = Senders::new(push, Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy))?;
        Ok(Self {
            settings: settings.clone(),
            surroundings,
            senders: RwLock::new(Arc::new(senders)),
            digest: Mutex::new(digest),
        })
    }

    /// The senders to use now.
    pub fn senders(&self) -> Arc<Senders> {
        Arc::clone(&self.senders.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often to look for changes.
    pub fn reload_seconds(&self) -> i64 {
        i64::from(self.settings.push.reload_seconds)
    }

    /// Reads settings and credentials again.
    ///
    /// # Errors
    /// [`PushingError`]: the old senders go on.
    pub async fn reload(&self) -> Result<Reload, PushingError> {
        let (push, digest) = read(&self.settings.reload_push()?, &self.surroundings).await?;
        if *self.digest.lock().unwrap_or_else(PoisonError::into_inner) == digest {
            return Ok(Reload::Unchanged);
        }
        let Surroundings { clock, entropy, .. } = &self.surroundings;
        let senders = Senders::new(push, Arc::clone(clock), Arc::clone(entropy))?;
        *self.senders.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(senders);
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner) = digest;
        Ok(Reload::Changed)
    }
}

/// What senders are made of, and a digest of it.
///
/// # Errors
/// [`PushingError`].
pub async fn read(push: &Push, surroundings: &Surroundings) -> Result<(PushSettings, Digest), PushingError> {
    // The settings' own text has no secret in it; the files' contents follow.
    let mut content = Zeroizing::new(format!("{push:?}").into_bytes());
    let mut apns = Vec::new();
    for (name, settings) in &push.apns {
        let setting = format!("push.apns.{name}");
        let key_pem = text(&setting, &settings.key_file, &mut content).await?;
        apns.push(ApnsSettings {
            name: name.clone(),
            key_pem,
            key_id: settings.key_id.clone(),
            team_id: settings.team_id.clone(),
            topic: settings.topic.clone(),
            environment: settings.environment,
            base_url: settings.base_url().to_owned(),
            tenants: tenants(&setting, &settings.tenants, surroundings).await?,
        });
    }
    let mut fcm = Vec::new();
    for (name, settings) in &push.fcm {
        let setting = format!("push.fcm.{name}");
        fcm.push(FcmSettings {
            name: name.clone(),
            service_account_json: text(&setting, &settings.service_account_file, &mut content).await?,
            base_url: settings.base_url().to_owned(),
            tenants: tenants(&setting, &settings.tenants, surroundings).await?,
        });
    }
    let extra_ca_pem = match push.extra_ca_file.as_os_str().is_empty() {
        true => None,
        false => Some(text("push.extra_ca_file", &push.extra_ca_file, &mut content).await?.as_bytes().to_vec()),
    };
    let webpush = webpush(push, surroundings)?;
    let digest = Digest::of(content.as_slice());
    Ok((PushSettings { apns, fcm, webpush, extra_ca_pem }, digest))
}

fn webpush(push: &Push, surroundings: &Surroundings) -> Result<WebPushSettings, PushingError> {
    let settings = &push.webpush;
    let networks = settings.additional_networks.iter();
    let networks = networks.map(|text| text.parse().map_err(|_| PushingError::Network(text.clone())));
    let contact = match settings.contact.as_str() {
        "" if surroundings.issuer.starts_with("https://") => surroundings.issuer.clone(),
        // A server on loopback has no address for others; strict push services refuse this one.
        "" => "mailto:nobody@localhost".to_owned(),
        contact => contact.to_owned(),
    };
    Ok(WebPushSettings {
        vapid_private_key: surroundings.vapid_key.clone(),
        contact,
        additional_ports: settings.additional_ports.clone(),
        additional_networks: networks.collect::<Result<_, _>>()?,
        refused_networks: Vec::new(),
        extra_ca_pem: None,
    })
}

async fn text(setting: &str, path: &Path, content: &mut Vec<u8>) -> Result<Zeroizing<String>, PushingError> {
    let read = tokio::fs::read_to_string(path).await.map_err(|cause| PushingError::Unreadable {
        setting: setting.to_owned(),
        path: path.display().to_string(),
        cause,
    })?;
    let read = Zeroizing::new(read);
    content.extend_from_slice(read.as_bytes());
    Ok(read)
}

/// `None`: all tenants.
async fn tenants(
    setting: &str,
    slugs: &[String],
    surroundings: &Surroundings,
) -> Result<Option<Vec<TenantId>>, PushingError> {
    if slugs.is_empty() {
        return Ok(None);
    }
    let mut ids = Vec::with_capacity(slugs.len());
    for slug in slugs {
        let tenant = surroundings.store.tenant_by_slug(slug).await?;
        let unknown = || PushingError::UnknownTenant { setting: setting.to_owned(), slug: slug.clone() };
        ids.push(tenant.ok_or_else(unknown)?.id);
    }
    Ok(Some(ids))
}
