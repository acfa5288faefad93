//! A PostgreSQL cluster of one attack's own, to be killed, stalled and started again.
//!
//! It lives in a temporary folder, listens on 127.0.0.1 only, runs as an unprivileged user, is durable as by default, and
//! ends with this process however that ends: a shell waits for the end of its standard input. Never touches another
//! cluster. To add a fault: a method of [`Cluster`]; what concerns two of them is in `cluster/standby.rs`.

mod standby;

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Stdio,
    str::FromStr as _,
    time::Duration,
};

use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    free_port,
    node::{signal, signal_each},
    until,
};
use crate::{ProofError, dice::Dice, system::Stopwatch};

/// Where distributions keep the server's programs: off the PATH, mostly.
const FIND: &str = "for folder in \"$(pg_config --bindir 2>/dev/null)\" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
    /usr/libexec/postgresql* \"$(dirname \"$(command -v initdb)\")\"; do \
    if [ -x \"$folder/initdb\" ] && [ -x \"$folder/postgres\" ]; then echo \"$folder\"; exit; fi; done; exit 1";
/// SIGQUIT is the immediate shutdown. The shell's input ends with the harness.
const RUN: &str = "\"$@\" >>server.log 2>&1 & cat >/dev/null; kill -QUIT $!; wait $!";

/// A start that has written no process id by then was refused.
const REFUSED: Duration = Duration::from_secs(3);

/// How a cluster dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// SIGKILL of its first process; the sessions notice and end.
    Kill,
    /// `pg_ctl stop --mode=immediate`: all sessions are cut, nothing is tidied up.
    Immediate,
    /// SIGKILL of all that it is: no session notices anything, or answers anybody any more.
    Whole,
}

/// A cluster with its one server.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    /// PostgreSQL refuses to run as root: then, as whom.
    user: Option<(u32, u32)>,
    pub(crate) port: u16,
    password: String,
    server: Option<Child>,
}

impl Cluster {
    /// A fresh one, running.
    pub(crate) async fn start(dice: &mut Dice) -> Result<Self, ProofError> {
        let missing = || ProofError::Rig("not attacked: PostgreSQL's server programs are not installed".to_owned());
        let programs = output("sh", &["-c", FIND]).await.ok_or_else(missing)?.into();
        let is_root = output("id", &["-u"]).await.as_deref() == Some("0");
        let user = if is_root { Some(unprivileged().await?) } else { None };
        // As root a private TMPDIR would be closed to the server's user.
        let parent = if is_root { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("countersign-proof-cluster").tempdir_in(parent)?;
        let password = format!("{:016x}", dice.next());
        let mut cluster = Self { folder, programs, user, port: free_port()?, password, server: None };
        cluster.give(cluster.folder.path())?;
        let file = cluster.folder.path().join("password");
        fs::write(&file, &cluster.password)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        cluster.give(&file)?;
        let mut command = cluster.command(&cluster.programs.join("initdb"));
        command.args(["--pgdata=data", "--username=superuser", "--pwfile=password", "--auth=scram-sha-256"]);
        // `--no-sync` concerns the files of the empty cluster only, not how it later commits.
        let output = command.args(["--encoding=UTF8", "--locale=C", "--no-sync"]).output().await?;
        if !output.status.success() {
            return Err(ProofError::Rig(format!("initdb failed: {}", super::lossy(&output.stderr))));
        }
        cluster.start_again().await?;
        Ok(cluster)
    }

    /// The superuser's URL of the database `postgres`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://superuser:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// Ends the server in the middle of everything; returns when it is gone.
    pub(crate) async fn die(&mut self, death: Death) -> Result<(), ProofError> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        match death {
            Death::Kill => signal(self.postmaster()?, "KILL").await?,
            Death::Whole => {
                let (first, children) = self.halted().await?;
                // One that has just ended is no loss.
                let _ended = signal_each(&children, "KILL").await;
                signal(first, "KILL").await?;
            }
            Death::Immediate => {}
        }
        drop(server.stdin.take());
        tokio::time::timeout(super::PATIENCE, server.wait())
            .await
            .map_err(|_| ProofError::Rig("PostgreSQL did not end".to_owned()))??;
        Ok(())
    }

    /// Starts it where it was, and waits until it answers: it has recovered then.
    pub(crate) async fn start_again(&mut self) -> Result<(), ProofError> {
        let options = format!("{}?sslmode=disable", self.url());
        let options = PgConnectOptions::from_str(&options).map_err(|_| ProofError::Rig("no URL".to_owned()))?;
        let options = options.disable_statement_logging();
        let file = self.folder.path().join("data/postmaster.pid");
        let mut spawned: Option<Stopwatch> = None;
        until("PostgreSQL answers", async || {
            // One whose first process was killed refuses to start until its last session has noticed.
            let may_be_refused = spawned.is_none_or(|spawned| spawned.elapsed() > REFUSED && is_gone(&file));
            if may_be_refused {
                self.server = None;
                self.server = Some(self.spawn()?);
                spawned = Some(Stopwatch::start());
            }
            Ok(options.connect().await.is_ok())
        })
        .await
    }

    /// Stops all its processes, without their knowing.
    pub(crate) async fn halt(&self) -> Result<(), ProofError> {
        let (_, children) = self.halted().await?;
        // One that has just ended is no loss.
        let _ended = signal_each(&children, "STOP").await;
        Ok(())
    }

    /// Lets them all go on.
    pub(crate) async fn go_on(&self) -> Result<(), ProofError> {
        let first = self.postmaster()?;
        signal(first, "CONT").await?;
        let _ended = signal_each(&children(first)?, "CONT").await;
        Ok(())
    }

    /// Its first process, which is stopped now so that there are no new ones, and the others.
    async fn halted(&self) -> Result<(u32, Vec<u32>), ProofError> {
        let first = self.postmaster()?;
        signal(first, "STOP").await?;
        Ok((first, children(first)?))
    }

    fn spawn(&self) -> Result<Child, ProofError> {
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", RUN, "sh"]).arg(self.programs.join("postgres")).args(["-D", "data"]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("port={}", self.port)]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.spawn()?)
    }

    fn postmaster(&self) -> Result<u32, ProofError> {
        let file = fs::read_to_string(self.folder.path().join("data/postmaster.pid"))?;
        let first = file.lines().next().and_then(|line| line.trim().parse().ok());
        first.ok_or_else(|| ProofError::Rig("PostgreSQL does not say its process".to_owned()))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = std::process::Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.into()
    }

    /// Makes it the server's.
    fn give(&self, path: &Path) -> Result<(), ProofError> {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group))?;
        }
        Ok(())
    }
}

fn children(process: u32) -> Result<Vec<u32>, ProofError> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    Ok(children.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}

/// Whether the process that this file names is not there any more, or was never.
fn is_gone(file: &Path) -> bool {
    let process = fs::read_to_string(file).unwrap_or_default();
    let process = process.lines().next().unwrap_or_default().trim();
    process.is_empty() || !Path::new("/proc").join(process).exists()
}

/// The first line that a program prints, if it succeeds.
async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().await.ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    if output.status.success() { said.lines().next().map(str::to_owned) } else { None }
}

async fn unprivileged() -> Result<(u32, u32), ProofError> {
    for name in ["postgres", "nobody"] {
        let (user, group) = (output("id", &["-u", name]).await, output("id", &["-g", name]).await);
        let number = |id: Option<String>| id?.parse().ok();
        if let (Some(user), Some(group)) = (number(user), number(group)) {
            return Ok((user, group));
        }
    }
    Err(ProofError::Rig("not attacked: PostgreSQL does not run as root, and there is nobody else".to_owned()))
}
