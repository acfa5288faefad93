//! `countersign device …`: a command-line authenticator, for development (protocol 12).
//!
//! It is a phone like any other: it knows the server only through its public address, needs none of the
//! server's settings, and shows nothing that it has not verified. Its private keys are in one file of mode
//! 0600, several registrations together; they are no safer than that file.
//!
//! With `--json` stdout is exactly one JSON object, also on failure: `{"error": …}`, with the server's
//! `problem` if it sent one. The exception is `watch`, which prints one object per line, as things happen.
//! To add a subcommand: a file beside `enroll.rs`, a variant and its line in `dispatch`.

mod answer;
mod enroll;
mod list;
mod notices;
mod rotate;
mod watch;
pub(super) mod words;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use countersign_core::entropy::Entropy as _;
use countersign_proto::{ids::DeviceId, vocabulary::RevokeReason};
use countersign_simulator::{
    KeysFile, KeysFileError, Phone,
    phone::{PhoneError, Registration, Surroundings},
};
use serde_json::{Value, json};

use super::CliError;
use crate::{
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
};

/// What to do, and with which keys.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// The file with the private keys of this machine's registrations.
    #[arg(long, global = true, value_name = "FILE", default_value = "countersign-device.json")]
    keys: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register with an enrollment URI, as a phone does that scans its QR code.
    Enroll(enroll::EnrollArgs),
    /// Show this machine's registrations and what waits for an answer.
    List,
    /// Wait for challenges and show each, until interrupted; with --json one object per line.
    Watch {
        /// Only this registration; all if absent.
        #[arg(long, value_name = "ID")]
        device: Option<DeviceId>,
    },
    /// Approve a challenge.
    Approve(answer::ApproveArgs),
    /// Deny a challenge.
    Deny(answer::DenyArgs),
    /// Show what happened to the person's registrations.
    Notices {
        /// The registration; may be absent if there is only one.
        #[arg(long, value_name = "ID")]
        device: Option<DeviceId>,
    },
    /// Say "that was not me" to a notice: the newer registration that it is about is suspended.
    Dispute(notices::DisputeArgs),
    /// Replace the keys. What was broken off before its reply is finished by the next command, whichever it is.
    RotateKey(rotate::RotateArgs),
    /// Leave the server, and forget the keys.
    Deregister {
        /// The registration; may be absent if there is only one.
        #[arg(long, value_name = "ID")]
        device: Option<DeviceId>,
        /// Why: lost, stolen, replaced, left or other.
        #[arg(long)]
        reason: Option<RevokeReason>,
    },
}

/// Why a device command failed.
#[derive(Debug, thiserror::Error)]
enum DeviceError {
    /// The server, or what it sent.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// The keys file.
    #[error(transparent)]
    Keys(#[from] KeysFileError),
    /// What was asked for.
    #[error("{0}")]
    Usage(String),
    /// stdout is gone.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// What every subcommand has at hand.
struct Desk {
    keys: PathBuf,
    json: bool,
    surroundings: Surroundings,
}

/// Runs it.
///
/// # Errors
/// [`CliError`], in one line.
pub async fn run(arguments: DeviceArgs, json: bool) -> Result<ExitCode, CliError> {
    let DeviceArgs { keys, command } = arguments;
    let desk = Desk { keys, json, surroundings: surroundings() };
    match dispatch(&desk, command).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            if json {
                // If even this cannot be written, the line on stderr still says why.
                let _gone = desk.say(&failure(&error), "");
            }
            // A server's words may be in it.
            Err(CliError::Failed(words::plain(&error.to_string())))
        }
    }
}

async fn dispatch(desk: &Desk, command: Command) -> Result<(), DeviceError> {
    match command {
        Command::Enroll(arguments) => enroll::run(desk, arguments).await,
        Command::List => list::run(desk).await,
        Command::Watch { device } => watch::run(desk, device).await,
        Command::Approve(arguments) => answer::approve(desk, arguments).await,
        Command::Deny(arguments) => answer::deny(desk, arguments).await,
        Command::Notices { device } => notices::list(desk, device).await,
        Command::Dispute(arguments) => notices::dispute(desk, arguments).await,
        Command::RotateKey(arguments) => rotate::run(desk, arguments).await,
        Command::Deregister { device, reason } => deregister(desk, device, reason).await,
    }
}

/// The machine's clock and random source, for a phone.
pub(super) fn surroundings() -> Surroundings {
    let entropy = SystemEntropy::default();
    Surroundings::new(|| SystemClock.now(), move |buffer: &mut [u8]| entropy.fill(buffer))
}

async fn deregister(desk: &Desk, device: Option<DeviceId>, reason: Option<RevokeReason>) -> Result<(), DeviceError> {
    let registration = desk.only_registration(device)?;
    let phone = desk.connect(registration).await?;
    let done = phone.deregister(reason).await?;
    // Only now: whoever forgets the keys first cannot say goodbye any more.
    KeysFile::remove(&desk.keys, phone.id())?;
    let object = json!({"device_id": done.device_id, "status": done.status, "revoked_at": done.revoked_at});
    desk.say(&object, &format!("Device {} has left; its keys are forgotten.", done.device_id))
}

/// What `--json` says of a failure.
fn failure(error: &DeviceError) -> Value {
    let mut object = json!({"error": error.to_string()});
    if let (DeviceError::Phone(PhoneError::Problem(problem)), Some(members)) = (error, object.as_object_mut()) {
        members.insert("problem".to_owned(), serde_json::to_value(problem).unwrap_or_default());
    }
    object
}

impl Desk {
    /// The registrations that are meant: one, or all.
    fn registrations(&self, device: Option<DeviceId>) -> Result<Vec<Registration>, DeviceError> {
        let mut registrations = self.all_registrations()?;
        if let Some(device) = device {
            registrations.retain(|registration| registration.device_id == device);
        }
        match (registrations.is_empty(), device) {
            (false, _) => Ok(registrations),
            (true, Some(device)) => Err(DeviceError::Usage(format!("{} has no device {device}", self.keys.display()))),
            (true, None) => {
                Err(DeviceError::Usage(format!("{} has no registrations: enroll first", self.keys.display())))
            }
        }
    }

    /// Every registration; none if there is no file yet.
    fn all_registrations(&self) -> Result<Vec<Registration>, DeviceError> {
        match KeysFile::load(&self.keys) {
            Ok(keys) => Ok(keys.registrations),
            Err(KeysFileError::Missing(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// The one registration that is meant.
    fn only_registration(&self, device: Option<DeviceId>) -> Result<Registration, DeviceError> {
        let mut registrations = self.registrations(device)?;
        match (registrations.pop(), registrations.is_empty()) {
            (Some(registration), true) => Ok(registration),
            _ => Err(DeviceError::Usage("there are several registrations: say which with --device ID".to_owned())),
        }
    }

    async fn connect(&self, registration: Registration) -> Result<Phone, DeviceError> {
        let phone = Phone::connect(registration, self.surroundings.clone()).await?;
        rotate::finish(self, phone).await
    }

    /// One object, or the lines for a person. Flushed: `watch` may be read through a pipe.
    fn say(&self, object: &Value, text: &str) -> Result<(), DeviceError> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(out.flush()?)
    }
}
