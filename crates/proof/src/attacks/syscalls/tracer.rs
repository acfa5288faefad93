//! strace, put to a server that runs.
//!
//! Never traces anything but the process it is given, and lets it go when it ends, however that is.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::{
    ProofError,
    rig::{signal, until},
};

/// It takes milliseconds.
const LETTING_GO: Duration = Duration::from_secs(10);

/// One strace that is attached.
#[derive(Debug)]
pub(super) struct Tracer {
    child: Child,
    process: u32,
    traced: PathBuf,
}

impl Tracer {
    /// Attaches it to all threads of a process; `files` get what it traces, and what it complains of.
    pub(super) async fn attach(
        process: u32,
        calls: &str,
        injection: &str,
        files: [PathBuf; 2],
    ) -> Result<Self, ProofError> {
        let [traced, complaints] = files;
        let (id, calls, output) = (process.to_string(), format!("trace={calls}"), traced.display().to_string());
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &id, "-o", &output, "-e", &calls, "-e", injection]);
        // Otherwise the signals that the runtime sends itself would fill the file.
        command.args(["-e", "signal=none"]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&complaints)?).kill_on_drop(true);
        let missing = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => ProofError::Rig("not attacked: strace is not installed".to_owned()),
            _ => error.into(),
        };
        let mut tracer = Self { child: command.spawn().map_err(missing)?, process, traced };
        let mut said = String::new();
        let attached = until("strace is attached", async || {
            said = fs::read_to_string(&complaints)?;
            Ok(said.contains(" attached") || tracer.child.try_wait()?.is_some())
        });
        attached.await?;
        if said.contains(" attached") {
            Ok(tracer)
        } else {
            Err(ProofError::Rig(format!("not attacked: strace may not trace its own brother: {said}")))
        }
    }

    /// Lets the process go; whether a call was made to fail.
    pub(super) async fn detach(mut self) -> Result<bool, ProofError> {
        if let (None, Some(id)) = (self.child.try_wait()?, self.child.id()) {
            signal(id, "TERM").await?;
        }
        if tokio::time::timeout(LETTING_GO, self.child.wait()).await.is_err() {
            // It waits for a thread that has gone meanwhile. Without it nothing is traced any more; what it had stopped
            // goes on, and a process that has ended cannot.
            self.child.kill().await?;
            let _ended = signal(self.process, "CONT").await;
        }
        Ok(fs::read_to_string(&self.traced)?.contains("(INJECTED)"))
    }
}
