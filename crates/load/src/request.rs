//! `countersign-load request`: the very request that the APNs sender sends, for another client to repeat.
//!
//! A comparison is worth nothing if the other client sends something else. So nothing is put together here: the sender
//! sends one challenge to a listener of this process, which writes down what came. The provider token in it is as good
//! at the stand-in as the sender's own, because it is the same one.
//!
//! Prints the URL at the stand-in, then a line for each header; writes the payload to a file. What it prints is worth
//! something at the stand-in only, whose key was made as it started.

use std::{fs, io, net::Ipv4Addr, path::PathBuf};

use countersign_simulator::stand_in::Certificates;
use h2::RecvStream;
use http::Request;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{LoadError, say, stand_in::Description};

/// Whose request, and where to put it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `countersign-simulator apns --json` has printed.
    #[arg(long, value_name = "FILE")]
    stand_in: PathBuf,
    /// Where to write the payload.
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
}

/// What the sender has sent.
#[derive(Debug)]
struct Caught {
    path: String,
    /// In the order in which they came, without what every client makes by itself.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) async fn run(arguments: Args, json: bool) -> Result<(), LoadError> {
    let stand_in = Description::read(&arguments.stand_in)?;
    let Caught { path, headers, body } = catch(&stand_in).await?;
    fs::write(&arguments.body, &body)?;
    let url = format!("{}{path}", stand_in.base_url());
    if json {
        let headers: Map<String, Value> = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
        say(&json!({"url": url, "headers": headers, "body_bytes": body.len()}).to_string())?;
    } else {
        let lines: Vec<String> = headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        say(&format!("{url}\n{}", lines.join("\n")))?;
    }
    Ok(())
}

/// Lets the sender send to us, and lets go of it when we have its request.
async fn catch(stand_in: &Description) -> Result<Caught, LoadError> {
    let certificates = Certificates::generate()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let base_url = format!("https://{}", listener.local_addr()?);
    let senders = stand_in.senders_to(&base_url, certificates.ca_pem().as_bytes().to_vec())?;
    let no_request = |what: &str| LoadError::Failed(format!("the sender sent nothing: {what}"));
    let notification = stand_in.notifications(1)?.challenge(0).ok_or_else(|| no_request("no device"))?;
    // The sender bounds its own time, and with it ours.
    tokio::select! {
        caught = listen(listener, &certificates) => Ok(caught?),
        report = senders.send(&notification) => {
            Err(no_request(&report.outcome.reason().map_or_else(|| "accepted".to_owned(), |reason| reason.to_string())))
        }
    }
}

async fn listen(listener: TcpListener, certificates: &Certificates) -> io::Result<Caught> {
    let (tcp, _) = listener.accept().await?;
    let tls = TlsAcceptor::from(certificates.server_config(&["h2"])?).accept(tcp).await?;
    let mut connection = h2::server::handshake(tls).await.map_err(io::Error::other)?;
    let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (request, _respond) = connection.accept().await.ok_or_else(closed)?.map_err(io::Error::other)?;
    // The body comes only while somebody drives the connection.
    tokio::select! {
        caught = write_down(request) => caught,
        _ = connection.accept() => Err(closed()),
    }
}

async fn write_down(request: Request<RecvStream>) -> io::Result<Caught> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        body.extend_from_slice(&chunk.map_err(io::Error::other)?);
    }
    let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).map_err(io::Error::other);
    let is_of_any_client = |name: &str| matches!(name, "content-length" | "user-agent");
    let headers = head.headers.iter().filter(|(name, _)| !is_of_any_client(name.as_str()));
    let headers = headers.map(|(name, value)| Ok((name.to_string(), text(value)?))).collect::<io::Result<_>>()?;
    Ok(Caught { path: head.uri.path().to_owned(), headers, body })
}

#[cfg(test)]
mod tests;
