//! What an attack stands on: a folder, a database of its own, and servers that are children of this process.
//!
//! Every wait has an end, every child dies with the value that holds it, nothing but its own children is ever signalled,
//! and everything is on loopback. To add a fault that comes from outside: a method of [`Node`] or [`Database`].

mod cluster;
mod database;
mod node;
mod pair;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

pub(crate) use self::{
    cluster::{Cluster, Death},
    database::{Database, Db},
    node::{Node, signal},
    pair::{Pair, Replication},
};
use crate::{ProofError, system};

/// No step of a process lasts longer than this, however loaded the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What to attack.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RigArgs {
    /// The server's program; `countersign` beside this one if absent.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// A PostgreSQL in which this may create databases; attacks on PostgreSQL need it.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    postgres: Option<String>,
    /// Keep databases and logs in this folder, instead of removing them.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

impl RigArgs {
    /// The same with this PostgreSQL.
    pub(crate) fn at(&self, postgres: &str) -> Self {
        Self { postgres: Some(postgres.to_owned()), ..self.clone() }
    }
}

/// A deployment: its files, its database, its settings.
#[derive(Debug)]
pub(crate) struct Rig {
    program: PathBuf,
    folder: TempDir,
    keep: Option<PathBuf>,
    pub(crate) database: Database,
    settings: BTreeMap<String, String>,
    /// Where the first node listens; the issuer names it.
    pub(crate) port: u16,
}

impl Rig {
    /// A fresh one: nothing runs yet.
    pub(crate) async fn new(args: &RigArgs, db: Db) -> Result<Self, ProofError> {
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("countersign"));
        let program = match &args.server {
            Some(program) => program.clone(),
            None => beside()?,
        };
        if !program.is_file() {
            return Err(ProofError::Rig(format!("{} is not there: build the server first", program.display())));
        }
        let folder = tempfile::Builder::new().prefix("countersign-proof").tempdir()?;
        let database = Database::create(db, folder.path(), args.postgres.as_deref()).await?;
        let port = free_port()?;
        let url = database.url.clone();
        let rig = Self {
            program: program.canonicalize()?,
            folder,
            keep: args.keep.clone(),
            database,
            settings: BTreeMap::new(),
            port,
        };
        let rig = rig
            .set("database.url", &url)
            .set("server.public_url", &format!("http://127.0.0.1:{port}"))
            .set("server.listen", &format!("127.0.0.1:{port}"))
            .set("server.drain_seconds", "0")
            .set("metrics.listen", "127.0.0.1:0")
            .set("log.format", "json");
        let keys = rig.file("signing-keys.json").display().to_string();
        let rig = rig.set("signing.key_file", &keys);
        // As an operator of several nodes does (docs/configuration.md).
        rig.command(&["keys", "create"]).await?;
        Ok(rig)
    }

    /// The same with this setting.
    pub(crate) fn set(mut self, setting: &str, value: &str) -> Self {
        let name = format!("COUNTERSIGN__{}", setting.to_uppercase().replace('.', "__"));
        self.settings.insert(name, value.to_owned());
        self
    }

    /// The issuer.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A process to be started, whose whole environment are the settings.
    pub(crate) fn process(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&self.settings).current_dir(self.folder.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs one of the server's commands to its end; what it says as JSON.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Result<Value, ProofError> {
        let mut command = self.process(&self.program, &[&["--json"], arguments].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.map_err(|_| ProofError::Rig(format!("{arguments:?} did not end")))??;
        let failed = |why: &str| ProofError::Rig(format!("{arguments:?}: {why}: {}", lossy(&output.stderr)));
        if !output.status.success() {
            return Err(failed("failed"));
        }
        serde_json::from_slice(&output.stdout).map_err(|_| failed("said no JSON"))
    }

    /// The same, which may fail: its exit code and what it said.
    pub(crate) async fn try_command(&self, arguments: &[&str]) -> Result<(Option<i32>, String), ProofError> {
        let mut command = self.process(&self.program, arguments);
        let output =
            tokio::time::timeout(PATIENCE, command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()).await;
        let output = output.map_err(|_| ProofError::Rig(format!("{arguments:?} did not end")))??;
        Ok((output.status.code(), lossy(&output.stdout)))
    }

    /// Starts the first node, the one that the issuer names, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<Node, ProofError> {
        self.start_at(self.port).await
    }

    /// Starts a node on this port.
    pub(crate) async fn start_at(&self, port: u16) -> Result<Node, ProofError> {
        self.start_under(&[], port).await
    }

    /// The same, by a program with its arguments that then becomes the node, as `env` or `strace -D` do.
    pub(crate) async fn start_under(&self, starter: &[&str], port: u16) -> Result<Node, ProofError> {
        let program = self.program.display().to_string();
        let words = [starter, &[program.as_str(), "serve"]].concat();
        let (first, arguments) = words.split_first().map_or(("", words.as_slice()), |(first, rest)| (*first, rest));
        let mut command = self.process(Path::new(first), arguments);
        command.env("COUNTERSIGN__SERVER__LISTEN", format!("127.0.0.1:{port}"));
        Node::start(command, port, &self.log(port)).await
    }

    fn log(&self, port: u16) -> PathBuf {
        self.file(&format!("node-{port}.log"))
    }

    /// An API key of this organisation (`None`: the first one), made by the command line.
    pub(crate) async fn api_key(&self, scopes: &str, tenant: Option<&str>) -> Result<String, ProofError> {
        let of = tenant.map_or_else(Vec::new, |tenant| vec!["--tenant", tenant]);
        let fixed = ["api-client", "create", "--name", "proof", "--scopes", scopes];
        let made = self.command(&[&fixed[..], &of].concat()).await?;
        let key = made.get("api_key").and_then(Value::as_str);
        key.map(str::to_owned).ok_or_else(|| ProofError::Rig("no API key was made".to_owned()))
    }

    /// Lines of all logs that tell of a panic.
    pub(crate) fn panics(&self) -> Result<Vec<String>, ProofError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = lossy(&fs::read(&path)?);
                found.extend(log.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
            }
        }
        Ok(found)
    }

    /// Removes all, or keeps it where that was asked for; drops the database.
    pub(crate) async fn finish(self) -> Result<(), ProofError> {
        self.database.drop().await?;
        if let Some(keep) = self.keep {
            fs::create_dir_all(&keep)?;
            // Only files of our own making lie flat in it.
            for entry in fs::read_dir(self.folder.path())? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::copy(entry.path(), keep.join(entry.file_name()))?;
                }
            }
        }
        Ok(())
    }
}

/// A port that nobody listens on. Another program may take it before the server does: then the start fails, and says so.
pub(crate) fn free_port() -> Result<u16, ProofError> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks until it is so, or [`PATIENCE`] ends.
pub(crate) async fn until(
    what: &str,
    mut is_so: impl AsyncFnMut() -> Result<bool, ProofError>,
) -> Result<(), ProofError> {
    let waited = system::Stopwatch::start();
    while !is_so().await? {
        if waited.elapsed() > PATIENCE {
            return Err(ProofError::Rig(format!("{what}: not within {PATIENCE:?}")));
        }
        system::pause(Duration::from_millis(5)).await;
    }
    Ok(())
}
