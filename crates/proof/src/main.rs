//! `countersign-proof ATTACK`: tries to break what the server promises, and says in figures how that went.
//!
//! Each attack starts real server processes as its own children, waits for them, talks to loopback only, and judges what
//! it saw by machine ([`history`], [`check`]); it fails when one promise was broken, and when it could not judge. What it
//! knows of the server it knows from the protocol: it links the wire types and the command-line phone, never the server.
//! A run is repeated by its seed, as far as the machine lets it. docs/proof.md keeps the figures.
//!
//! To add an attack: a file in `attacks/` with its `Args` and its `run`, a variant of [`Command`], its line in
//! `dispatch`, its line in scripts/proof.sh, its section in docs/proof.md.

mod attacks;
mod check;
mod dice;
mod flows;
mod history;
mod http;
mod report;
mod rig;
mod simulation;
mod system;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::report::Report;

/// Tries to break the server's promises.
#[derive(Debug, Parser)]
#[command(name = "countersign-proof", version)]
struct Arguments {
    /// Only one JSON object on stdout, with the figures.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send what no client of good will sends, byte by byte.
    Http(attacks::http::Args),
    /// Spoil artefacts, judge them, and write them down for other libraries to judge.
    Tokens(attacks::tokens::Args),
    /// Kill the server at random instants under load.
    Kill(attacks::kill::Args),
    /// Let several ask for the same thing at once, through several processes.
    Races(attacks::races::Args),
    /// Do what people do and what they must not get through, once each, undisturbed.
    Rules(attacks::rules::Args),
    /// Forge approvals in the database of a server that runs.
    Forge(attacks::forge::Args),
    /// Kill the server at one system call of one step after the other, or let the call fail.
    Syscalls(attacks::syscalls::Args),
    /// Kill and stall PostgreSQL, and lose COMMITs, while people sign in.
    Postgres(attacks::postgres::Args),
    /// Let a synchronous standby of PostgreSQL take the place of its primary, again and again, while people sign in.
    Failover(attacks::failover::Args),
    /// Fill the database's disk while people sign in.
    Disk(attacks::disk::Args),
    /// Cut the power of the disk that holds the SQLite database, again and again, of one record.
    Power(attacks::power::Args),
    /// Let the wall clock jump, drift, and differ between nodes, while people sign in.
    Time(attacks::time::Args),
    /// Play the rules through over a simulated store, network and time.
    Simulate(simulation::Args),
}

/// Why an attack has no result, which is not the same as one that found nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    /// A file, a port, a child.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What the attack needs is not there, or does not behave as it must before anything is attacked.
    #[error("{0}")]
    Rig(String),
}

fn main() -> ExitCode {
    let Arguments { json, command } = Arguments::parse();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(command)),
        Err(error) => Err(error.into()),
    };
    match outcome.and_then(|report| Ok((report.say(json)?, report))) {
        Ok(((), report)) if report.holds() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // If this cannot be written either, the exit status still says it.
            let _gone = writeln!(io::stderr(), "countersign-proof: {error}");
            ExitCode::from(2)
        }
    }
}

async fn dispatch(command: Command) -> Result<Report, ProofError> {
    match command {
        Command::Http(arguments) => attacks::http::run(arguments).await,
        Command::Tokens(arguments) => attacks::tokens::run(&arguments),
        Command::Kill(arguments) => attacks::kill::run(arguments).await,
        Command::Races(arguments) => attacks::races::run(arguments).await,
        Command::Rules(arguments) => attacks::rules::run(arguments).await,
        Command::Forge(arguments) => attacks::forge::run(arguments).await,
        Command::Syscalls(arguments) => attacks::syscalls::run(arguments).await,
        Command::Postgres(arguments) => attacks::postgres::run(arguments).await,
        Command::Failover(arguments) => attacks::failover::run(arguments).await,
        Command::Disk(arguments) => attacks::disk::run(arguments).await,
        Command::Power(arguments) => attacks::power::run(arguments).await,
        Command::Time(arguments) => attacks::time::run(arguments).await,
        Command::Simulate(arguments) => simulation::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_make_sense_together() {
        Arguments::command().debug_assert();
    }
}
