//! `countersign-simulator apns|fcm|webpush|webhook|phone`: stand-ins of the push providers and a phone that is rung
//! by them, for a developer to point the real server at; `trial` and `health` are for running them in containers.
//!
//! A stand-in prints what the server's settings need, then runs until SIGINT or SIGTERM; with `--json` stdout
//! is one JSON object, printed when it is ready. Its keys and certificates are made as it starts and lie in
//! `--dir`, or in a directory that vanishes with it. It listens on 127.0.0.1 unless `--listen` says otherwise.
//!
//! To add a stand-in: a file beside `apns.rs`, a variant of [`Command`] and its line in `dispatch`.

mod apns;
mod common;
mod fcm;
mod health;
mod phone;
mod trial;
mod webhook;
mod webpush;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_simulator::phone::PhoneError;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Stand-ins of the push providers, and a phone that they ring.
#[derive(Debug, Parser)]
#[command(name = "countersign-simulator", version)]
struct Arguments {
    /// Only JSON on stdout.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stand in for the Apple Push Notification service.
    Apns(apns::Args),
    /// Stand in for Firebase Cloud Messaging and its OAuth token endpoint.
    Fcm(fcm::Args),
    /// Stand in for a browser vendor's push service.
    Webpush(webpush::Args),
    /// Stand in for an organisation's receiver of webhooks.
    Webhook(webhook::Args),
    /// Be a phone that a stand-in rings: pull, show and answer.
    Phone(phone::Args),
    /// Make the secrets of a trial in containers: certificates and a database password. What is there stays.
    Trial(trial::Args),
    /// Ask a stand-in whether it runs: exit code 0 or 1.
    Health(health::Args),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// A port, a file or a key.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server, a stand-in, or what they sent.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// What was asked for.
    #[error("{0}")]
    Usage(String),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let Arguments { json, command } = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(json, &CliError::Io(error)),
    };
    match runtime.block_on(dispatch(command, json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(json, &error),
    }
}

async fn dispatch(command: Command, json: bool) -> Result<(), CliError> {
    match command {
        Command::Apns(arguments) => apns::run(arguments, json).await,
        Command::Fcm(arguments) => fcm::run(arguments, json).await,
        Command::Webpush(arguments) => webpush::run(arguments, json).await,
        Command::Webhook(arguments) => webhook::run(arguments, json).await,
        Command::Phone(arguments) => phone::run(arguments, json).await,
        Command::Trial(arguments) => trial::run(&arguments, json),
        Command::Health(arguments) => health::run(&arguments, json).await,
    }
}

fn fail(json: bool, error: &CliError) -> ExitCode {
    let message = common::plain(&error.to_string());
    if json {
        // If even this cannot be written, the line on stderr still says why.
        let _gone = say(&json!({"error": message}).to_string());
    }
    let _gone = writeln!(io::stderr(), "countersign-simulator: {message}");
    ExitCode::FAILURE
}

/// A line on stdout, at once.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// SIGINT and SIGTERM, heard from when this is made: before a program introduces itself, so that whoever ends it at once
/// ends it well.
struct Interruption {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruption {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves when one of them has come.
    async fn comes(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
