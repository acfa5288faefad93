//! A PostgreSQL cluster of one test's own, to be restarted, or to speak TLS.
//!
//! It lives in a temporary folder, listens on 127.0.0.1 only and runs as an unprivileged user, durable as by default.
//! It ends with the test however the test ends: a shell waits for the end of its standard input, which is the test's.
//! Must never touch the cluster that all tests share. To add a setting of the server: a field, and its `-c` in
//! `start_again`.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr as _,
    time::Duration,
};

use countersign::entropy::SystemEntropy;
use countersign_core::entropy::Entropy as _;
use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

use crate::free_port;

/// Where distributions keep the server's programs: off the PATH, mostly.
const FIND: &str = "for folder in \"$(pg_config --bindir 2>/dev/null)\" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
    /usr/libexec/postgresql* /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
    \"$(dirname \"$(command -v initdb)\")\"; do \
    if [ -x \"$folder/initdb\" ] && [ -x \"$folder/postgres\" ]; then echo \"$folder\"; exit; fi; done; exit 1";
/// SIGQUIT is the immediate shutdown: sessions are cut in the middle of what they do, and nothing is tidied up.
const RUN: &str = "\"$@\" >>server.log 2>&1 & cat >/dev/null; kill -QUIT $!; wait $!";
const PATIENCE: Duration = Duration::from_secs(60);

/// A program of PostgreSQL's, as one calls it.
pub fn postgres_program(name: &str) -> PathBuf {
    let folder = output("sh", &["-c", FIND]).expect("PostgreSQL's server programs are installed");
    let beside = Path::new(&folder).join(name);
    // Some distributions have the clients on the PATH only.
    if beside.exists() { beside } else { name.into() }
}

/// What the cluster shows to those who ask for TLS.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
}

/// A cluster with its one server, which may be stopped.
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    /// PostgreSQL refuses to run as root: then, as whom.
    user: Option<(u32, u32)>,
    port: u16,
    password: String,
    has_tls: bool,
    server: Option<Child>,
}

impl Cluster {
    /// A fresh one, running.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same, speaking TLS to those who ask for it.
    pub async fn start_with(certificate: Option<Certificate>) -> Self {
        let programs = output("sh", &["-c", FIND]).expect("PostgreSQL's server programs are installed");
        let user = (output("id", &["-u"]).as_deref() == Some("0")).then(unprivileged);
        // As root a private TMPDIR would be closed to the server's user.
        let parent = if user.is_some() { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("countersign-cluster-").tempdir_in(parent).unwrap();
        let mut random = [0; 16];
        SystemEntropy::default().fill(&mut random);
        let password = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let programs = programs.into();
        let has_tls = certificate.is_some();
        let mut cluster = Self { folder, programs, user, port: 0, password, has_tls, server: None };
        cluster.give(cluster.folder.path());
        cluster.write("password", &cluster.password);
        if let Some(Certificate { certificate, key }) = certificate {
            cluster.write("server.crt", &certificate);
            cluster.write("server.key", &key);
        }
        cluster.initialise();
        cluster.start_again().await;
        cluster
    }

    /// The superuser's URL of the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://superuser:{}@127.0.0.1:{}/postgres", self.password, self.port)
    }

    /// The same at another name of this machine, with these parameters.
    pub fn url_at(&self, host: &str, parameters: &str) -> String {
        format!("postgres://superuser:{}@{host}:{}/postgres?{parameters}", self.password, self.port)
    }

    /// A connection of its superuser, for what tests do behind the server's back.
    pub async fn connection(&self) -> PgConnection {
        self.try_connection().await.expect("the cluster answers")
    }

    /// Stops the server in the middle of everything (`pg_ctl stop --mode=immediate`).
    pub fn stop_immediately(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            server.wait().unwrap();
        }
    }

    /// Starts it where it was, and waits until it answers: it has recovered then.
    pub async fn start_again(&mut self) {
        // Between the choice and the start somebody else may take the port.
        for _ in 0..10 {
            let port = if self.port == 0 { free_port() } else { self.port };
            self.spawn(port);
            if self.answers(port).await {
                self.port = port;
                return;
            }
            self.stop_immediately();
        }
        panic!("PostgreSQL does not start: {}", fs::read_to_string(self.folder.path().join("server.log")).unwrap());
    }

    fn spawn(&mut self, port: u16) {
        let mut command = self.command("sh");
        command.args(["-c", RUN, "sh"]).arg(self.programs.join("postgres")).args(["-D", "data"]);
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "unix_socket_directories=".to_owned(),
            // Two tests with a cluster each may run beside the shared one.
            "shared_buffers=16MB".to_owned(),
        ];
        if self.has_tls {
            let file = |name: &str| self.folder.path().join(name).display().to_string();
            settings.push("ssl=on".to_owned());
            settings.push(format!("ssl_cert_file={}", file("server.crt")));
            settings.push(format!("ssl_key_file={}", file("server.key")));
        }
        for setting in settings {
            command.args(["-c", &setting]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
    }

    /// Waits for the first answer, or until it cannot come any more.
    async fn answers(&self, port: u16) -> bool {
        let wait = async {
            loop {
                let pid = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
                let is_ours = pid.lines().nth(3) == Some(port.to_string().as_str());
                if is_ours && self.options(port).connect().await.is_ok() {
                    return true;
                }
                let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
                if log.contains("could not bind") {
                    return false;
                }
                pause().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or(false)
    }

    async fn try_connection(&self) -> Result<PgConnection, sqlx::Error> {
        self.options(self.port).connect().await
    }

    fn options(&self, port: u16) -> PgConnectOptions {
        let url = format!("postgres://superuser:{}@127.0.0.1:{port}/postgres?sslmode=disable", self.password);
        PgConnectOptions::from_str(&url).unwrap().disable_statement_logging()
    }

    fn initialise(&self) {
        let mut command = self.command(self.programs.join("initdb"));
        // `--no-sync` concerns only the files of the empty cluster, not how it later commits.
        command.args(["--pgdata=data", "--username=superuser", "--pwfile=password", "--auth=scram-sha-256"]);
        command.args(["--encoding=UTF8", "--locale=C", "--no-sync"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
    }

    /// Makes it the server's.
    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_immediately();
    }
}

/// The first line that a program prints, if it succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned())
}

fn unprivileged() -> (u32, u32) {
    let id = |what: &str| {
        let id = output("id", &[what, "postgres"]).or_else(|| output("id", &[what, "nobody"]));
        id.and_then(|id| id.parse().ok()).expect("a user that is not root")
    };
    (id("-u"), id("-g"))
}

async fn pause() {
    tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
}
