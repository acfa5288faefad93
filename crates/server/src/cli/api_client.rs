//! `countersign api-client create|list|revoke`.

use std::process::ExitCode;

use clap::Subcommand;
use countersign_core::{
    api_client::{ApiKey, Scopes},
    entropy::new_id,
    ports::api_clients::{CreateApiClient, RevokeApiClientOutcome},
    text::Checker,
};
use countersign_proto::ids::ApiClientId;
use serde_json::json;

use super::{CliError, Context, Desk, say};
use crate::app::DEFAULT_TENANT;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an API client; its key is shown once.
    Create {
        /// What operators call it.
        #[arg(long)]
        name: String,
        /// Comma-separated: enrollments, challenges, users:read, users:write, devices:read, devices:write,
        /// audit:read, admin.
        #[arg(long)]
        scopes: String,
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
        /// The key's life in days; without end if absent.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        expires_in_days: Option<u16>,
    },
    /// List API clients, revoked ones included.
    List {
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// Revoke an API client: from the moment this returns its keys are refused on every node.
    Revoke {
        /// Its id.
        id: String,
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
}

/// Runs it.
///
/// # Errors
/// [`CliError`].
pub async fn run(context: &Context, command: Command) -> Result<ExitCode, CliError> {
    let desk = Desk::open(context).await?;
    match command {
        Command::Create { name, scopes, tenant, expires_in_days } => {
            let created = create(&desk, &name, &scopes, &tenant, expires_in_days).await?;
            let object = json!({
                "client_id": created.id, "name": created.name, "tenant": tenant,
                "scopes": created.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
                "api_key": created.key.reveal(),
            });
            let text = format!(
                "API client {} ({})\nscopes: {}\nkey, shown only now: {}",
                created.name,
                created.id,
                created.scopes,
                created.key.reveal()
            );
            say(context, &object, &text);
        }
        Command::List { tenant } => list(context, &desk, &tenant).await?,
        Command::Revoke { id, tenant } => revoke(context, &desk, &id, &tenant).await?,
    }
    desk.close().await;
    Ok(ExitCode::SUCCESS)
}

/// An API client with its key, which nothing keeps.
pub struct Created {
    /// Its id.
    pub id: ApiClientId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// To be shown once.
    pub key: ApiKey,
}

/// Makes an API client.
///
/// # Errors
/// [`CliError`].
pub async fn create(
    desk: &Desk,
    name: &str,
    scopes: &str,
    tenant: &str,
    expires_in_days: Option<u16>,
) -> Result<Created, CliError> {
    let mut checker = Checker::default();
    let name = checker.text("--name", name, 1, 128);
    checker.finish().map_err(|errors| CliError::Failed(super::first(&errors)))?;
    let scopes: Scopes = scopes.parse().map_err(|error| CliError::Failed(format!("--scopes: {error}")))?;
    if scopes.is_empty() {
        return Err(CliError::Failed("--scopes must name at least one scope".to_owned()));
    }
    let tenant = desk.tenant(tenant).await?;
    let now = desk.now();
    let key = ApiKey::generate(desk.entropy());
    let id = new_id(now, desk.entropy());
    let command = CreateApiClient {
        stamp: desk.stamp(tenant.id),
        id,
        name: name.clone(),
        scopes: scopes.clone(),
        key_id: new_id(now, desk.entropy()),
        key_digest: key.digest(),
        key_expires_at: expires_in_days.map(|days| now.plus_seconds(i64::from(days) * 86_400)),
    };
    desk.store.create_api_client(command).await?;
    Ok(Created { id, name, scopes, key })
}

async fn list(context: &Context, desk: &Desk, tenant: &str) -> Result<(), CliError> {
    let tenant = desk.tenant(tenant).await?;
    let clients = desk.store.api_clients(tenant.id).await?;
    let lines: Vec<_> = clients
        .iter()
        .map(|client| {
            let state = if client.revoked_at.is_some() { "  revoked" } else { "" };
            format!("{}  {}  {}{state}", client.id, client.name, client.scopes)
        })
        .collect();
    let objects: Vec<_> = clients
        .iter()
        .map(|client| {
            let scopes: Vec<_> = client.scopes.iter().map(|scope| scope.as_str()).collect();
            json!({"client_id": client.id, "name": client.name, "scopes": scopes, "created_at": client.created_at,
                "revoked": client.revoked_at.is_some()})
        })
        .collect();
    say(context, &json!({"api_clients": objects}), &lines.join("\n"));
    Ok(())
}

async fn revoke(context: &Context, desk: &Desk, id: &str, tenant: &str) -> Result<(), CliError> {
    let id: ApiClientId = id.parse().map_err(|_| not_found(&id))?;
    end(desk, id, tenant).await?;
    say(context, &json!({"client_id": id, "revoked": true}), &format!("API client {id} is revoked"));
    Ok(())
}

/// Revokes an API client, if it is not yet.
///
/// # Errors
/// [`CliError`]: also if there is none.
pub async fn end(desk: &Desk, id: ApiClientId, tenant: &str) -> Result<(), CliError> {
    let tenant = desk.tenant(tenant).await?;
    match desk.store.revoke_api_client(desk.stamp(tenant.id), id).await? {
        RevokeApiClientOutcome::Revoked | RevokeApiClientOutcome::AlreadyRevoked => Ok(()),
        RevokeApiClientOutcome::NotFound => Err(not_found(&id)),
    }
}

fn not_found(id: &dyn std::fmt::Display) -> CliError {
    CliError::Failed(format!("there is no API client {id} in this tenant"))
}
