//! The real program as child processes: `countersign` with a database, files and ports of this test's own.
//!
//! Every wait has an end, every child dies with the value that holds it, and nothing but its own children is ever
//! signalled. To add a story about processes: start from [`Program::on`].
#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    clock::{Clock as _, SystemClock},
    entropy::SystemEntropy,
    signing::ServerKeys,
};
pub(crate) use countersign_tests::free_port;
use countersign_tests::{ApiClient, Database, Db, providers::Providers, text};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

/// No step of a process lasts longer than this, however loaded the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings, database and files of one program.
pub(crate) struct Program {
    /// The database; its folder holds all files.
    pub(crate) database: Database,
    settings: BTreeMap<String, String>,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it said.
    pub(crate) stdout: String,
    /// What it logged.
    pub(crate) stderr: String,
    /// How long it lived.
    pub(crate) millis: u64,
}

impl Program {
    /// A program with a fresh database, ports that the system chooses, and a key file.
    pub(crate) async fn on(db: Db) -> Self {
        Self::with(Database::create(db).await)
    }

    /// The same with this database, which is empty.
    pub(crate) fn with(database: Database) -> Self {
        let keys = database.file("signing-keys.json");
        ServerKeys::open(&keys, true, "http://unused", SystemClock.now(), &SystemEntropy::default()).unwrap();
        let program = Self { settings: BTreeMap::new(), database };
        let (url, keys) = (program.database.url(), keys.to_str().unwrap().to_owned());
        program
            .set("server.listen", "127.0.0.1:0")
            .set("metrics.listen", "127.0.0.1:0")
            // Most stories have no balancer that would have to notice.
            .set("server.drain_seconds", "0")
            .set("database.url", &url)
            .set("signing.key_file", &keys)
    }

    /// The same with this setting.
    pub(crate) fn set(mut self, setting: &str, value: &str) -> Self {
        let name = format!("COUNTERSIGN__{}", setting.to_uppercase().replace('.', "__"));
        self.settings.insert(name, value.to_owned());
        self
    }

    /// The same, ringing phones at these stand-ins.
    pub(crate) fn ringing(self, providers: &Providers) -> Self {
        providers.settings().iter().fold(self, |program, (setting, value)| program.set(setting, value))
    }

    /// A program to be started: its settings are all the environment that it has.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-under-test"));
        command.args(arguments).env_clear().envs(&self.settings);
        // Whoever sets this wants to see backtraces; a refusal must be one line all the same.
        command.env("RUST_BACKTRACE", "1").current_dir(self.database.file("."));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Finished {
        run(self.command(arguments)).await
    }

    /// Runs a command that must succeed with exactly one JSON object on stdout.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
        finished.object()
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn serve(&self) -> ServerProcess {
        serve(self.command(&["serve"])).await
    }

    /// The same with further arguments.
    pub(crate) async fn serve_with(&self, arguments: &[&str]) -> ServerProcess {
        serve(self.command(&[&["serve"], arguments].concat())).await
    }

    /// The same on this port: one of several nodes.
    pub(crate) async fn serve_at(&self, port: u16) -> ServerProcess {
        let mut command = self.command(&["serve"]);
        command.env("COUNTERSIGN__SERVER__LISTEN", format!("127.0.0.1:{port}"));
        serve(command).await
    }

    /// Makes an API client by the command line.
    pub(crate) async fn client(&self, server: &ServerProcess, scopes: &str) -> ApiClient {
        let made = self.json(&["api-client", "create", "--name", "test", "--scopes", scopes]).await;
        ApiClient::connect(&server.issuer, text(&made, "client_id"), text(&made, "api_key")).await
    }
}

/// Starts a server and waits until it is ready.
async fn serve(mut command: Command) -> ServerProcess {
    let began_at = SystemClock.now();
    let mut child = command.spawn().unwrap();
    let (ready, mut readiness) = watch::channel(None);
    let logs = Arc::new(Mutex::new(String::new()));
    let stderr = child.stderr.take().unwrap();
    let log_reader = tokio::spawn(read_logs(stderr, Arc::clone(&logs), ready));
    let stdout = read_all(child.stdout.take().unwrap());
    let line: Option<Option<Value>> =
        tokio::time::timeout(PATIENCE, readiness.wait_for(Option::is_some)).await.ok().map(|ready| {
            // The reader is gone: so is the server.
            ready.ok().and_then(|line| line.clone())
        });
    let Some(Some(line)) = line else { panic!("the server did not get ready: {}", logs.lock().unwrap()) };
    let ready_after_millis = SystemClock.now().millis_since(began_at);
    let metrics = line["metrics"].as_str().map(|address| format!("http://{address}/metrics"));
    ServerProcess {
        issuer: text(&line, "issuer").to_owned(),
        address: text(&line, "address").to_owned(),
        metrics,
        ready_after_millis,
        child,
        logs,
        log_reader,
        stdout,
    }
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Finished {
    let began_at = SystemClock.now();
    let child = command.spawn().unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (utf8(output.stdout), utf8(output.stderr));
    Finished { code: output.status.code(), stdout, stderr, millis: SystemClock.now().millis_since(began_at) }
}

impl Finished {
    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn object(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert!(value.is_object(), "{self:?}");
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        value
    }
}

/// A server that runs. Dropping it kills it.
pub(crate) struct ServerProcess {
    /// Its public URL.
    pub(crate) issuer: String,
    address: String,
    /// Where its metrics are.
    pub(crate) metrics: Option<String>,
    /// From the start of the process to its `ready`.
    pub(crate) ready_after_millis: u64,
    child: Child,
    logs: Arc<Mutex<String>>,
    log_reader: JoinHandle<()>,
    stdout: JoinHandle<String>,
}

impl ServerProcess {
    /// Everything that it has logged so far.
    pub(crate) fn logs(&self) -> String {
        self.logs.lock().unwrap().clone()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// The metrics' text.
    pub(crate) async fn metrics(&self) -> String {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        client.get(self.metrics.as_ref().unwrap()).send().await.unwrap().text().await.unwrap()
    }

    /// Waits until so many reads are held, as the metrics tell.
    pub(crate) async fn until_held(&self, reads: u32) {
        self.until_metric(&format!("countersign_held_reads {reads}")).await;
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn until_metric(&self, line: &str) {
        let wait = async {
            while !self.metrics().await.lines().any(|metric| metric == line) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it becomes so");
    }

    /// SIGKILL: the process has no chance to do anything about it.
    pub(crate) fn kill_9(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// SIGTERM.
    pub(crate) async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// SIGHUP: it reads its files again.
    pub(crate) async fn reload(&self) {
        self.signal("HUP").await;
    }

    /// Waits until its public keys have this one.
    pub(crate) async fn until_published(&self, kid: &str) {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let url = format!("{}/.well-known/jwks.json", self.issuer);
        let wait = async {
            while !client.get(&url).send().await.unwrap().text().await.unwrap().contains(kid) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it is published");
    }

    /// SIGINT, as by a person at a terminal.
    pub(crate) async fn interrupt(&self) {
        self.signal("INT").await;
    }

    async fn signal(&self, name: &str) {
        // Not yet waited for, so the id is still this child's.
        let id = self.child.id().expect("it has not been waited for");
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) async fn finish(mut self) -> Finished {
        let began_at = SystemClock.now();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        let millis = SystemClock.now().millis_since(began_at);
        self.log_reader.await.unwrap();
        let (stdout, stderr) = (self.stdout.await.unwrap(), self.logs.lock().unwrap().clone());
        Finished { code: status.code(), stdout, stderr, millis }
    }

    /// SIGTERM, then the end, which must be a good one.
    pub(crate) async fn stop(self) -> Finished {
        self.terminate().await;
        let finished = self.finish().await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        finished
    }
}

async fn read_logs(stderr: impl AsyncRead + Unpin, logs: Arc<Mutex<String>>, ready: watch::Sender<Option<Value>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        logs.lock().unwrap().push_str(&format!("{line}\n"));
        let record: Option<Value> = serde_json::from_str(&line).ok();
        if let Some(record) = record.filter(|record| record["message"] == "ready") {
            ready.send_replace(Some(record));
        }
    }
}

fn read_all(mut stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    })
}
