//! TLS of the stand-ins: a certificate authority of its own for each, made as it starts; or one [`Authority`] for the
//! programs of a trial, which then read their certificates from files.
//!
//! Never write an authority's private key anywhere: it lives as long as the value. To add a way for a certificate to be
//! wrong: a variant of [`Flaw`].

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where a certificate begins in a PEM file.
const CERTIFICATE_MARK: &str = "-----BEGIN CERTIFICATE-----";

/// What is wrong with a certificate, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flaw {
    /// Nothing.
    #[default]
    None,
    /// It ran out in 2021.
    Expired,
    /// It is for `another.example`, not for 127.0.0.1 and localhost.
    WrongHost,
}

/// A certificate authority. What it has issued outlives it; nobody can issue more.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The certificate of an authority and a server certificate that it issued. Cloning shares both.
#[derive(Clone)]
pub struct Certificates {
    ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
    bundle: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// If this machine cannot make keys.
    pub fn generate() -> io::Result<Self> {
        Self::new().map_err(io::Error::other)
    }

    fn new() -> Result<Self, rcgen::Error> {
        let mut parameters = CertificateParams::new(Vec::default())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "countersign stand-in CA");
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = parameters.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(parameters, key) })
    }

    /// Its certificate, to be trusted.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `host`, and for localhost and 127.0.0.1.
    ///
    /// # Errors
    /// If `host` is no name, or this machine cannot make keys.
    pub fn issue(&self, host: &str) -> io::Result<Certificates> {
        self.certify(&[host, "localhost", "127.0.0.1"], Flaw::None).map_err(io::Error::other)
    }

    fn certify(&self, hosts: &[&str], flaw: Flaw) -> Result<Certificates, rcgen::Error> {
        let mut server = CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>())?;
        server.distinguished_name.push(DnType::CommonName, "countersign stand-in");
        server.use_authority_key_identifier_extension = true;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if flaw == Flaw::Expired {
            (server.not_before, server.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &self.issuer)?;
        let bundle = format!("{}{}{}", certificate.pem(), self.pem, key.serialize_pem());
        let (ca_pem, chain) = (self.pem.clone(), vec![certificate.der().clone()]);
        Ok(Certificates { ca_pem, chain, key_der: key.serialize_der(), bundle })
    }
}

impl Certificates {
    /// For 127.0.0.1 and localhost, valid.
    ///
    /// # Errors
    /// If this machine cannot make keys.
    pub fn generate() -> io::Result<Self> {
        Self::with_flaw(Flaw::None)
    }

    /// With something wrong.
    ///
    /// # Errors
    /// If this machine cannot make keys.
    pub fn with_flaw(flaw: Flaw) -> io::Result<Self> {
        let hosts: &[&str] = match flaw {
            Flaw::WrongHost => &["another.example"],
            Flaw::None | Flaw::Expired => &["localhost", "127.0.0.1"],
        };
        Authority::generate()?.certify(hosts, flaw).map_err(io::Error::other)
    }

    /// From what [`Self::bundle`] gave.
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_bundle(bundle: &str) -> io::Result<Self> {
        let broken = || io::Error::other("not a certificate, its authority's and a private key in PEM");
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle.as_bytes()).collect();
        let mut chain = chain.map_err(|_| broken())?;
        let (_, last) = bundle.rsplit_once(CERTIFICATE_MARK).ok_or_else(broken)?;
        let (ca, _) = last.split_once("-----END").ok_or_else(broken)?;
        let ca_pem = format!("{CERTIFICATE_MARK}{ca}-----END CERTIFICATE-----\n");
        // The authority itself is known to whoever trusts it, and is not sent.
        if chain.pop().is_none() || chain.is_empty() {
            return Err(broken());
        }
        match PrivateKeyDer::from_pem_slice(bundle.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => {
                let key_der = key.secret_pkcs8_der().to_vec();
                Ok(Self { ca_pem, chain, key_der, bundle: bundle.to_owned() })
            }
            _ => Err(broken()),
        }
    }

    /// The certificate, its authority's, and the private key: PEM in one text, as HAProxy and PostgreSQL read it.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// The authority's certificate, to be trusted by the client under test.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// TLS 1.2 and 1.3 with these application protocols.
    ///
    /// # Errors
    /// If the key is none that this machine can use.
    pub fn server_config(&self, alpn: &[&str]) -> io::Result<Arc<ServerConfig>> {
        let key = PrivateKeyDer::Pkcs8(self.key_der.clone().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(self.chain.clone(), key));
        let mut config = config.map_err(io::Error::other)?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_as_what_it_was_written_from() {
        let authority = Authority::generate().unwrap();
        let issued = authority.issue("apns").unwrap();
        let read = Certificates::from_bundle(issued.bundle()).unwrap();
        assert_eq!((read.ca_pem(), &read.chain, &read.key_der), (authority.pem(), &issued.chain, &issued.key_der));
        assert!(read.server_config(&["h2"]).is_ok());
    }

    #[test]
    fn half_a_bundle_is_refused() {
        let issued = Authority::generate().unwrap().issue("apns").unwrap();
        let (certificates, key) = issued.bundle().split_once("-----BEGIN PRIVATE KEY-----").unwrap();
        let no_authority = issued.bundle().replacen(issued.ca_pem(), "", 1);
        for half in ["", certificates, key, &no_authority] {
            assert!(Certificates::from_bundle(half).is_err(), "{half}");
        }
    }
}
