//! Putting the server together, and taking it apart again.
//!
//! Used by `countersign serve`, the demo and the tests alike: what is tested is what runs.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum_server::{Handle, tls_rustls::RustlsConfig};
use countersign_core::{
    actor::{Actor, Stamp},
    entropy::{Entropy, new_id},
    ports::{
        Store, StoreError,
        tenants::{CreateTenant, CreateTenantOutcome},
    },
};
use countersign_store::ConnectError;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;

use crate::{
    audit::{Audit, restored::RestoredError},
    clock::Clock,
    config::{ConfigError, Settings},
    connections::{self, ServeError},
    decisions::Decisions,
    http::{admission::Admission, meta::ready::Readiness, routes, state::App},
    keyring::Keyring,
    pushing::{self, Pushing, PushingError},
    shutdown::{self, Stop, Stopping},
    sightings::Sightings,
    signing::{KeyFileError, ServerKeys},
    telling::{self, TellingError},
    waiters::Waiters,
    worker,
};

/// The slug of the tenant that always exists.
pub const DEFAULT_TENANT: &str = "default";

/// Why the server does not start. Each message is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] ConnectError),
    /// The database answers, but not to this.
    #[error("the database does not answer: {0}")]
    Store(#[from] StoreError),
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Webhooks cannot be set up.
    #[error(transparent)]
    Telling(#[from] TellingError),
    /// The database is older than what was sealed.
    #[error(transparent)]
    Restored(#[from] RestoredError),
    /// The push credentials cannot be used.
    #[error(transparent)]
    Pushing(#[from] PushingError),
    /// The port is taken, or the certificate cannot be used.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// A server that runs.
pub struct Running {
    /// Where the API listens.
    pub address: SocketAddr,
    /// Where the metrics listen.
    pub metrics_address: Option<SocketAddr>,
    /// What every handler has at hand; for tests and the demo.
    pub app: Arc<App>,
    stop: Stop,
    handles: Vec<Handle<SocketAddr>>,
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    workers: Vec<JoinHandle<()>>,
    drain: Duration,
    grace: Duration,
}

/// The database alone: for commands beside a running server.
pub struct Opened {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Held reads; empty unless a server runs in this process.
    pub waiters: Arc<Waiters>,
}

/// Opens the database, migrated and with its default tenant.
///
/// # Errors
/// [`StartError`].
pub async fn open_store(settings: &Settings, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Opened, StartError> {
    let waiters = Waiters::new(settings.server.max_held_reads);
    let options = countersign_store::Options {
        read_connections: settings.database.read_connections,
        reply_timeout: Duration::from_secs(settings.database.max_wait_seconds),
        migrate: settings.database.migrate,
        allow_unverified_tls: settings.database.allow_unverified_tls,
        reserve_bytes: settings.database.reserve_mib.saturating_mul(1024 * 1024),
        ..countersign_store::Options::default()
    };
    let sink: Arc<Waiters> = Arc::clone(&waiters);
    let store = countersign_store::connect(&settings.database.url, options, sink).await?;
    if store.tenant_by_slug(DEFAULT_TENANT).await?.is_none() {
        let at = clock.now();
        let stamp = Stamp {
            command_id: new_id(at, entropy),
            actor: Actor::System,
            tenant_id: new_id(at, entropy),
            request_id: "start".to_owned(),
            at,
        };
        let command = CreateTenant { stamp, slug: DEFAULT_TENANT.to_owned(), name: "Default".to_owned() };
        // Another process that starts at the same moment may be faster: then it exists all the same.
        let (CreateTenantOutcome::Created | CreateTenantOutcome::SlugTaken) = store.create_tenant(command).await?;
    }
    Ok(Opened { store, waiters })
}

/// Starts a server.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Option<PrometheusHandle>,
) -> Result<Running, StartError> {
    // The ports first: the likeliest refusal, and the issuer may depend on one.
    let listener = connections::bind("server.listen", settings.server.listen)?;
    let address = connections::local_address(&listener)?;
    let metrics_listener = match (settings.metrics_listen()?, &metrics) {
        (Some(address), Some(_)) => Some(connections::bind("metrics.listen", address)?),
        _ => None,
    };
    let metrics_address = metrics_listener.as_ref().map(connections::local_address).transpose()?;
    let tls = load_tls(settings).await?;

    let Opened { store, waiters } = open_store(settings, clock.as_ref(), entropy.as_ref()).await?;
    let is_sqlite = settings.database.url.starts_with("sqlite://");
    let issuer = settings.issuer_at(address);
    let keys = ServerKeys::open(&settings.key_file(), is_sqlite, &issuer, clock.now(), entropy.as_ref())?;
    let keys = Arc::new(keys);
    let audit = open_audit(settings, &store, &keys)?;
    audit.check_not_older(settings.audit.accepts_restored_database, clock.now(), entropy.as_ref()).await?;
    let surroundings = pushing::Surroundings {
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        vapid_key: keys.vapid_key(),
        issuer: issuer.clone(),
    };
    let pushing = Pushing::open(settings, surroundings).await?;
    let webhooks = telling::open(&settings.webhooks, Arc::clone(&clock)).await?;
    let app = Arc::new(App {
        keyring: Keyring::new(Arc::clone(&store), Arc::clone(&keys)),
        audit,
        decisions: Decisions::new(Arc::clone(&keys)),
        store,
        clock,
        entropy,
        keys,
        admission: Admission::new(settings.server.max_requests_at_once),
        outbox: waiters.outbox(),
        waiters,
        pushing,
        webhooks,
        sightings: Sightings::default(),
        exports: Arc::new(tokio::sync::Semaphore::new(crate::http::users::export::MAX_EXPORTS)),
        readiness: Readiness::default(),
        openapi: std::sync::OnceLock::new(),
        trusted_proxies: settings.server.trusted_proxies.clone(),
    });

    let (stop, stopping) = shutdown::signal();
    let workers = spawn_workers(&app, settings, &stopping);
    let handle = Handle::new();
    let router = routes::router(&app);
    let mut servers = vec![connections::serve(listener, router, tls, handle.clone(), settings.server.max_connections)?];
    let mut handles = vec![handle];
    if let (Some(listener), Some(metrics)) = (metrics_listener, metrics) {
        let handle = Handle::new();
        servers.push(connections::serve(
            listener,
            crate::telemetry::metrics_router(metrics),
            None,
            handle.clone(),
            64,
        )?);
        handles.push(handle);
    }
    let drain = Duration::from_secs(settings.server.drain_seconds);
    let grace = Duration::from_secs(settings.server.shutdown_seconds);
    Ok(Running { address, metrics_address, app, stop, handles, servers, workers, drain, grace })
}

/// The audit of a database, for the server and for commands beside it.
///
/// # Errors
/// [`StartError`].
pub fn open_audit(
    settings: &Settings,
    store: &Arc<dyn Store>,
    keys: &Arc<ServerKeys>,
) -> Result<Arc<Audit>, StartError> {
    let audit = Audit::new(Arc::clone(store), Arc::clone(keys), &settings.audit);
    audit.map(Arc::new).map_err(|_| StartError::KeyFile(KeyFileError::corrupt(&settings.key_file())))
}

fn spawn_workers(app: &Arc<App>, settings: &Settings, stopping: &Stopping) -> Vec<JoinHandle<()>> {
    let mut workers = vec![
        tokio::spawn(worker::poll::run(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::sweep::run(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::seal::run(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::seal::run_folder(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::forget::run(Arc::clone(app), settings.retention.clone(), stopping.clone())),
        tokio::spawn(worker::erase::run(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::observe::run(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::reload::run(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::webhooks::run(Arc::clone(app), stopping.clone())),
        tokio::spawn(worker::reload::run_keys(Arc::clone(app), stopping.clone())),
    ];
    for channel in worker::dispatch::CHANNELS {
        workers.push(tokio::spawn(worker::dispatch::run(Arc::clone(app), channel, stopping.clone())));
    }
    workers
}

async fn load_tls(settings: &Settings) -> Result<Option<RustlsConfig>, ServeError> {
    if !settings.has_tls() {
        return Ok(None);
    }
    let certificate: PathBuf = settings.server.tls.certificate_file.clone();
    connections::load_tls(certificate, settings.server.tls.private_key_file.clone()).await.map(Some)
}

impl Running {
    /// Leaves before the stop: `/readyz` says so at once, and everything is still served for
    /// `server.drain_seconds`, or until `cut_short` is there, so that whoever balances has time to notice and no
    /// request meets a closed port.
    ///
    /// Held reads go on. Were they ended now, their callers would ask again while the balancer still sends them here,
    /// and so in a circle as fast as they can; at the end of this they ask again once, elsewhere.
    pub async fn drain(&self, cut_short: impl Future<Output = ()>) {
        if self.drain.is_zero() {
            return;
        }
        self.app.readiness.leave();
        tracing::info!(seconds = self.drain.as_secs(), "draining");
        // Either way it is over.
        let _asked_again = tokio::time::timeout(self.drain, cut_short).await;
    }

    /// Stops: held reads end at once with what is true, requests in flight finish (for a bounded time), then the
    /// writer's batches. Nothing acknowledged is lost even without this: acknowledged means durable.
    pub async fn stop(self) {
        self.app.waiters.stop();
        self.stop.begin();
        for handle in &self.handles {
            handle.graceful_shutdown(Some(self.grace));
        }
        for server in self.servers {
            log_end("listener", server.await);
        }
        for worker in self.workers {
            log_end("worker", worker.await);
        }
        self.app.store.close().await;
    }
}

fn log_end<T>(what: &str, outcome: Result<T, tokio::task::JoinError>) {
    if let Err(error) = outcome {
        tracing::error!(what, %error, "a task did not end by itself");
    }
}
