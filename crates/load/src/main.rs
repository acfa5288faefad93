//! `countersign-load sign-in|waiters|enroll|overload|floor|push|request`: the load generator. It measures what the product does in a second, with the
//! product's own code on the sending side, and fails when anything went wrong: a figure of a broken run is none.
//!
//! A program and no library, so that nothing can link it. Never puts load on somebody else's service: it takes a
//! stand-in's own description, and loopback only. Human output, or one JSON object with `--json`.
//!
//! To add a kind of load: a file beside `push.rs` with its `Args` and its `run`, a variant of [`Command`], its line in
//! `dispatch`; its figures through `statistics`.

mod device;
mod enroll;
mod floor;
mod notifications;
mod overload;
mod population;
mod push;
mod reply;
mod request;
mod results;
mod sample;
mod sign_in;
mod stand_in;
mod statistics;
mod system;
mod target;
#[cfg(test)]
mod testing;
mod waiters;
mod wire;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use countersign_push::SettingsError;

/// Puts load on the product, and says what it did.
#[derive(Debug, Parser)]
#[command(name = "countersign-load", version)]
struct Arguments {
    /// Only JSON on stdout.
    #[arg(long, global = true)]
    json: bool,
    /// Threads of the runtime; as many as there are cores if absent, like the server.
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send challenges through the APNs sender, so many at once.
    Push(push::Args),
    /// Print the request that the APNs sender sends, for another HTTP/2 client to repeat.
    Request(request::Args),
    /// Sign users in: create, pull, approve, and the caller's waiting read.
    SignIn(sign_in::Args),
    /// Hold many reads of devices and callers, then wake them all.
    Waiters(waiters::Args),
    /// Enroll users, so many at once.
    Enroll(enroll::Args),
    /// Ask for more than the server can do.
    Overload(overload::Args),
    /// Measure what a sign-in costs at least: echo, signatures and batches, each alone.
    Floor(floor::Args),
    /// The bare server of `floor`; ends when its standard input is closed.
    #[command(hide = true)]
    Echo,
}

/// Why a run is worth nothing.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    /// A file, a port, the output.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The stand-in's description cannot be used.
    #[error("the stand-in's description: {0}")]
    Description(String),
    /// The senders do not take the stand-in's credentials.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The stand-in's control port does not answer as it should.
    #[error("the stand-in's control port: {0}")]
    Control(String),
    /// It ran, and not everything went well.
    #[error("{0}")]
    Failed(String),
}

fn main() -> ExitCode {
    let Arguments { json, threads, command } = Arguments::parse();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(usize::from(threads));
    }
    let outcome = match builder.enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(command, json)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If this cannot be written either, the exit status still says it.
            let _gone = writeln!(io::stderr(), "countersign-load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command, json: bool) -> Result<(), LoadError> {
    match command {
        Command::Push(arguments) => push::run(arguments, json).await,
        Command::Request(arguments) => request::run(arguments, json).await,
        Command::SignIn(arguments) => sign_in::run(arguments, json).await,
        Command::Waiters(arguments) => waiters::run(arguments, json).await,
        Command::Enroll(arguments) => enroll::run(arguments, json).await,
        Command::Overload(arguments) => overload::run(arguments, json).await,
        Command::Floor(arguments) => floor::run(arguments, json).await,
        Command::Echo => floor::echo::run().await,
    }
}

/// A line on stdout, at once.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn is_taken(arguments: &str) -> bool {
        Arguments::try_parse_from(arguments.split(' ')).is_ok()
    }

    #[test]
    fn the_arguments_make_sense_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_run_has_pushes_and_no_more_in_flight_than_a_sender_takes() {
        assert!(is_taken("countersign-load push --stand-in a.json"));
        assert!(is_taken("countersign-load push --stand-in a.json --pushes 1 --in-flight 1000 --devices 1 --json"));
        for wrong in ["--pushes 0", "--in-flight 0", "--in-flight 1001", "--devices 0", "--threads 0", "--pushes -1"] {
            assert!(!is_taken(&format!("countersign-load push --stand-in a.json {wrong}")), "{wrong}");
        }
        assert!(!is_taken("countersign-load push"), "there is no default for whom to send to");
    }

    #[test]
    fn sign_ins_need_a_server_on_this_machine_and_have_one_end_and_one_pace() {
        let at = "--url http://127.0.0.1:8080 --api-key-file key";
        let takes = |rest: &str| is_taken(format!("countersign-load sign-in {at} {rest}").trim_end());
        assert!(takes(""));
        assert!(takes("--device-url http://127.0.0.1:8081 --pid 1 --flows 256 --sign-ins 9 --warm-up 0 --threads 1"));
        assert!(takes("--rate 300 --arrivals poisson --seed 7 --seconds 30 --users 5000 --json"));
        for wrong in
            ["--sign-ins 1 --seconds 1", "--arrivals poisson", "--rate 0", "--rate x", "--flows 0", "--seconds 0"]
        {
            assert!(!takes(wrong), "{wrong}");
        }
        assert!(!is_taken("countersign-load sign-in --url http://192.0.2.1:80 --api-key-file key"));
        assert!(!is_taken("countersign-load sign-in --url http://127.0.0.1:80"), "who calls must be said");
        assert!(is_taken("countersign-load waiters --url http://127.0.0.1:1 --api-key-file k --who devices"));
        assert!(is_taken("countersign-load floor --database sqlite:///tmp/a.db"));
    }
}
