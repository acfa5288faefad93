//! `countersign health`: whether the server of these settings, on this machine, is ready for traffic. For the health
//! check of a container without a shell, and for init systems that wait for a start.
//!
//! Asks `/readyz` at `server.listen`, as a proxy would. It never opens the database or the key file: it would then judge
//! itself. To ask more of a server: `check_ready` behind that path.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Args;
use reqwest::Client;
use serde_json::json;

use super::{CliError, Context, say};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Settings,
};

/// A server that takes longer is none that should get traffic.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Between two questions.
const PAUSE_MILLIS: i64 = 100;

/// How patient.
#[derive(Debug, Clone, Copy, Args)]
pub struct HealthArgs {
    /// Ask again for so long while it is not ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=600))]
    wait_seconds: u16,
}

/// Asks, and says the answer in one line.
///
/// # Errors
/// It is not ready: exit code 1.
pub async fn run(context: &Context, arguments: HealthArgs) -> Result<ExitCode, CliError> {
    let url = address(&context.settings);
    // Nothing secret is sent, and this machine's own listener may show a certificate for its public name.
    let client = Client::builder().no_proxy().tls_certs_only([]).tls_danger_accept_invalid_certs(true).timeout(TIMEOUT);
    let client = client.build().map_err(|error| CliError::Failed(format!("not ready: {error}")))?;
    let gives_up_at = SystemClock.now().plus_seconds(i64::from(arguments.wait_seconds));
    loop {
        let why = match client.get(&url).send().await {
            Ok(reply) if reply.status() == 200 => {
                say(context, &json!({"ready": true, "url": url}), "ready");
                return Ok(ExitCode::SUCCESS);
            }
            Ok(reply) => format!("{url} answers {}", reply.status().as_u16()),
            Err(error) if error.is_timeout() => format!("{url} does not answer within {} s", TIMEOUT.as_secs()),
            Err(_) => format!("nothing answers at {url}"),
        };
        if SystemClock.now() >= gives_up_at {
            return Err(CliError::Failed(format!("not ready: {why}")));
        }
        SystemClock.sleep_until(SystemClock.now().plus_millis(PAUSE_MILLIS)).await;
    }
}

/// The listener as this machine reaches it.
fn address(settings: &Settings) -> String {
    let mut address: SocketAddr = settings.server.listen;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    let scheme = if settings.has_tls() { "https" } else { "http" };
    format!("{scheme}://{address}/readyz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_loopback() {
        let mut settings = Settings::defaults().unwrap();
        for (listen, asked) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/readyz"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080/readyz"),
            ("[::]:8443", "http://[::1]:8443/readyz"),
            ("192.0.2.1:80", "http://192.0.2.1:80/readyz"),
        ] {
            settings.server.listen = listen.parse().unwrap();
            assert_eq!(address(&settings), asked);
        }
        settings.server.tls.certificate_file = "/certificate.pem".into();
        assert!(address(&settings).starts_with("https://"));
    }
}
