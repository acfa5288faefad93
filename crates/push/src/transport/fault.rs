//! What went wrong between us and a provider, as one of our codes.
//!
//! Found by walking the chain of causes: the libraries nest I/O, TLS and HTTP/2 errors in each other in several ways,
//! and none of their texts leaves this module. HTTP/2's own errors can only be told by what they say (their types
//! belong to a library that the senders do not link); the tests against the stand-ins hold that reading to account.
//!
//! To type one more: a code, its arm below, a stand-in that shows it.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};

use crate::{
    address::{AddressForbidden, ResolverBusy},
    circuit::Health,
    destinations::BUSY_MILLIS,
    report::{Outcome, Reason},
};

/// No name could be looked up: nobody was asked.
const BUSY: &str = "busy";

/// A failure without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    /// The connection failed, not the request: another connection may do.
    pub(crate) is_of_connection: bool,
    /// The connection was closed in good order (GOAWAY without an error): the provider is well.
    is_orderly: bool,
    /// There was no connection yet: what it says is about addresses, ports and certificates.
    is_of_connect: bool,
}

impl Fault {
    /// The time was up.
    pub(crate) const TIMEOUT: Self = Self::lasting("timeout");

    const fn lasting(code: &'static str) -> Self {
        Self { reason: Reason::of(code), is_of_connection: false, is_orderly: false, is_of_connect: false }
    }

    const fn of_connection(code: &'static str) -> Self {
        Self { is_of_connection: true, ..Self::lasting(code) }
    }

    /// The same for whoever chose the address: why there was no connection would tell what our network looks like.
    pub(crate) fn veiled(self) -> Self {
        match self.reason.code {
            BUSY => self,
            _ if self.is_of_connect => Self { reason: Reason::of("unreachable"), ..self },
            _ => self,
        }
    }

    /// What it means for a push: later, and the destination's doing, unless it closed a connection in good order or
    /// was never asked.
    pub(crate) fn verdict(self) -> (Outcome, Health) {
        match self.reason.code {
            BUSY => (Outcome::NotTried { after_millis: BUSY_MILLIS, reason: self.reason }, Health::Unknown),
            _ if self.is_orderly => (Outcome::retry(self.reason), Health::Unknown),
            _ => (Outcome::retry(self.reason), Health::Failing(self.reason)),
        }
    }

    /// Types `error` by its causes. The deepest that says something wins: the outer ones only carry it.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        let mut found = None;
        let mut cause: Option<&(dyn Error + 'static)> = error.source();
        while let Some(current) = cause {
            found = one(current).or(found);
            // The source of an I/O error is its content's source: the content itself would be skipped.
            cause = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => current.source(),
            };
        }
        let fault = match found {
            Some(fault) => fault,
            None if error.is_dns() => Self::lasting("name-not-found"),
            None if error.is_timeout() => Self::TIMEOUT,
            None if error.is_connect() => Self::of_connection("connect-failed"),
            None => Self::of_connection("connection-failed"),
        };
        Self { is_of_connect: error.is_connect(), ..fault }
    }
}

fn one(cause: &(dyn Error + 'static)) -> Option<Fault> {
    if cause.is::<AddressForbidden>() {
        return Some(Fault::lasting("address-forbidden"));
    }
    if cause.is::<ResolverBusy>() {
        return Some(Fault::lasting(BUSY));
    }
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls(error));
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return io_kind(error.kind());
    }
    http(&cause.to_string())
}

fn io_kind(kind: io::ErrorKind) -> Option<Fault> {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        NotConnected, TimedOut, UnexpectedEof,
    };
    match kind {
        ConnectionRefused => Some(Fault::of_connection("connection-refused")),
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected => {
            Some(Fault::of_connection("connection-reset"))
        }
        UnexpectedEof => Some(Fault::of_connection("connection-lost")),
        HostUnreachable | NetworkUnreachable => Some(Fault::of_connection("network-unreachable")),
        TimedOut => Some(Fault::of_connection("timeout")),
        // TLS errors travel as invalid data; the next cause says which.
        _ => None,
    }
}

fn tls(error: &rustls::Error) -> Fault {
    let code = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => "certificate-expired",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "certificate-wrong-host"
            }
            _ => "certificate-untrusted",
        },
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol => "no-http2",
        _ => "tls-failed",
    };
    Fault::lasting(code)
}

/// Reads what `hyper` and `h2` say of their own errors. A provider's words (the debug data of a GOAWAY) stand at the
/// end of such a text and are not looked at: only beginnings are compared.
fn http(text: &str) -> Option<Fault> {
    const ORDERLY: Fault = Fault { is_orderly: true, ..Fault::of_connection("connection-closed") };
    const TEXTS: &[(&str, Fault)] = &[
        ("stream error received", Fault::of_connection("stream-reset")),
        ("connection error received: not a result of an error", ORDERLY),
        ("connection error received", Fault::of_connection("connection-closed")),
        ("connection closed before message completed", Fault::of_connection("connection-lost")),
        ("stream error detected", Fault::of_connection("bad-response")),
        ("connection error detected", Fault::of_connection("bad-response")),
        ("invalid HTTP", Fault::of_connection("bad-response")),
        ("invalid content-length", Fault::of_connection("bad-response")),
        ("invalid transfer-encoding", Fault::of_connection("bad-response")),
        ("unexpected transfer-encoding", Fault::of_connection("bad-response")),
        ("message head is too large", Fault::of_connection("bad-response")),
        ("received unexpected message", Fault::of_connection("bad-response")),
        ("keep-alive timed out", Fault::of_connection("timeout")),
        ("operation was canceled", Fault::of_connection("connection-lost")),
        ("channel closed", Fault::of_connection("connection-lost")),
    ];
    TEXTS.iter().find(|(beginning, _)| text.starts_with(beginning)).map(|(_, fault)| *fault)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Said {}

    fn code(cause: &(dyn Error + 'static)) -> Option<&'static str> {
        one(cause).map(|fault| fault.reason.code)
    }

    #[test]
    fn each_cause_has_its_code() {
        assert_eq!(code(&AddressForbidden), Some("address-forbidden"));
        assert_eq!(code(&io::Error::other(ResolverBusy)), None, "its content says it");
        assert_eq!(code(&ResolverBusy), Some("busy"));
        assert_eq!(code(&io::Error::from(io::ErrorKind::ConnectionRefused)), Some("connection-refused"));
        assert_eq!(code(&io::Error::from(io::ErrorKind::BrokenPipe)), Some("connection-reset"));
        assert_eq!(code(&rustls::Error::InvalidCertificate(CertificateError::Expired)), Some("certificate-expired"));
        assert_eq!(
            code(&rustls::Error::InvalidCertificate(CertificateError::NotValidForName)),
            Some("certificate-wrong-host")
        );
        assert_eq!(
            code(&rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            Some("certificate-untrusted")
        );
        assert_eq!(code(&rustls::Error::DecryptError), Some("tls-failed"));
        assert_eq!(code(&Said("stream error received: refused stream")), Some("stream-reset"));
        assert_eq!(code(&Said("connection error received: not a result of an error")), Some("connection-closed"));
        assert_eq!(code(&Said("something else")), None);
    }

    #[test]
    fn only_a_goaway_in_good_order_says_nothing_about_the_provider() {
        let health = |text| one(&Said(text)).unwrap().verdict().1;
        assert_eq!(health("connection error received: not a result of an error"), Health::Unknown);
        let closed = Health::Failing(Reason::of("connection-closed"));
        assert_eq!(health("connection error received: unexpected internal error encountered"), closed);
        let lost = Health::Failing(Reason::of("connection-lost"));
        assert_eq!(health("connection closed before message completed"), lost);
    }

    #[test]
    fn whoever_chose_the_address_does_not_learn_why_there_was_no_connection() {
        for fault in [
            Fault::lasting("name-not-found"),
            Fault::lasting("address-forbidden"),
            Fault::of_connection("connection-refused"),
            Fault::lasting("certificate-untrusted"),
            Fault::TIMEOUT,
        ] {
            let veiled = Fault { is_of_connect: true, ..fault }.veiled();
            let unreachable = Reason::of("unreachable");
            assert_eq!(veiled.verdict(), (Outcome::retry(unreachable), Health::Failing(unreachable)));
            assert_eq!(fault.veiled(), fault, "what came later");
        }
        let busy = Fault { is_of_connect: true, ..Fault::lasting(BUSY) };
        let expected = Outcome::NotTried { after_millis: BUSY_MILLIS, reason: Reason::of("busy") };
        assert_eq!(busy.veiled().verdict(), (expected, Health::Unknown));
    }

    #[test]
    fn what_a_provider_says_does_not_choose_the_code() {
        assert_eq!(code(&Said("unknown (b\"stream error received\")")), None);
    }
}
