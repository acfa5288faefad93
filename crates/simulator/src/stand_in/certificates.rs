//! TLS of the stand-ins: a certificate authority of its own for each, made as it starts.
//!
//! Never write the private keys anywhere: they live as long as the process. To add a way for a certificate
//! to be wrong: a variant of [`Flaw`].

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

/// A certificate authority and a server certificate that it issued. Cloning shares both.
#[derive(Clone)]
pub struct Certificates {
    ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
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
        Self::issue(flaw).map_err(io::Error::other)
    }

    fn issue(flaw: Flaw) -> Result<Self, rcgen::Error> {
        let mut ca = CertificateParams::new(Vec::default())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "countersign stand-in CA");
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let hosts = match flaw {
            Flaw::WrongHost => vec!["another.example".to_owned()],
            Flaw::None | Flaw::Expired => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let mut server = CertificateParams::new(hosts)?;
        server.distinguished_name.push(DnType::CommonName, "countersign stand-in");
        server.use_authority_key_identifier_extension = true;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if flaw == Flaw::Expired {
            (server.not_before, server.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;
        Ok(Self { ca_pem, chain: vec![certificate.der().clone()], key_der: key.serialize_der() })
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
