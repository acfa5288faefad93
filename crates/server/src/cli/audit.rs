//! `countersign audit export|verify|checkpoint|show` (docs/audit.md).
//!
//! `verify FILE` needs no server, no database and no settings: that is what an export is for. Without a file it looks
//! through the database of the settings. To add a command: a variant, its function here.

mod verify;

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand, ValueEnum};
use countersign_core::ports::tenants::Tenant;
use serde_json::json;

pub use self::verify::verify_file;
use super::{CliError, Context, Desk, say};
use crate::{
    app::{self, DEFAULT_TENANT, StartError},
    audit::{
        Audit, AuditError,
        export::{Export, Format, Options},
    },
    signing::ServerKeys,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an organisation's log to a file that verifies without the server.
    Export(ExportArgs),
    /// Verify an export, or (without a file) the database with its log. Exit code 1 if anything is wrong.
    Verify(VerifyArgs),
    /// Print the signed checkpoint over all that has happened.
    Checkpoint(TenantArgs),
    /// Print a log's name, its key and how long it is.
    Show(TenantArgs),
}

/// Whose log.
#[derive(Debug, Args)]
pub struct TenantArgs {
    /// The organisation.
    #[arg(long, value_name = "SLUG", default_value = DEFAULT_TENANT)]
    tenant: String,
}

/// How to export.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    of: TenantArgs,
    /// JSONL verifies offline; CSV is for spreadsheets.
    #[arg(long, value_enum, default_value_t = FormatName::Jsonl)]
    format: FormatName,
    /// From this position on.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// With what proves each decision (JSONL only).
    #[arg(long)]
    evidence: bool,
    /// Where to; it must not exist yet. The standard output if absent.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A format's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    Jsonl,
    Csv,
}

/// What to verify.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// An export in JSONL. Absent: the database of the settings.
    pub file: Option<PathBuf>,
    /// Against what.
    #[command(flatten)]
    pub checks: Checks,
    /// A public URL that this server had before: what it signed then is looked through as what it signs now. May be given
    /// several times. (An export needs none.)
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub formerly: Vec<String>,
    /// Only this organisation; all if absent. (An export is of one.)
    #[arg(long, value_name = "SLUG", conflicts_with = "file")]
    pub tenant: Option<String>,
}

/// What was kept elsewhere.
#[derive(Debug, Args)]
pub struct Checks {
    /// The log key that you trust, as `audit show` printed it when you wrote it down.
    #[arg(long, value_name = "KEY", requires = "file")]
    pub vkey: Option<String>,
    /// A checkpoint: the log must continue it. May be given several times.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// The export is meant to be without evidence: its decisions are not looked at.
    #[arg(long, requires = "file")]
    pub without_evidence: bool,
    /// The export is meant to begin at this position.
    #[arg(long, value_name = "POSITION", requires = "file", default_value_t = 1)]
    pub from: u64,
}

/// Runs it.
///
/// # Errors
/// [`CliError`].
pub async fn run(context: &Context, command: Command) -> Result<ExitCode, CliError> {
    let desk = Desk::open(context).await?;
    let settings = &context.settings;
    let keys = ServerKeys::open(&settings.key_file(), false, &settings.issuer(), desk.now(), desk.entropy());
    let keys = keys.map_err(StartError::from)?;
    let keys = Arc::new(match &command {
        Command::Verify(VerifyArgs { formerly, .. }) => {
            keys.formerly(formerly.iter().map(|url| url.trim_end_matches('/').to_owned()).collect())
        }
        _ => keys,
    });
    let audit = app::open_audit(settings, &desk.store, &keys)?;
    let outcome = match command {
        Command::Export(arguments) => export(context, &desk, &audit, &arguments).await,
        Command::Verify(arguments) => verify::verify_database(context, &desk, &audit, &keys, &arguments).await,
        Command::Checkpoint(of) => checkpoint(context, &desk, &audit, &of).await,
        Command::Show(of) => show(context, &desk, &audit, &of).await,
    };
    desk.close().await;
    outcome
}

fn failed(error: &AuditError) -> CliError {
    CliError::Failed(error.to_string())
}

async fn export(
    context: &Context,
    desk: &Desk,
    audit: &Arc<Audit>,
    arguments: &ExportArgs,
) -> Result<ExitCode, CliError> {
    let tenant = desk.tenant(&arguments.of.tenant).await?;
    let format = if arguments.format == FormatName::Csv { Format::Csv } else { Format::Jsonl };
    if arguments.evidence && format == Format::Csv {
        return Err(CliError::Failed("--evidence needs --format jsonl".to_owned()));
    }
    if context.json && arguments.output.is_none() {
        return Err(CliError::Failed("--json needs --output: an export is not one object".to_owned()));
    }
    let options = Options { format, from: arguments.from, has_evidence: arguments.evidence };
    let mut export = Export::begin(audit, tenant.id, options, desk.now()).await.map_err(|error| failed(&error))?;
    let cannot = |error: std::io::Error| CliError::Failed(format!("cannot write the export: {error}"));
    let mut bytes = 0_u64;
    let mut target: Box<dyn std::io::Write + Send> = match &arguments.output {
        Some(path) => Box::new(std::fs::File::create_new(path).map_err(cannot)?),
        None => Box::new(std::io::stdout()),
    };
    while let Some(portion) = export.next().await.map_err(|error| failed(&error))? {
        target.write_all(&portion).map_err(cannot)?;
        bytes = bytes.saturating_add(portion.len() as u64);
    }
    target.flush().map_err(cannot)?;
    if let Some(path) = &arguments.output {
        let text = format!("{bytes} bytes in {}", path.display());
        say(context, &json!({"file": path, "bytes": bytes, "tenant": tenant.slug}), &text);
    }
    Ok(ExitCode::SUCCESS)
}

async fn checkpoint(context: &Context, desk: &Desk, audit: &Audit, of: &TenantArgs) -> Result<ExitCode, CliError> {
    let tenant = desk.tenant(&of.tenant).await?;
    let head = audit.newest(tenant.id, desk.now()).await.map_err(|error| failed(&error))?;
    let head = head.ok_or_else(|| CliError::Failed("nothing has happened yet".to_owned()))?;
    // A folder that cannot be written to is said in the log; a server tries again.
    audit.write_out().await;
    say(context, &json!({"checkpoint": head.note, "size": head.checkpoint.size}), head.note.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn show(context: &Context, desk: &Desk, audit: &Audit, of: &TenantArgs) -> Result<ExitCode, CliError> {
    let tenant: Tenant = desk.tenant(&of.tenant).await?;
    let head = desk.store.audit_head(tenant.id).await?;
    let size = head.as_ref().map_or(0, |head| head.size);
    let waiting = head.as_ref().map_or(0, |head| head.positioned.unsigned_abs().saturating_sub(head.size));
    let sealed_at = head.and_then(|head| head.sealed_at);
    let (origin, key) = (audit.origin(tenant.id), audit.verifier(tenant.id).to_string());
    let mut text = format!("log {origin}\nkey {key}\n{size} events sealed, {waiting} waiting");
    if let Some(at) = sealed_at {
        text.push_str(&format!("; last at {at}"));
    }
    let object =
        json!({"origin": origin, "verifier_key": key, "size": size, "waiting": waiting, "sealed_at": sealed_at});
    say(context, &object, &text);
    Ok(ExitCode::SUCCESS)
}
