//! `countersign tenant create|list|show|set|disable|enable`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use countersign_core::{
    entropy::new_id,
    ports::tenants::{
        ChangeTenant, ChangeTenantOutcome, CreateTenant, CreateTenantOutcome, Quota, SetQuotas, SwitchTenantOutcome,
        Tenant, TenantDetails, TenantRetention,
    },
    text::Checker,
};
use countersign_proto::ids::TenantId;
use serde_json::{Map, Value, json};

use super::{CliError, Context, Desk, say};
use crate::{config::Retention, disabling};

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
    /// Show a tenant's settings, and what it has of what is limited.
    Show {
        /// Its slug.
        slug: String,
    },
    /// Change a tenant's settings and limits.
    Set(SetArgs),
    /// Refuse everything that a tenant's API clients and devices do, and end what waits.
    Disable {
        /// Its slug.
        slug: String,
    },
    /// Undo that. Revives nothing.
    Enable {
        /// Its slug.
        slug: String,
    },
}

/// What to change; what is not named stays.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Its slug.
    slug: String,
    /// What people see.
    #[arg(long)]
    display_name: Option<String>,
    /// Days that ended challenges are kept, if not as long as the server says; `none`: as long as that.
    #[arg(long, value_name = "DAYS|none", value_parser = limit)]
    challenge_days: Option<Limit>,
    /// The same for enrollments.
    #[arg(long, value_name = "DAYS|none", value_parser = limit)]
    enrollment_days: Option<Limit>,
    /// How many users there may be; `none`: as many as they like.
    #[arg(long, value_name = "COUNT|none", value_parser = limit)]
    max_users: Option<Limit>,
    /// The same for API clients.
    #[arg(long, value_name = "COUNT|none", value_parser = limit)]
    max_api_clients: Option<Limit>,
    /// The same for webhooks.
    #[arg(long, value_name = "COUNT|none", value_parser = limit)]
    max_webhooks: Option<Limit>,
}

/// A number, or none.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        number => number.parse().map(|number| Limit(Some(number))).map_err(|_| "a number, or `none`".to_owned()),
    }
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
        Command::Show { slug } => {
            let id = desk.tenant(&slug).await?.id;
            let details = desk.store.tenant_details(id).await?.ok_or_else(|| gone(&slug))?;
            show(context, &details);
        }
        Command::Set(arguments) => set(context, &desk, arguments).await?,
        Command::Disable { slug } => switch(context, &desk, &slug, true).await?,
        Command::Enable { slug } => switch(context, &desk, &slug, false).await?,
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

fn gone(slug: &str) -> CliError {
    CliError::Failed(format!("there is no tenant {slug}"))
}

fn show(context: &Context, details: &TenantDetails) {
    let Tenant { id, slug, name, created_at, .. } = &details.tenant;
    let TenantRetention { challenge_days, enrollment_days } = details.settings.retention;
    let mut quotas = Map::new();
    let mut lines = vec![format!("{id}  {slug}  {name}")];
    lines.extend(details.disabled_at.map(|at| format!("disabled since {at}")));
    for (what, days) in [("challenges", challenge_days), ("enrollments", enrollment_days)] {
        lines.extend(days.map(|days| format!("{what} are kept for {days} days")));
    }
    for usage in &details.usage {
        let mut quota = json!({"count": usage.count});
        if let (Some(limit), Value::Object(quota)) = (usage.limit, &mut quota) {
            quota.insert("limit".to_owned(), limit.into());
        }
        let limit = usage.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        lines.push(format!("{}: {}{limit}", usage.quota, usage.count));
        quotas.insert(usage.quota.as_str().to_owned(), quota);
    }
    let mut object = json!({"tenant_id": id, "slug": slug, "name": name, "created_at": created_at,
        "settings_version": details.settings_version, "retention": details.settings.retention, "quotas": quotas});
    if let (Some(at), Value::Object(object)) = (details.disabled_at, &mut object) {
        object.insert("disabled_at".to_owned(), json!(at));
    }
    say(context, &object, &lines.join("\n"));
}

async fn set(context: &Context, desk: &Desk, arguments: SetArgs) -> Result<(), CliError> {
    let id = desk.tenant(&arguments.slug).await?.id;
    let before = desk.store.tenant_details(id).await?.ok_or_else(|| gone(&arguments.slug))?;
    let mut checker = Checker::default();
    let name = checker.optional_text("--display-name", arguments.display_name.as_deref(), 1, 128);
    let mut days = |name: &str, days: Option<Limit>, before: Option<u32>| {
        let Some(Limit(days)) = days else { return before };
        let (least, most) = (i64::from(Retention::LEAST_DAYS), i64::from(Retention::MOST_DAYS));
        if let Some(days) = days {
            checker.range(name, i64::from(days), least, most);
        }
        days
    };
    let retention = TenantRetention {
        challenge_days: days("--challenge-days", arguments.challenge_days, before.settings.retention.challenge_days),
        enrollment_days: days(
            "--enrollment-days",
            arguments.enrollment_days,
            before.settings.retention.enrollment_days,
        ),
    };
    checker.finish().map_err(|errors| CliError::Failed(super::first(&errors)))?;
    let names_days = arguments.challenge_days.is_some() || arguments.enrollment_days.is_some();
    let retention = names_days.then_some(retention);
    let mut outcome = desk.store.change_tenant(ChangeTenant { stamp: desk.stamp(id), name, retention }).await?;
    let limits = [
        (Quota::Users, arguments.max_users),
        (Quota::ApiClients, arguments.max_api_clients),
        (Quota::Webhooks, arguments.max_webhooks),
    ];
    let limits: Vec<_> = limits.into_iter().filter_map(|(quota, limit)| Some((quota, limit?.0))).collect();
    if !limits.is_empty() {
        outcome = desk.store.set_quotas(SetQuotas { stamp: desk.stamp(id), limits }).await?;
    }
    match outcome {
        ChangeTenantOutcome::Changed(details) => show(context, &details),
        ChangeTenantOutcome::NotFound => return Err(gone(&arguments.slug)),
    }
    Ok(())
}

async fn switch(context: &Context, desk: &Desk, slug: &str, disables: bool) -> Result<(), CliError> {
    let id = desk.tenant(slug).await?.id;
    let (outcome, status) = match disables {
        true => (disabling::disable(desk.store.as_ref(), &|| desk.stamp(id)).await?, "disabled"),
        false => (disabling::enable(desk.store.as_ref(), &|| desk.stamp(id)).await?, "enabled"),
    };
    let text = match outcome {
        SwitchTenantOutcome::Switched => format!("tenant {slug} is {status}"),
        SwitchTenantOutcome::Already => format!("tenant {slug} was {status} already"),
        SwitchTenantOutcome::NotFound => return Err(gone(slug)),
    };
    say(context, &json!({"tenant_id": id, "slug": slug, "status": status}), &text);
    Ok(())
}
