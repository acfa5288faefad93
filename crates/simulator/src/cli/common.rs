//! What the stand-ins' programs share: options, files, the settings that they print, and the end.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use countersign_simulator::stand_in::{Behaviour, Certificates, Common, Handle, Provider};
use serde_json::{Map, Value, json};

use super::{CliError, Interruption, say};

/// Options of every stand-in.
#[derive(Debug, Args)]
pub(super) struct CommonArgs {
    /// The address it listens on. Nobody guards it: another one than this is for a network of containers of their own.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    listen: IpAddr,
    /// The name under which others reach it; the address if absent. With --certificate-file it must be one of its names.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// A certificate, its authority's and the private key in one PEM file, as `trial` makes it; made anew if absent.
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,
    /// Its port; 0: any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Its control port, plain HTTP; 0: any free one.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Where its keys and certificates are written; a directory that vanishes with it if absent.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How it misbehaves: JSON, {"TOKEN": [{"do": "status", "code": 503}, …], …}; the token * is every one.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// How many requests it remembers; 0: it only counts them.
    #[arg(long, default_value_t = 10_000)]
    history: usize,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    #[arg(long, default_value_t = 1_000)]
    max_concurrent_streams: u32,
    /// Refuse tokens that were not registered at the control port.
    #[arg(long)]
    known_tokens_only: bool,
}

/// Where its files are.
pub(super) enum Place {
    Kept(PathBuf),
    Vanishing(tempfile::TempDir),
}

/// What a developer needs to know.
pub(super) struct Introduction {
    /// `apns`, `fcm` or `webpush`.
    pub(super) provider: &'static str,
    /// Paths and ids, for `--json`.
    pub(super) members: Value,
    /// For the server's configuration file.
    pub(super) settings: String,
}

impl CommonArgs {
    /// As the library wants it.
    pub(super) fn options(&self) -> Result<Common, CliError> {
        let Self { listen, port, control_port, history, max_concurrent_streams, known_tokens_only, .. } = *self;
        let read = |path: &PathBuf| {
            let certificates = fs::read_to_string(path).and_then(|bundle| Certificates::from_bundle(&bundle));
            certificates.map_err(|error| CliError::Usage(format!("the certificate {}: {error}", path.display())))
        };
        Ok(Common {
            listen,
            host: self.host.clone(),
            certificates: self.certificate_file.as_ref().map(read).transpose()?,
            port,
            control_port,
            history,
            max_concurrent_streams,
            known_tokens_only,
            ..Common::default()
        })
    }

    pub(super) fn place(&self) -> io::Result<Place> {
        match &self.dir {
            Some(directory) => Place::kept(directory),
            None => tempfile::Builder::new().prefix("countersign-simulator-").tempdir().map(Place::Vanishing),
        }
    }

    fn script(&self) -> Result<HashMap<String, Vec<Behaviour>>, CliError> {
        let Some(path) = &self.script else { return Ok(HashMap::new()) };
        let text = fs::read_to_string(path)
            .map_err(|error| CliError::Usage(format!("the script {}: {error}", path.display())))?;
        serde_json::from_str(&text).map_err(|error| CliError::Usage(format!("the script {}: {error}", path.display())))
    }
}

impl Place {
    /// A directory that stays, made if it is missing.
    pub(super) fn kept(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self::Kept(directory.to_owned()))
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Vanishing(directory) => directory.path(),
        }
    }

    /// Writes a file that only its owner can read; its absolute path.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<String> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // Private from its first byte, though the keys in it are worth nothing elsewhere.
            builder.permissions(fs::Permissions::from_mode(0o600));
        }
        let mut file = builder.tempfile_in(self.path())?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        let path = self.path().join(name);
        file.persist(&path).map_err(|error| error.error)?;
        Ok(fs::canonicalize(path)?.display().to_string())
    }
}

/// Scripts the stand-in, introduces it, and waits for the end.
pub(super) async fn run<P: Provider>(
    handle: Handle<P>,
    arguments: &CommonArgs,
    place: &Place,
    introduction: Introduction,
    json: bool,
) -> Result<(), CliError> {
    let interruption = Interruption::listen()?;
    for (token, behaviours) in arguments.script()? {
        match token.as_str() {
            "*" => handle.always(behaviours.into_iter().next()),
            token => handle.script(token, behaviours),
        }
    }
    let ca_file = handle.ca_pem().map(|pem| place.write("ca.pem", pem)).transpose()?;
    let Introduction { provider, members, settings } = introduction;
    // Addresses that devices or organisations name: what the providers' authority is must be said of them apart.
    let apart = ["[push.webpush]\n", "[webhooks]\n"].into_iter().find(|table| settings.starts_with(table));
    let settings = match (&ca_file, apart) {
        (Some(ca_file), Some(table)) => {
            settings.replacen(table, &format!("{table}extra_ca_file = {}\n", quoted(ca_file)), 1)
        }
        (Some(ca_file), None) => format!("[push]\nextra_ca_file = {}\n\n{settings}", quoted(ca_file)),
        (None, _) => settings,
    };
    let (base_url, control_url) = (handle.base_url(), handle.control_url());
    if json {
        let mut object = Map::new();
        object.extend(members.as_object().cloned().unwrap_or_default());
        let common = json!({
            "provider": provider, "base_url": base_url, "control_url": control_url, "ca_file": ca_file,
            "settings": settings,
        });
        object.extend(common.as_object().cloned().unwrap_or_default());
        say(&Value::Object(object).to_string())?;
    } else {
        say(&format!(
            "A stand-in for {provider} listens at {base_url}, its control port is {control_url}.\n\
             For the server's configuration file:\n\n{settings}\n\
             For a phone:\n\n\
             countersign-simulator phone --enroll URI --push {provider} --provider {control_url}\n\n\
             Interrupt it to end it."
        ))?;
    }
    interruption.comes().await;
    handle.stop().await;
    Ok(())
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    // JSON's escapes are a subset of those of TOML's basic strings.
    Value::String(text.to_owned()).to_string()
}

/// Text of somebody else's, safe on a terminal: nothing in it can move the cursor or hide a word.
pub(super) fn plain(text: &str) -> String {
    let is_hidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(character, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().map(|character| if is_hidden(character) { '\u{fffd}' } else { character }).collect()
}
