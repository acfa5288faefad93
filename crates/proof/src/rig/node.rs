//! One server process.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
};

use countersign_simulator::process::{Process, Usage};
use tokio::process::{Child, Command};

use super::{PATIENCE, until};
use crate::ProofError;

/// A server that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
    /// Where its own lines begin in the log.
    log_from: u64,
}

impl Node {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(mut command: Command, port: u16, log: &Path) -> Result<Self, ProofError> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let log_from = file.metadata()?.len();
        command.stdout(Stdio::null()).stderr(file);
        let child = command.spawn()?;
        let mut node = Self { child, port, log: log.to_owned(), log_from };
        let mut has_ended = None;
        let ready = until("a node gets ready", async || {
            has_ended = node.child.try_wait()?;
            Ok(has_ended.is_some() || node.own_log()?.contains("\"message\":\"ready\""))
        });
        ready.await?;
        match has_ended {
            Some(status) => Err(ProofError::Rig(format!("a node ended at its start ({status}): {}", node.own_log()?))),
            None => Ok(node),
        }
    }

    /// What it has logged since its start.
    pub(crate) fn own_log(&self) -> Result<String, ProofError> {
        let mut file = fs::File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.log_from))?;
        let mut log = Vec::new();
        file.read_to_end(&mut log)?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Its process, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool, ProofError> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// SIGKILL: it has no chance to do anything about it. Returns when it is gone.
    pub(crate) async fn kill(mut self) -> Result<(), ProofError> {
        self.child.start_kill()?;
        self.ended().await.map(drop)
    }

    /// SIGTERM, and waits for its own end; the exit code.
    pub(crate) async fn stop(mut self) -> Result<Option<i32>, ProofError> {
        if let Some(id) = self.id() {
            signal(id, "TERM").await?;
        }
        self.ended().await
    }

    /// Waits until somebody or something else has ended it.
    pub(crate) async fn ended(&mut self) -> Result<Option<i32>, ProofError> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.map_err(|_| ProofError::Rig("a node did not end".to_owned()))??.code())
    }

    /// What it has taken of the machine.
    pub(crate) fn usage(&self) -> Option<Usage> {
        Usage::of(Process::Id(self.id()?))
    }
}

/// Signals a process of our own that has not been waited for yet: its id is nobody else's.
pub(crate) async fn signal(id: u32, name: &str) -> Result<(), ProofError> {
    signal_each(&[id], name).await
}

/// The same for several at once.
pub(crate) async fn signal_each(ids: &[u32], name: &str) -> Result<(), ProofError> {
    let ids = ids.iter().map(u32::to_string);
    let status = Command::new("kill").arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status().await?;
    if status.success() { Ok(()) } else { Err(ProofError::Rig(format!("no signal {name} to a child"))) }
}
