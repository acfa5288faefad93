//! The server of the demo: the real one, in this process, in a temporary folder.

use std::{net::SocketAddr, path::Path, sync::Arc};

use tempfile::TempDir;

use super::{DemoError, Story, identity_provider::IdentityProvider, providers::Providers};
use crate::{
    app::{self, Running},
    cli::{CliError, Context, Desk, api_client, tenant},
    clock::{Clock as _, SystemClock},
    config::Settings,
    entropy::SystemEntropy,
    telemetry,
};

const TENANT: &str = "example";
const TENANT_NAME: &str = "Example Ltd";
const SCOPES: &str = "enrollments,challenges,devices:read,devices:write,audit:read";

/// A server that runs, and the folder that vanishes with it.
pub(super) struct House {
    context: Context,
    running: Running,
    providers: Providers,
    folder: TempDir,
}

impl House {
    /// Starts the server.
    pub(super) async fn open(story: &mut Story) -> Result<Self, DemoError> {
        story.step(
            "A server starts, with an empty database and a signing key of its own; beside it stand-ins of Apple's and \
             Google's push services.",
        )?;
        let began_at = SystemClock.now();
        let folder = tempfile::Builder::new().prefix("countersign-demo-").tempdir()?;
        let providers = Providers::start(folder.path()).await?;
        let mut settings = settings(folder.path())?;
        providers.configure(&mut settings.push, folder.path());
        // Whatever is worth a line is an error here; it goes to stderr, not into the story.
        telemetry::init_logs(&settings.log).map_err(CliError::from)?;
        let running = app::start(&settings, Arc::new(SystemClock), Arc::new(SystemEntropy::default()), None);
        let running = running.await.map_err(CliError::from)?;
        let house = Self { context: Context { settings, json: false }, running, providers, folder };
        let millis = SystemClock.now().millis_since(began_at);
        let issuer = house.issuer();
        let is_ready = IdentityProvider::new(&issuer, String::new())?.is_ready().await?;
        story.check(is_ready, &format!("{issuer} is ready after {millis} ms"), "it is not ready")?;
        Ok(house)
    }

    /// The public URL.
    fn issuer(&self) -> String {
        self.context.settings.issuer_at(self.running.address)
    }

    /// Apple's and Google's stand-ins.
    pub(super) fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Where the demo may put files.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a tenant and an API client, by what `countersign tenant create` and `api-client create` do.
    pub(super) async fn sign_in_page(&self, story: &mut Story) -> Result<IdentityProvider, DemoError> {
        story.step("An operator makes room for an organisation, and a key for its sign-in page.")?;
        story.line(&format!("$ countersign tenant create --name {TENANT} --display-name \"{TENANT_NAME}\""))?;
        story.line(&format!("$ countersign api-client create --name sign-in --tenant {TENANT} \\"))?;
        story.line(&format!("      --scopes {SCOPES}"))?;
        let desk = Desk::open(&self.context).await?;
        tenant::make(&desk, TENANT, Some(TENANT_NAME)).await?;
        let created = api_client::create(&desk, "sign-in", SCOPES, TENANT, None).await?;
        desk.close().await;
        let page = IdentityProvider::new(&self.issuer(), created.key.reveal().to_owned())?.with_id(created.id);
        let is_welcome = page.events().await.is_ok();
        story.check(is_welcome, "the running server knows the key at once", "it does not")?;
        Ok(page)
    }

    /// Stops the server; the folder remains until it is dropped.
    pub(super) async fn stop(self, story: &mut Story) -> Result<TempDir, DemoError> {
        let address: SocketAddr = self.running.address;
        story.step("The server stops.")?;
        self.running.stop().await;
        let is_gone = tokio::net::TcpStream::connect(address).await.is_err();
        story.check(is_gone, "nobody answers at its address any more", "somebody does")?;
        Ok(self.folder)
    }
}

/// The defaults, but on free ports, in `folder`, and silent.
fn settings(folder: &Path) -> Result<Settings, CliError> {
    let mut settings = Settings::defaults()?;
    settings.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    settings.server.shutdown_seconds = 2;
    settings.metrics.listen = String::new();
    settings.database.url = format!("sqlite://{}", folder.join("countersign.db").display());
    settings.log.filter = "error".to_owned();
    Ok(settings)
}
