//! The command line (protocol 12): one file per command.
//!
//! Commands read the same settings as the server and act through the same store, so they are safe beside a running
//! server and effective at once. With `--json` stdout is exactly one JSON object; logs go to stderr. A failure is
//! one clear line on stderr and exit code 1 (2 for wrong usage).
//! To add one: a file with its arguments and `run`, a variant below.

pub mod api_client;
pub mod audit;
pub mod backup;
pub mod config;
pub mod demo;
pub mod device;
pub mod doctor;
pub mod health;
pub mod keys;
pub mod migrate;
pub mod policy;
pub mod serve;
pub mod tenant;
mod terminal_qr;
pub mod vacuum;

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use countersign_core::{
    actor::{Actor, Stamp},
    entropy::{Entropy, new_id},
    ports::{Store, StoreError, tenants::Tenant},
};
use countersign_proto::{ids::TenantId, timestamp::Timestamp};

use crate::{
    app::{self, StartError},
    clock::{Clock as _, SystemClock},
    config::{ConfigError, Settings},
    entropy::SystemEntropy,
    signing::ServerKeys,
    telemetry,
};

/// Self-hosted push-notification approval of sign-ins.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, about)]
struct Arguments {
    /// Settings that override the defaults (TOML).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print exactly one JSON object.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::ServeArgs),
    /// Watch one sign-in after another go through a server on this machine.
    Demo(demo::DemoArgs),
    /// Organisations.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Identity providers and admin tools, with their API keys.
    #[command(subcommand)]
    ApiClient(api_client::Command),
    /// What an organisation asks of approvals.
    #[command(subcommand)]
    Policy(policy::Command),
    /// The log: exports, checkpoints, verification.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Bring the database's schema up to date.
    Migrate,
    /// Copy the database (SQLite) while the server runs.
    Backup(backup::BackupArgs),
    /// Write the database (SQLite) anew, without what was deleted: after erasures.
    Vacuum,
    /// Settings.
    #[command(subcommand)]
    Config(config::Command),
    /// The server's private keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Ask whether the server of these settings is ready: exit code 0 or 1.
    Health(health::HealthArgs),
    /// Look whether this configuration can ring a phone, and if not, why.
    Doctor,
    /// A command-line authenticator, for development.
    Device(device::DeviceArgs),
}

/// Why a command failed: one clear line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Database, keys or ports cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database does not answer.
    #[error("the database does not answer: {0}")]
    Store(StoreError),
    /// Anything else that a person can act on.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::QuotaExceeded { .. } => Self::Failed(error.to_string()),
            error => Self::Store(error),
        }
    }
}

/// What a command has at hand.
pub struct Context {
    /// The settings.
    pub settings: Settings,
    /// Whether stdout is one JSON object.
    pub json: bool,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CliError::Failed(format!("cannot start: {error}"))),
    };
    match runtime.block_on(dispatch(arguments)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the command line speaks here")]
fn fail(error: &CliError) -> ExitCode {
    eprintln!("countersign: {error}");
    ExitCode::FAILURE
}

/// Prints what a command has to say: one object, or the lines for a person.
#[expect(clippy::print_stderr, reason = "the command line speaks here")]
pub fn say(context: &Context, object: &serde_json::Value, text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = if context.json { writeln!(stdout, "{object}") } else { writeln!(stdout, "{text}") };
    match written.and_then(|()| stdout.flush()) {
        // Whoever wanted the first lines only, as `head` does, has closed its end.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("countersign: cannot write to the standard output: {error}");
        }
        Ok(()) | Err(_) => {}
    }
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode, CliError> {
    // The one TLS stack of the process. Fails only if it is already installed, which is as good.
    let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match arguments.command {
        // These two need no settings of the server.
        Command::Demo(ref demo) if !demo.is_at_deployment() => return demo::run(arguments.json).await,
        Command::Device(device) => return device::run(device, arguments.json).await,
        // Neither does an export, which is for whoever has nothing else.
        Command::Audit(audit::Command::Verify(audit::VerifyArgs { file: Some(ref path), ref checks, .. })) => {
            return audit::verify_file(path, checks, arguments.json);
        }
        _ => {}
    }
    let settings = Settings::load(arguments.config.as_deref())?;
    telemetry::init_logs(&settings.log)?;
    let context = Context { settings, json: arguments.json };
    match arguments.command {
        Command::Serve(arguments) => serve::run(&context, &arguments).await,
        Command::Audit(command) => audit::run(&context, command).await,
        Command::Tenant(command) => tenant::run(&context, command).await,
        Command::ApiClient(command) => api_client::run(&context, command).await,
        Command::Policy(command) => policy::run(&context, command).await,
        Command::Migrate => migrate::run(&context).await,
        Command::Backup(arguments) => backup::run(&context, &arguments).await,
        Command::Vacuum => vacuum::run(&context).await,
        Command::Config(command) => config::run(&context, command),
        Command::Keys(command) => keys::run(&context, &command),
        Command::Health(arguments) => health::run(&context, arguments).await,
        Command::Doctor => doctor::run(&context).await,
        Command::Demo(arguments) => demo::run_at_deployment(&context, &arguments).await,
        Command::Device(_) => Ok(ExitCode::SUCCESS),
    }
}

/// The database and what commands on it need.
pub struct Desk {
    /// The database.
    pub store: Arc<dyn Store>,
    entropy: SystemEntropy,
    settings: Settings,
}

impl Desk {
    /// Opens the database, migrated.
    ///
    /// # Errors
    /// [`CliError`].
    pub async fn open(context: &Context) -> Result<Self, CliError> {
        let entropy = SystemEntropy::default();
        let store = app::open_store(&context.settings, &SystemClock, &entropy).await?.store;
        Ok(Self { store, entropy, settings: context.settings.clone() })
    }

    /// The stamp of a command given at this desk.
    pub fn stamp(&self, tenant_id: TenantId) -> Stamp {
        let at = self.now();
        let command_id = new_id(at, &self.entropy);
        Stamp { command_id, actor: Actor::Operator, tenant_id, request_id: format!("cli-{command_id}"), at }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Randomness.
    pub const fn entropy(&self) -> &dyn Entropy {
        &self.entropy
    }

    /// The tenant that is meant.
    ///
    /// # Errors
    /// There is none.
    pub async fn tenant(&self, slug: &str) -> Result<Tenant, CliError> {
        let tenant = self.store.tenant_by_slug(slug).await?;
        tenant.ok_or_else(|| CliError::Failed(format!("there is no tenant {slug}; see `countersign tenant list`")))
    }

    /// The server's own keys: what is written here for it must carry its seal. On the embedded database they are made if
    /// the server has never run.
    ///
    /// # Errors
    /// The key file cannot be read here.
    pub fn keys(&self) -> Result<ServerKeys, CliError> {
        let settings = &self.settings;
        let may_create = settings.database.url.starts_with("sqlite://");
        let keys = ServerKeys::open(&settings.key_file(), may_create, &settings.issuer(), self.now(), &self.entropy);
        Ok(keys.map_err(StartError::from)?)
    }

    /// Ends.
    pub async fn close(self) {
        self.store.close().await;
    }
}

/// The first rule that an argument breaks, in one line.
fn first(errors: &[countersign_proto::problem::FieldError]) -> String {
    errors.first().map(|error| format!("{} {}", error.pointer, error.detail)).unwrap_or_default()
}
