//! A service account, as Google's console would give it out.

use std::io;

use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::json;

use crate::stand_in::clock::random;

/// An account with its RSA key: Google knows the public half, the server the private one.
#[derive(Clone)]
pub struct ServiceAccount {
    /// The project.
    pub project_id: String,
    /// `iss` of its assertions.
    pub client_email: String,
    /// `kid` of its assertions.
    pub private_key_id: String,
    /// PKCS #8 in PEM.
    pub private_key_pem: String,
    /// The public half: an RSAPublicKey in DER (RFC 8017, appendix A.1.1).
    pub public_key_der: Vec<u8>,
}

impl ServiceAccount {
    /// A fresh one with a key of 2048 bits.
    ///
    /// # Errors
    /// If this machine cannot make keys.
    pub fn generate(project_id: &str) -> io::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(io::Error::other)?;
        let key_id: [u8; 20] = random()?;
        Ok(Self {
            project_id: project_id.to_owned(),
            client_email: format!("countersign@{project_id}.iam.gserviceaccount.com"),
            private_key_id: key_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            private_key_pem: key.serialize_pem(),
            public_key_der: key.public_key_raw().to_vec(),
        })
    }

    /// The key file.
    pub fn to_json(&self, token_uri: &str) -> String {
        let Self { project_id, client_email, private_key_id, private_key_pem, .. } = self;
        let file = json!({
            "type": "service_account",
            "project_id": project_id,
            "private_key_id": private_key_id,
            "private_key": private_key_pem,
            "client_email": client_email,
            "client_id": "100000000000000000000",
            "auth_uri": format!("{token_uri}/no-browser"),
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        });
        format!("{file:#}")
    }
}

impl std::fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccount").field("client_email", &self.client_email).finish_non_exhaustive()
    }
}
