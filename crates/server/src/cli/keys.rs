//! `countersign keys`: the file of the private keys.
//!
//! A server on PostgreSQL never makes it by itself: each node would make its own. `create` does, once; where there is a
//! file, it stays. `rotate` and `revoke` change it in place; servers take it up within half a minute, or at SIGHUP. On
//! nodes that have copies of the file, copy it. To add a command on keys: a variant here.

use std::{path::Path, process::ExitCode};

use clap::Subcommand;
use countersign_proto::timestamp::Timestamp;
use serde_json::{Value, json};

use super::{CliError, Context, say};
use crate::{
    app::StartError,
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
    signing::{
        KeyFileError, ServerKeys,
        rotation::{self, KeyRecord, KeyState},
    },
};

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Make the key file that `signing.key_file` names, unless it is there.
    Create,
    /// Show the signing keys and what each does.
    List,
    /// Add the next signing key: published at once, used ten minutes later.
    Rotate,
    /// Take the private halves of long retired keys out of the file; every rotation and revocation does so, too.
    Prune,
    /// Refuse what a key signs from now on: others may have it.
    Revoke {
        /// The key's `kid`.
        kid: String,
    },
}

/// Runs it. Two that run at once end with the same file.
///
/// # Errors
/// The file cannot be made, or what is there is no key file or readable by others.
pub fn run(context: &Context, command: &Command) -> Result<ExitCode, CliError> {
    let path = context.settings.key_file();
    let outcome = match command {
        Command::Create => create(context, &path),
        Command::List => list(context, &path),
        Command::Rotate => rotate(context, &path),
        Command::Prune => prune(context, &path),
        Command::Revoke { kid } => revoke(context, &path, kid),
    };
    outcome.map_err(StartError::from)?;
    Ok(ExitCode::SUCCESS)
}

fn create(context: &Context, path: &Path) -> Result<(), KeyFileError> {
    let was_there = path.exists();
    let issuer = context.settings.issuer();
    let keys = ServerKeys::open(path, true, &issuer, SystemClock.now(), &SystemEntropy::default())?.jwks();
    let ids: Vec<&str> = keys.keys.iter().map(|key| key.kid.as_str()).collect();
    let done = if was_there { "has been there" } else { "is made; back it up" };
    say(
        context,
        &json!({"key_file": path, "created": !was_there, "kids": ids}),
        &format!("the key file {} {done}", path.display()),
    );
    Ok(())
}

fn list(context: &Context, path: &Path) -> Result<(), KeyFileError> {
    let keys = rotation::list(path, SystemClock.now())?;
    let lines: Vec<_> = keys.iter().map(line).collect();
    let keys: Vec<_> = keys.iter().map(object).collect();
    say(context, &json!({"key_file": path, "keys": keys}), &lines.join("\n"));
    Ok(())
}

fn rotate(context: &Context, path: &Path) -> Result<(), KeyFileError> {
    let key = rotation::rotate(path, SystemClock.now(), &SystemEntropy::default())?;
    let text = format!(
        "the key {} is in {} and signs from {} on\nback the file up; where nodes have copies, copy it there before then",
        key.kid,
        path.display(),
        key.signs_from
    );
    say(context, &json!({"key_file": path, "key": object(&key)}), &text);
    Ok(())
}

fn prune(context: &Context, path: &Path) -> Result<(), KeyFileError> {
    let pruned = rotation::prune(path, SystemClock.now(), &SystemEntropy::default())?;
    let text = format!("{pruned} private halves of retired keys are gone from {}", path.display());
    say(context, &json!({"key_file": path, "pruned": pruned}), &text);
    Ok(())
}

fn revoke(context: &Context, path: &Path, kid: &str) -> Result<(), KeyFileError> {
    let successor = rotation::revoke(path, kid, SystemClock.now(), &SystemEntropy::default())?;
    let mut text = format!("the key {kid} is revoked: what it signs from now on is refused\n");
    match &successor {
        Some(key) => text.push_str(&format!(
            "the key {} signs from now on; verifiers that keep jwks.json refuse it for up to five minutes\n",
            key.kid
        )),
        None => text.push_str("another key signs\n"),
    }
    text.push_str(
        "where nodes have copies of the file, copy it now; then send SIGHUP to all servers: what they sign with it until \
         they have looked (30 s otherwise) is refused, too",
    );
    say(context, &json!({"key_file": path, "revoked": kid, "key": successor.as_ref().map(object)}), &text);
    Ok(())
}

fn object(key: &KeyRecord) -> Value {
    let until = |at: Option<Timestamp>| at.map_or(Value::Null, |at| json!(at));
    let mut object = json!({
        "kid": key.kid.as_str(), "state": key.state.as_str(), "created_at": key.created_at, "signs_from": key.signs_from,
        "retired_at": until(key.retired_at), "revoked_at": until(key.revoked_at),
        "has_private_half": key.has_private_half,
    });
    // What has not happened is absent, not null.
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    object
}

fn line(key: &KeyRecord) -> String {
    let until = |what: &str, at: Option<Timestamp>| at.map_or_else(String::new, |at| format!("  {what} {at}"));
    let from = if key.state == KeyState::Next { "signs from" } else { "since" };
    format!(
        "{}  {:8}  {from} {}{}{}",
        key.kid,
        key.state.as_str(),
        key.signs_from,
        until("retired", key.retired_at),
        until("revoked", key.revoked_at)
    )
}
