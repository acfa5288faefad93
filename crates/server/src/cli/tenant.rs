//! `countersign tenant create|list`.

use std::process::ExitCode;

use clap::Subcommand;
use countersign_core::{
    entropy::new_id,
    ports::tenants::{CreateTenant, CreateTenantOutcome, Tenant},
    text::Checker,
};
use countersign_proto::ids::TenantId;
use serde_json::json;

use super::{CliError, Context, Desk, say};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a tenant.
    Create {
        /// What operators type: 1 to 63 of a-z, 0-9 and `-`.
        #[arg(long)]
        name: String,
        /// What people see; the slug if absent.
        #[arg(long)]
        display_name: Option<String>,
    },
    /// List tenants.
    List,
}

/// Runs it.
///
/// # Errors
/// [`CliError`].
pub async fn run(context: &Context, command: Command) -> Result<ExitCode, CliError> {
    let desk = Desk::open(context).await?;
    match command {
        Command::Create { name, display_name } => create(context, &desk, &name, display_name.as_deref()).await?,
        Command::List => list(context, &desk).await?,
    }
    desk.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn create(context: &Context, desk: &Desk, slug: &str, display_name: Option<&str>) -> Result<(), CliError> {
    let (id, name) = make(desk, slug, display_name).await?;
    say(context, &json!({"tenant_id": id, "slug": slug, "name": name}), &format!("tenant {slug} ({id})"));
    Ok(())
}

/// Makes a tenant; its id and the name that people see.
///
/// # Errors
/// [`CliError`]: also if the slug is taken.
pub async fn make(desk: &Desk, slug: &str, display_name: Option<&str>) -> Result<(TenantId, String), CliError> {
    let is_slug = (1..=63).contains(&slug.len())
        && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_slug {
        return Err(CliError::Failed("--name must be 1 to 63 of a-z, 0-9 and `-`".to_owned()));
    }
    let mut checker = Checker::default();
    let name = checker.text("--display-name", display_name.unwrap_or(slug), 1, 128);
    checker.finish().map_err(|errors| CliError::Failed(super::first(&errors)))?;
    let stamp = desk.stamp(new_id(desk.now(), desk.entropy()));
    let id = stamp.tenant_id;
    match desk.store.create_tenant(CreateTenant { stamp, slug: slug.to_owned(), name: name.clone() }).await? {
        CreateTenantOutcome::Created => Ok((id, name)),
        CreateTenantOutcome::SlugTaken => Err(CliError::Failed(format!("there is a tenant {slug} already"))),
    }
}

async fn list(context: &Context, desk: &Desk) -> Result<(), CliError> {
    let tenants = desk.store.tenants().await?;
    let lines: Vec<_> = tenants.iter().map(|Tenant { id, slug, name, .. }| format!("{id}  {slug}  {name}")).collect();
    let objects: Vec<_> = tenants
        .iter()
        .map(|tenant| json!({"tenant_id": tenant.id, "slug": tenant.slug, "name": tenant.name, "created_at": tenant.created_at}))
        .collect();
    say(context, &json!({"tenants": objects}), &lines.join("\n"));
    Ok(())
}
