//! `countersign api-client create|list|revoke|add-key|list-keys|revoke-key`. What is done to keys is in `keys`.

mod keys;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use countersign_core::{
    api_client::{ApiKey, Applications, Scopes, check_applications},
    entropy::new_id,
    limits::MAX_PAGE,
    ports::{
        PageRequest,
        api_clients::{CreateApiClient, CreateApiClientOutcome, RevokeApiClientOutcome},
    },
    text::Checker,
};
use countersign_proto::ids::ApiClientId;
use serde_json::{Value, json};

use self::keys::{NewKey, make_key};
use super::{CliError, Context, Desk, say};
use crate::{app::DEFAULT_TENANT, signing::Sealed};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an API client; its key is shown once. With a public key it has no such key, and signs its requests.
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
        /// Comma-separated: the applications that it may ask approvals for; all if absent.
        #[arg(long)]
        applications: Option<String>,
        /// A public P-256 key, as a JWK or in PEM, with which it signs its requests (`ClientProof`).
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
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
    /// Give an API client one more key: at most two of a sort, so that the next one is there before the old one goes.
    AddKey {
        /// The client's id.
        id: String,
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
        /// The key's life in days; without end if absent.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        expires_in_days: Option<u16>,
        /// A public P-256 key, as a JWK or in PEM; without it a secret one is made and shown once.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// List an API client's keys, revoked ones included; never a secret.
    ListKeys {
        /// The client's id.
        id: String,
        /// The tenant's slug.
        #[arg(long, default_value = DEFAULT_TENANT)]
        tenant: String,
    },
    /// Revoke one key of an API client: from the moment this returns it is refused on every node.
    RevokeKey {
        /// The client's id.
        id: String,
        /// The key's id.
        key: String,
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
        Command::Create { name, scopes, tenant, expires_in_days, applications, public_key } => {
            let applications = applications.as_deref().map(read_applications).transpose()?;
            let key = make_key(&desk, public_key.as_deref(), expires_in_days)?;
            let created = create_with(&desk, &name, &scopes, &tenant, applications.clone(), &key).await?;
            show_created(context, &created, &tenant, applications.as_ref(), &key);
        }
        Command::List { tenant } => list(context, &desk, &tenant).await?,
        Command::Revoke { id, tenant } => revoke(context, &desk, &id, &tenant).await?,
        Command::AddKey { id, tenant, expires_in_days, public_key } => {
            let key = make_key(&desk, public_key.as_deref(), expires_in_days)?;
            keys::add(context, &desk, read_id(&id)?, &tenant, key).await?;
        }
        Command::ListKeys { id, tenant } => keys::list(context, &desk, read_id(&id)?, &tenant).await?,
        Command::RevokeKey { id, key, tenant } => keys::revoke(context, &desk, read_id(&id)?, &key, &tenant).await?,
    }
    desk.close().await;
    Ok(ExitCode::SUCCESS)
}

fn read_id(id: &str) -> Result<ApiClientId, CliError> {
    id.parse().map_err(|_| not_found(&id))
}

fn read_applications(list: &str) -> Result<Applications, CliError> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    check_applications("--applications", names).map_err(|errors| CliError::Failed(super::first(&errors)))
}

fn show_created(
    context: &Context,
    created: &CreatedClient,
    tenant: &str,
    applications: Option<&Applications>,
    key: &NewKey,
) {
    let scopes: Vec<_> = created.scopes.iter().map(|scope| scope.as_str()).collect();
    let object = json!({"client_id": created.id, "name": created.name, "tenant": tenant, "scopes": scopes});
    let mut object = keys::members(object);
    let mut text = format!("API client {} ({})\nscopes: {}", created.name, created.id, created.scopes);
    if let Some(applications) = applications {
        object.insert("applications".to_owned(), json!(applications));
        text = format!("{text}\napplications: {}", applications.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    object.extend(key.show());
    say(context, &Value::Object(object), &format!("{text}\n{}", key.text()));
}

/// An API client that was made.
struct CreatedClient {
    id: ApiClientId,
    name: String,
    scopes: Scopes,
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

/// Makes an API client with an API key, for all applications.
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
    let secret = ApiKey::generate(desk.entropy());
    let key = NewKey::secret(desk, secret.clone(), expires_in_days);
    let CreatedClient { id, name, scopes } = create_with(desk, name, scopes, tenant, None, &key).await?;
    Ok(Created { id, name, scopes, key: secret })
}

async fn create_with(
    desk: &Desk,
    name: &str,
    scopes: &str,
    tenant: &str,
    applications: Option<Applications>,
    key: &NewKey,
) -> Result<CreatedClient, CliError> {
    let mut checker = Checker::default();
    let name = checker.text("--name", name, 1, 128);
    checker.finish().map_err(|errors| CliError::Failed(super::first(&errors)))?;
    let scopes: Scopes = scopes.parse().map_err(|error| CliError::Failed(format!("--scopes: {error}")))?;
    if scopes.is_empty() {
        return Err(CliError::Failed("--scopes must name at least one scope".to_owned()));
    }
    let tenant = desk.tenant(tenant).await?;
    let id = new_id(desk.now(), desk.entropy());
    let keys = desk.keys()?;
    let seal = keys.seals().seal(&Sealed::ApiClient {
        client_id: id,
        tenant_id: tenant.id,
        scopes: &scopes,
        applications: applications.as_ref(),
    });
    let command = CreateApiClient {
        stamp: desk.stamp(tenant.id),
        id,
        name: name.clone(),
        scopes: scopes.clone(),
        applications,
        seal,
        key: key.stored(keys.seals(), id, tenant.id),
    };
    match desk.store.create_api_client(command).await? {
        CreateApiClientOutcome::Created => Ok(CreatedClient { id, name, scopes }),
        CreateApiClientOutcome::KeyKnown => Err(keys::known()),
    }
}

async fn list(context: &Context, desk: &Desk, tenant: &str) -> Result<(), CliError> {
    let tenant = desk.tenant(tenant).await?;
    let mut clients = Vec::new();
    let mut before = None;
    loop {
        let page = desk.store.api_clients(tenant.id, PageRequest { before, limit: MAX_PAGE }).await?;
        before = page.last().map(|client| client.id);
        let is_last = page.len() < MAX_PAGE as usize;
        clients.extend(page);
        if is_last {
            break;
        }
    }
    // Oldest first.
    clients.reverse();
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
            let shown = json!({"client_id": client.id, "name": client.name, "scopes": scopes,
                "created_at": client.created_at, "revoked": client.revoked_at.is_some()});
            let mut shown = keys::members(shown);
            if let Some(applications) = &client.applications {
                shown.insert("applications".to_owned(), json!(applications));
            }
            Value::Object(shown)
        })
        .collect();
    say(context, &json!({"api_clients": objects}), &lines.join("\n"));
    Ok(())
}

async fn revoke(context: &Context, desk: &Desk, id: &str, tenant: &str) -> Result<(), CliError> {
    let id = read_id(id)?;
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
