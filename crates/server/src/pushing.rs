//! The push senders as they are configured at this moment.
//!
//! Credentials are files; they and the `push` settings are read again from time to time and at SIGHUP, and senders made
//! of them replace the old ones as a whole. What cannot be used changes nothing: the old senders go on, and the log and
//! a metric say so. Pushes in flight end with the senders that began them. At start there are no old senders: a
//! credential that cannot be used then is left out, and said aloud, because a sign-in never depends on a push.
//! Never holds the lock while anything is sent or read.
//! To add a kind of credential: its settings, its lines in [`read`].

use std::{
    collections::BTreeMap,
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
    #[error("push.webpush: {0} is not a network like 10.1.0.0/16")]
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
    /// Reads the credentials and makes senders of those that can be used.
    ///
    /// # Errors
    /// [`PushingError`]: not even Web Push, which needs no credential, can be set up.
    pub async fn open(settings: &Settings, surroundings: Surroundings) -> Result<Self, PushingError> {
        let (usable, unusable) = usable(&settings.push, &surroundings).await;
        for error in &unusable {
            metrics::counter!("countersign_push_reload_failures_total").increment(1);
            tracing::error!(%error, "a push credential cannot be used; its devices are not rung until it can");
        }
        let (push, mut digest) = read(&usable, &surroundings).await?;
        if !unusable.is_empty() {
            // Of nothing that a reload finds: what is mended is taken up.
            digest = Digest::of("incomplete");
        }
        let senders = make(push, &surroundings)?;
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
        let senders = make(push, &self.surroundings)?;
        *self.senders.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(senders);
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner) = digest;
        Ok(Reload::Changed)
    }
}

fn make(push: PushSettings, surroundings: &Surroundings) -> Result<Senders, SettingsError> {
    Senders::new(push, Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy))
}

/// The settings without those credentials that cannot be used, and why they cannot.
async fn usable(push: &Push, surroundings: &Surroundings) -> (Push, Vec<PushingError>) {
    let alone = Push { apns: BTreeMap::new(), fcm: BTreeMap::new(), ..push.clone() };
    let mut usable = alone.clone();
    let mut unusable = Vec::new();
    for (name, apns) in &push.apns {
        let one = BTreeMap::from([(name.clone(), apns.clone())]);
        match try_out(&Push { apns: one.clone(), ..alone.clone() }, surroundings).await {
            Ok(()) => usable.apns.extend(one),
            Err(error) => unusable.push(error),
        }
    }
    for (name, fcm) in &push.fcm {
        let one = BTreeMap::from([(name.clone(), fcm.clone())]);
        match try_out(&Push { fcm: one.clone(), ..alone.clone() }, surroundings).await {
            Ok(()) => usable.fcm.extend(one),
            Err(error) => unusable.push(error),
        }
    }
    (usable, unusable)
}

async fn try_out(push: &Push, surroundings: &Surroundings) -> Result<(), PushingError> {
    let (settings, _) = read(push, surroundings).await?;
    make(settings, surroundings)?;
    Ok(())
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
    let extra_ca_pem = authorities("push.extra_ca_file", &push.extra_ca_file, &mut content).await?;
    let trusted = authorities("push.webpush.extra_ca_file", &push.webpush.extra_ca_file, &mut content).await?;
    let webpush = webpush(push, surroundings, trusted)?;
    let digest = Digest::of(content.as_slice());
    Ok((PushSettings { apns, fcm, webpush, extra_ca_pem }, digest))
}

fn webpush(
    push: &Push,
    surroundings: &Surroundings,
    extra_ca_pem: Option<Vec<u8>>,
) -> Result<WebPushSettings, PushingError> {
    let settings = &push.webpush;
    let network = |text: &String| text.parse().map_err(|_| PushingError::Network(text.clone()));
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
        additional_networks: settings.additional_networks.iter().map(network).collect::<Result<_, _>>()?,
        refused_networks: settings.refused_networks.iter().map(network).collect::<Result<_, _>>()?,
        extra_ca_pem,
    })
}

async fn authorities(setting: &str, path: &Path, content: &mut Vec<u8>) -> Result<Option<Vec<u8>>, PushingError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    Ok(Some(text(setting, path, content).await?.as_bytes().to_vec()))
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
