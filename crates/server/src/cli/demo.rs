//! `countersign demo`: one approval after another through a real server on this machine, told line by line.
//!
//! The server is the one that `countersign serve` runs, with a temporary database and free ports; tenant and
//! API client are made by the functions behind the commands; everything after that is plain HTTP. Nothing is
//! told that was not checked: the first thing that differs from what the protocol promises ends the demo with
//! exit code 1 and says what was expected. It must never reach into the server past its public address.
//! With `--deployment` the server is the one that the settings describe, wherever it runs: `deployment`.
//! To add a chapter: a file beside `enrollment.rs`, its line in `tell`.

mod approval;
mod deployment;
mod enrollment;
mod house;
mod identity_provider;
mod proof;
mod providers;
mod refusals;
mod ringing;
mod story;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use countersign_simulator::phone::PhoneError;

use self::{deployment::Ring, house::House, identity_provider::CallError, story::Story};
use super::{CliError, Context};
use crate::clock::{Clock as _, SystemClock};

/// Which server.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Let a sign-in be approved at the server that these settings describe and that runs already, through its public
    /// URL, instead of at one of the demo's own. Adds a tenant `demo` to its database.
    #[arg(long)]
    deployment: bool,
    /// A phone there, and the control port of the stand-in that rings it: apns=URL, fcm=URL or webpush=URL. May be given
    /// again.
    #[arg(long, value_name = "CHANNEL=URL", requires = "deployment")]
    ring: Vec<Ring>,
    /// How long to wait until that server is ready.
    #[arg(long, value_name = "SECONDS", requires = "deployment", default_value_t = 60)]
    wait_seconds: u16,
}

impl DemoArgs {
    /// Whether it is about a server that runs already.
    pub const fn is_at_deployment(&self) -> bool {
        self.deployment
    }
}

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// Something happened that should not have, or the other way round.
    #[error("expected: {expected}; saw: {saw}")]
    Deviation {
        /// What the protocol promises.
        expected: String,
        /// What happened.
        saw: String,
    },
    #[error(transparent)]
    Cli(#[from] CliError),
    #[error("the phone: {0}")]
    Phone(#[from] PhoneError),
    #[error("the sign-in page: {0}")]
    Call(#[from] CallError),
    #[error("a waiting call ended badly: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Runs it. With `json` the story is silent, and stdout is one object: `{"ok", "steps", "milliseconds"}`, with
/// `error` if it did not end well.
///
/// # Errors
/// [`CliError`]: what was expected and did not happen.
pub async fn run(json: bool) -> Result<ExitCode, CliError> {
    let mut story = story(json);
    let outcome = tokio::select! {
        outcome = tell(&mut story) => outcome,
        // Dropping the story's future takes the temporary folder with it.
        _ = tokio::signal::ctrl_c() => return Err(CliError::Failed("interrupted".to_owned())),
    };
    end(json, &story, outcome)
}

/// Runs it at the server that the settings describe.
///
/// # Errors
/// As [`run`].
pub async fn run_at_deployment(context: &Context, arguments: &DemoArgs) -> Result<ExitCode, CliError> {
    let mut story = story(context.json);
    let outcome = tokio::select! {
        outcome = deployment::tell(&mut story, context, &arguments.ring, arguments.wait_seconds) => outcome,
        _ = tokio::signal::ctrl_c() => return Err(CliError::Failed("interrupted".to_owned())),
    };
    end(context.json, &story, outcome)
}

fn story(json: bool) -> Story {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let out: Box<dyn io::Write + Send> = if json { Box::new(io::sink()) } else { Box::new(stdout) };
    Story::new(out, is_terminal)
}

fn end(json: bool, story: &Story, outcome: Result<(), DemoError>) -> Result<ExitCode, CliError> {
    if json {
        let milliseconds = SystemClock.now().millis_since(story.began_at());
        let mut object =
            serde_json::json!({"ok": outcome.is_ok(), "steps": story.steps(), "milliseconds": milliseconds});
        if let (Err(error), Some(members)) = (&outcome, object.as_object_mut()) {
            members.insert("error".to_owned(), error.to_string().into());
        }
        writeln!(io::stdout(), "{object}").map_err(|error| CliError::Failed(format!("cannot write: {error}")))?;
    }
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(CliError::Failed(format!("demo, step {}: {error}", story.steps()))),
    }
}

/// A call that the server can refuse with a problem document.
trait Refusable {
    fn is_problem(&self, slug: &str) -> bool;
}

impl Refusable for PhoneError {
    fn is_problem(&self, slug: &str) -> bool {
        Self::is_problem(self, slug)
    }
}

impl Refusable for CallError {
    fn is_problem(&self, slug: &str) -> bool {
        Self::is_problem(self, slug)
    }
}

/// Tells that a call was refused, and with which problem.
fn refused<T, E>(story: &mut Story, outcome: Result<T, E>, slug: &str, fact: &str) -> Result<(), DemoError>
where
    E: Refusable + std::fmt::Display,
{
    match outcome {
        Ok(_) => story.check(false, fact, "it was accepted"),
        Err(error) => story.check(error.is_problem(slug), fact, error),
    }
}

async fn tell(story: &mut Story) -> Result<(), DemoError> {
    story.title(
        "countersign: one approval through the whole house",
        "All on this machine: free ports, and a database that vanishes at the end.",
    )?;
    let house = House::open(story).await?;
    let page = house.sign_in_page(story).await?;

    story.chapter("Enrollment")?;
    let mut inbox = house.providers().iphone().await?;
    let phone = enrollment::tell(story, &page, inbox.binding()).await?;

    story.chapter("A sign-in")?;
    let approved = approval::tell(story, &page, &phone).await?;
    let proof = proof::keep(story, &page, &approved, house.folder()).await?;
    proof.verify(story, &phone)?;

    story.chapter("Two phones ring")?;
    ringing::tell(story, &page, house.providers(), (&phone, &mut inbox)).await?;

    story.chapter("What else may happen")?;
    refusals::not_me(story, &page, &phone).await?;
    refusals::wrong_number(story, &page, &phone).await?;
    refusals::revoked(story, &page, &phone).await?;

    story.chapter("Afterwards")?;
    refusals::log(story, &page).await?;
    let folder = house.stop(story).await?;
    proof.verify_again(story)?;
    drop(folder);

    Ok(story.end()?)
}
