//! TLS to PostgreSQL: who cannot prove to be the database is refused, and so is one that does not speak TLS.
//!
//! What is required where is a pure function with tests of its own (`crates/store/src/postgres/tls.rs`); here is what
//! the driver makes of it against a real server.

use std::{fs, sync::Arc};

use countersign_core::wake::{WakeKey, WakeSink};
use countersign_proto::timestamp::Timestamp;
use countersign_store::{ConnectError, Options};
use countersign_tests::{Certificate, Cluster};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

struct Deaf;

impl WakeSink for Deaf {
    fn wake(&self, _keys: &[WakeKey]) {}
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

async fn refused(url: &str, with: &[&str]) {
    let options = Options { read_connections: 1, ..Options::default() };
    let refused = countersign_store::connect(url, options, Arc::new(Deaf)).await.err().expect("it is refused");
    assert!(matches!(refused, ConnectError::Unreachable(_)), "{refused:?}");
    let text = refused.to_string();
    assert!(with.iter().all(|word| text.contains(word)) && text.lines().count() == 1, "{text}");
}

#[tokio::test]
async fn only_a_database_that_proves_who_it_is_gets_the_password() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let certificate = Certificate { certificate: certificate.pem(), key: key.serialize_pem() };
    let cluster = Cluster::start_with(Some(certificate)).await;
    let folder = tempfile::tempdir().unwrap();
    let root = |name: &str, pem: String| {
        let path = folder.path().join(name);
        fs::write(&path, pem).unwrap();
        format!("sslrootcert={}", path.display())
    };
    let right = root("right.pem", authority.pem());
    let wrong = root("wrong.pem", self::authority().pem());

    let url = cluster.url_at("127.0.0.1", &format!("sslmode=verify-full&{right}"));
    let options = Options { read_connections: 1, ..Options::default() };
    let store = countersign_store::connect(&url, options, Arc::new(Deaf)).await.unwrap();
    store.check_ready(Timestamp::from_seconds(1)).await.unwrap();
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name = 'countersign' AND NOT ssl";
    let plain: i64 = sqlx::query_scalar(plain).fetch_one(&mut cluster.connection().await).await.unwrap();
    assert_eq!(plain, 0, "every connection is encrypted");
    store.close().await;

    refused(&cluster.url_at("127.0.0.1", &format!("sslmode=verify-full&{wrong}")), &["invalid peer certificate"]).await;
    // A name of this machine that the certificate does not have: by a name it is verified without being told.
    refused(&cluster.url_at("localhost", &right), &["invalid peer certificate", "not valid for name"]).await;
    refused(&cluster.url_at("localhost", ""), &["invalid peer certificate"]).await;
}

#[tokio::test]
async fn a_database_that_speaks_no_tls_is_refused_where_it_has_to() {
    let cluster = Cluster::start().await;
    refused(&cluster.url_at("localhost", ""), &["TLS", "does not support"]).await;
    refused(&cluster.url_at("127.0.0.1", "sslmode=verify-full"), &["TLS", "does not support"]).await;
}
