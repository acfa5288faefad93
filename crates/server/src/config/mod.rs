//! Settings: the embedded defaults, then the file, then the environment.
//!
//! Each setting exists once, in `default.toml` with its comment, and once as a typed field here. Secrets come
//! from files or the environment and print as `[redacted]`. Nothing else in the program reads the environment.
//! To add a setting: a line in `default.toml`, a field here; `docs/configuration.md` is checked against both.

mod audit;
mod password;
mod push;
mod retention;
mod webhooks;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format as _, Toml},
};
use serde::Deserialize;

pub use self::{
    audit::Audit,
    push::{Apns, Fcm, Push, WebPush},
    retention::Retention,
    webhooks::Webhooks,
};

/// The embedded, commented defaults.
pub const DEFAULTS: &str = include_str!("default.toml");

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The API's listener.
    pub server: Server,
    /// The metrics' listener.
    pub metrics: Metrics,
    /// Logs.
    pub log: Log,
    /// The database.
    pub database: Database,
    /// The server's own keys.
    pub signing: Signing,
    /// Push providers.
    pub push: Push,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// The audit.
    pub audit: Audit,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// The file that these were read from, to read it again.
    #[serde(skip)]
    source: Option<PathBuf>,
}

/// The API's listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// The issuer; empty: from `listen`.
    pub public_url: String,
    /// Whether a proxy ends TLS.
    pub tls_terminated_upstream: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// Connections open at once.
    pub max_connections: usize,
    /// Reads held at once.
    pub max_held_reads: usize,
    /// Requests worked on at once, sleeping held reads apart.
    pub max_requests_at_once: usize,
    /// How long a node that is asked to leave goes on serving; 0: not at all.
    pub drain_seconds: u64,
    /// How long a stop waits.
    pub shutdown_seconds: u64,
    /// TLS of our own.
    pub tls: Tls,
}

/// TLS of our own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM; empty: none.
    pub certificate_file: PathBuf,
    /// PEM; empty: none.
    pub private_key_file: PathBuf,
}

/// The metrics' listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and port; empty: off.
    pub listen: String,
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Like `RUST_LOG`.
    pub filter: String,
    /// Their form.
    pub format: LogFormat,
}

/// The form of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// The database.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://PATH` or `postgres://…`. May hold a password.
    pub url: String,
    /// The password alone; empty: the URL has it. By now it is in the URL.
    pub password_file: PathBuf,
    /// Connections for reading.
    pub read_connections: u32,
    /// How long a request waits for the database, its turn included.
    pub max_wait_seconds: u64,
    /// MiB on the disk that are kept for revocations when it is full (SQLite); 0: none.
    pub reserve_mib: u64,
    /// Whether a start brings the schema up to date.
    pub migrate: bool,
    /// Whether `sslmode` may be weaker than `verify-full` beyond loopback.
    pub allow_unverified_tls: bool,
}

/// What is missing of the reserve is written at one go.
const MAX_RESERVE_MIB: u64 = 1024;

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("url", &"[redacted]")
            .field("read_connections", &self.read_connections)
            .field("max_wait_seconds", &self.max_wait_seconds)
            .field("reserve_mib", &self.reserve_mib)
            .field("migrate", &self.migrate)
            .field("allow_unverified_tls", &self.allow_unverified_tls)
            .finish()
    }
}

/// The server's own keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// Empty: beside the SQLite file.
    pub key_file: PathBuf,
}

/// Settings that cannot be used. Each message is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A setting is unknown, missing or of a wrong type.
    #[error("configuration: {0}")]
    Invalid(String),
}

fn invalid(message: impl Into<String>) -> ConfigError {
    // The name of a setting may be any text: one line stays one.
    let one_line = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    ConfigError::Invalid(message.into().chars().map(one_line).collect())
}

impl Settings {
    /// Reads defaults, file and environment, and checks them against each other.
    ///
    /// # Errors
    /// [`ConfigError`], in one line.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment = Env::prefixed("COUNTERSIGN__").split("__");
        Self::from_layers(file, environment)
    }

    /// The push settings as file and environment have them now; as they are, if there was no file.
    ///
    /// # Errors
    /// [`ConfigError`]: go on with the old ones.
    pub fn reload_push(&self) -> Result<Push, ConfigError> {
        match &self.source {
            Some(file) => Self::load(Some(file)).map(|settings| settings.push),
            None => Ok(self.push.clone()),
        }
    }

    /// The defaults alone.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::from_figment(&Figment::from(Toml::string(DEFAULTS)))
    }

    /// Defaults and the text of a file, and nothing of the environment.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn of_text(text: &str) -> Result<Self, ConfigError> {
        Self::from_figment(&Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(text)))
    }

    fn from_layers(file: Option<&Path>, environment: Env) -> Result<Self, ConfigError> {
        let mut layers = Figment::from(Toml::string(DEFAULTS));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
            layers = layers.merge(Toml::string(&text));
        }
        let mut settings = Self::from_figment(&layers.merge(environment))?;
        let database = &mut settings.database;
        if !database.password_file.as_os_str().is_empty() {
            database.url = password::insert(&database.url, &database.password_file)?;
        }
        Ok(Self { source: file.map(Path::to_owned), ..settings })
    }

    fn from_figment(layers: &Figment) -> Result<Self, ConfigError> {
        let settings: Self = layers.extract().map_err(|error| {
            // figment may hold several errors; their values are not repeated: one might be a password.
            let first = error.into_iter().next();
            invalid(first.map_or_else(String::new, |error| describe(&error)))
        })?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let is_sqlite = self.database.url.starts_with("sqlite://");
        if !is_sqlite
            && !self.database.url.starts_with("postgres://")
            && !self.database.url.starts_with("postgresql://")
        {
            return Err(invalid("database.url must begin with sqlite:// or postgres://"));
        }
        if self.database.reserve_mib > MAX_RESERVE_MIB {
            return Err(invalid(format!("database.reserve_mib must be {MAX_RESERVE_MIB} at most")));
        }
        if !is_sqlite && self.signing.key_file.as_os_str().is_empty() {
            return Err(invalid("signing.key_file must be set with PostgreSQL, and shared by all nodes"));
        }
        if self.server.tls.certificate_file.as_os_str().is_empty()
            != self.server.tls.private_key_file.as_os_str().is_empty()
        {
            return Err(invalid("server.tls needs both certificate_file and private_key_file, or neither"));
        }
        let is_plain = !self.has_tls() && !self.server.tls_terminated_upstream;
        if is_plain && !self.server.listen.ip().is_loopback() {
            return Err(invalid(format!(
                "server.listen is {}: plain HTTP beyond loopback is refused; set server.tls, or \
                 server.tls_terminated_upstream if a proxy ends TLS",
                self.server.listen
            )));
        }
        self.metrics_listen()?;
        self.push.check()?;
        self.retention.check()?;
        check_issuer(&self.issuer(), !is_plain)
    }

    /// Whether the server ends TLS itself.
    pub fn has_tls(&self) -> bool {
        !self.server.tls.certificate_file.as_os_str().is_empty()
    }

    /// The public URL: `iss` and `aud` of all signatures.
    pub fn issuer(&self) -> String {
        self.issuer_at(self.server.listen)
    }

    /// The public URL of a server that listens on `address` (which knows the port that 0 stood for).
    pub fn issuer_at(&self, address: SocketAddr) -> String {
        if self.server.public_url.is_empty() {
            let scheme = if self.has_tls() { "https" } else { "http" };
            format!("{scheme}://{address}")
        } else {
            self.server.public_url.clone()
        }
    }

    /// The metrics' address, if they are on.
    ///
    /// # Errors
    /// It is not an address.
    pub fn metrics_listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.metrics.listen.is_empty() {
            return Ok(None);
        }
        self.metrics
            .listen
            .parse()
            .map(Some)
            .map_err(|_| invalid("metrics.listen must be an address and port, or empty"))
    }

    /// The file of the server's private keys.
    pub fn key_file(&self) -> PathBuf {
        if !self.signing.key_file.as_os_str().is_empty() {
            return self.signing.key_file.clone();
        }
        let path = self.database.url.trim_start_matches("sqlite://");
        let path = path.split('?').next().unwrap_or(path);
        Path::new(path).with_file_name("signing-keys.json")
    }
}

/// One line without the offending value.
fn describe(error: &figment::Error) -> String {
    use figment::error::Kind;
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(name, _) if path.is_empty() => format!("unknown setting `{name}`"),
        Kind::UnknownField(name, _) => {
            format!("unknown setting `{path}.{name}`").replace(&format!("{name}.{name}"), name)
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("`{path}` must be {expected}"),
        Kind::MissingField(name) => format!("missing setting `{path}.{name}`"),
        Kind::UnknownVariant(_, allowed) => format!("`{path}` must be one of: {}", allowed.join(", ")),
        Kind::Message(message) if path.is_empty() => message.lines().next().unwrap_or_default().to_owned(),
        _ => format!("`{path}` is not valid"),
    }
}

/// Scheme, host, port; no path, no trailing slash, no user information.
fn check_issuer(issuer: &str, must_be_https: bool) -> Result<(), ConfigError> {
    let rest = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"));
    let shape = rest.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\\"".contains(&byte))
    });
    if !shape {
        return Err(invalid("server.public_url must be scheme, host and port only, without a trailing slash"));
    }
    if must_be_https && !issuer.starts_with("https://") {
        return Err(invalid("server.public_url must begin with https:// when TLS is on or ends upstream"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
