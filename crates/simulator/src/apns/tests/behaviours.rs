//! Scripted trouble, seen from the wire.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::stand_in::testing::DEADLINE;
use crate::stand_in::{Behaviour, Certificates, Flaw};

/// One connection, to the frame.
async fn connect(rig: &Rig) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let mut roots = rustls::RootCertStore::empty();
    let pem = rig.apns.ca_pem().unwrap().as_bytes();
    use rustls::pki_types::pem::PemObject as _;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(rig.apns.base_url().strip_prefix("https://").unwrap()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (send, connection) = h2::client::handshake(tls).await.unwrap();
    (send.ready().await.unwrap(), tokio::spawn(connection))
}

/// Sends one shot on this connection without waiting for its answer.
fn fire(rig: &Rig, send: &mut SendRequest<Bytes>, shot: Shot) -> h2::client::ResponseFuture {
    let mut request = http::Request::post(format!("{}{}", rig.apns.base_url(), shot.path)).body(()).unwrap();
    *request.headers_mut() = shot.headers;
    let (response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(shot.body.into(), true).unwrap();
    response
}

#[tokio::test]
async fn a_goaway_names_the_last_stream_that_was_taken_and_the_rest_can_be_sent_again() {
    let rig = Rig::with(|options| options.common.goaway_every = Some(3)).await;
    let bearer = rig.provider_token();
    let (mut send, connection) = connect(&rig).await;
    let answers: Vec<_> = (1..=5).map(|number| fire(&rig, &mut send, rig.alert(&device(number), &bearer))).collect();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(tokio::time::timeout(DEADLINE, answer).await.unwrap());
    }
    let (taken, untouched) = outcomes.split_at(3);
    assert!(taken.iter().all(|outcome| outcome.as_ref().is_ok_and(|response| response.status() == 200)));
    for outcome in untouched {
        let error = outcome.as_ref().unwrap_err();
        assert!(error.is_go_away() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR));
    }
    drop(send);
    let _closed = tokio::time::timeout(DEADLINE, connection).await.expect("the connection ends");
    assert_eq!(rig.apns.accepted_count(), 3);
    // On another connection all is well again.
    assert_eq!(rig.answer(rig.alert(&device(4), &bearer)).await.0, 200);
    assert_eq!(rig.apns.connections(), 2);
}

#[tokio::test]
async fn a_scripted_goaway_leaves_its_own_request_untouched() {
    let rig = Rig::new().await;
    rig.apns.script(&device(2), [Behaviour::GoAway {}]);
    let bearer = rig.provider_token();
    let (mut send, _connection) = connect(&rig).await;
    let first = fire(&rig, &mut send, rig.alert(&device(1), &bearer));
    let second = fire(&rig, &mut send, rig.alert(&device(2), &bearer));
    assert_eq!(tokio::time::timeout(DEADLINE, first).await.unwrap().unwrap().status(), 200);
    let error = tokio::time::timeout(DEADLINE, second).await.unwrap().unwrap_err();
    assert!(error.is_go_away() && error.is_remote(), "{error}");
    let attempts = rig.apns.attempts();
    let untouched = attempts.iter().find(|attempt| attempt.token == device(2)).unwrap();
    assert_eq!((untouched.answer.status, untouched.answer.reason.as_deref()), (None, Some("goaway")));
    assert_eq!(untouched.push.apns_id, ID);
    assert_eq!(rig.answer(rig.alert(&device(2), &bearer)).await.0, 200);
}

#[tokio::test]
async fn a_stream_reset_spares_the_connection_and_a_connection_reset_does_not() {
    let rig = Rig::new().await;
    rig.apns.script(&device(1), [Behaviour::ResetStream {}, Behaviour::Normal {}, Behaviour::ResetConnection {}]);
    let bearer = rig.provider_token();
    let (mut send, connection) = connect(&rig).await;
    let shot = rig.alert(&device(1), &bearer);
    let error = fire(&rig, &mut send, shot.clone()).await.unwrap_err();
    assert!(error.is_reset() && error.reason() == Some(h2::Reason::INTERNAL_ERROR), "{error}");
    assert_eq!(fire(&rig, &mut send, shot.clone()).await.unwrap().status(), 200);
    let error = fire(&rig, &mut send, shot).await.unwrap_err();
    assert_eq!(error.get_io().map(std::io::Error::kind), Some(std::io::ErrorKind::ConnectionReset), "{error}");
    assert!(connection.await.unwrap().is_err());
}

#[tokio::test]
async fn a_lost_answer_is_a_push_that_was_taken() {
    let rig = Rig::new().await;
    rig.apns.script(&device(1), [Behaviour::LoseAnswer {}]);
    let shot = rig.alert(&device(1), &rig.provider_token());
    assert!(rig.send(shot.clone()).await.is_err());
    assert_eq!(rig.answer(shot).await.0, 200);
    assert_eq!((rig.apns.rung(&device(1)), rig.apns.shown(&device(1)).len()), (2, 1));
}

#[tokio::test]
async fn statuses_carry_apples_reason_the_time_to_wait_and_the_time_of_unregistering() {
    let rig = Rig::new().await;
    let custom = Behaviour::Status { code: 503, reason: None, body: Some("busy".into()), retry_after: None };
    let gone = Behaviour::Gone { timestamp_millis: Some(7) };
    rig.apns.script(&device(1), [Behaviour::retry_after(429, "Wed, 21 Oct"), Behaviour::status(500), custom, gone]);
    let shot = rig.alert(&device(1), &rig.provider_token());
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let response = rig.send(shot.clone()).await.unwrap();
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        bodies.push((response.status().as_u16(), retry_after, response.text().await.unwrap()));
    }
    let row = |status: u16, body: &str| (status, None, body.to_owned());
    assert_eq!(bodies[0], (429, Some("Wed, 21 Oct".to_owned()), r#"{"reason":"TooManyRequests"}"#.to_owned()));
    assert_eq!(bodies[1], row(500, r#"{"reason":"InternalServerError"}"#));
    assert_eq!(bodies[2], row(503, "busy"));
    assert_eq!(bodies[3], row(410, r#"{"reason":"Unregistered","timestamp":7}"#));
    assert_eq!(rig.answer(shot).await.0, 200, "the script is used up");
}

#[tokio::test]
async fn garbage_html_and_huge_bodies_come_as_scripted() {
    let rig = Rig::new().await;
    let huge = Behaviour::HugeBody { bytes: 3_000_000, code: 500 };
    rig.apns.script(
        &device(1),
        [Behaviour::Html { code: 502 }, Behaviour::GarbageBody { code: 400 }, huge, Behaviour::Garbage {}],
    );
    let shot = rig.alert(&device(1), &rig.provider_token());
    let html = rig.send(shot.clone()).await.unwrap();
    assert_eq!(html.status().as_u16(), 502);
    assert!(html.text().await.unwrap().starts_with("<html>"));
    let garbage = rig.send(shot.clone()).await.unwrap();
    assert!(serde_json::from_slice::<Value>(&garbage.bytes().await.unwrap()).is_err());
    let huge = rig.send(shot.clone()).await.unwrap();
    assert_eq!((huge.status().as_u16(), huge.bytes().await.unwrap().len()), (500, 3_000_000));
    assert!(rig.send(shot.clone()).await.is_err(), "no HTTP");
    assert_eq!(rig.answer(shot).await.0, 200, "on a new connection");
    assert_eq!(rig.apns.connections(), 2);
}

#[tokio::test]
async fn a_silent_connection_does_not_even_acknowledge_a_ping() {
    let rig = Rig::new().await;
    rig.apns.script(&device(1), [Behaviour::Silent {}]);
    let bearer = rig.provider_token();
    let (mut send, mut connection) = connect(&rig).await;
    let answer = fire(&rig, &mut send, rig.alert(&device(1), &bearer));
    assert!(rig.apns.wait_for_attempts(1, DEADLINE).await);
    let later = fire(&rig, &mut send, rig.alert(&device(2), &bearer));
    let quiet = Duration::from_millis(200);
    assert!(tokio::time::timeout(quiet, answer).await.is_err());
    assert!(tokio::time::timeout(quiet, later).await.is_err());
    assert!(tokio::time::timeout(quiet, &mut connection).await.is_err(), "it is held open");
    assert_eq!(rig.apns.accepted_count(), 0);
    rig.apns.stop().await;
    let ended = tokio::time::timeout(DEADLINE, connection).await.expect("stopping ends it");
    assert!(ended.unwrap().is_err());
}

#[tokio::test]
async fn a_slow_answer_is_late_and_slow_headers_trickle() {
    let rig = Rig::new().await;
    rig.apns.script(&device(1), [Behaviour::Slow { millis: 300 }]);
    rig.apns.script(&device(2), [Behaviour::SlowHeaders { millis: 40 }]);
    let bearer = rig.provider_token();
    let (mut send, _connection) = connect(&rig).await;
    let slow = fire(&rig, &mut send, rig.alert(&device(1), &bearer));
    let mut slow = std::pin::pin!(slow);
    assert!(tokio::time::timeout(Duration::from_millis(150), &mut slow).await.is_err());
    assert_eq!(tokio::time::timeout(DEADLINE, slow).await.unwrap().unwrap().status(), 200);
    let trickling = fire(&rig, &mut send, rig.alert(&device(2), &bearer));
    let mut trickling = std::pin::pin!(trickling);
    // A frame's header alone is nine bytes.
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut trickling).await.is_err());
    assert_eq!(tokio::time::timeout(DEADLINE, trickling).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_outage_lasts_until_it_is_over() {
    let rig = Rig::new().await;
    let shot = rig.alert(&device(1), &rig.provider_token());
    rig.apns.always(Some(Behaviour::status(503)));
    for _ in 0..2 {
        assert_eq!(rig.answer(shot.clone()).await, (503, "ServiceUnavailable".to_owned()));
    }
    rig.apns.always(None);
    assert_eq!(rig.answer(shot).await.0, 200);
}

#[tokio::test]
async fn more_streams_at_once_than_it_allows_are_never_taken_at_once() {
    let rig = Rig::with(|options| options.common.max_concurrent_streams = 1).await;
    let bearer = rig.provider_token();
    // A client that does not know the limit yet is refused what is beyond it; this one's first request learns it.
    assert_eq!(rig.answer(rig.alert(&device(9), &bearer)).await.0, 200);
    let rig = Arc::new(rig);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=5 {
        let (rig, shot) = (rig.clone(), rig.alert(&device(number), &bearer));
        tasks.spawn(async move { rig.answer(shot).await.0 });
    }
    assert_eq!(tasks.join_all().await, [200; 5]);
    let (mut send, _connection) = connect(&rig).await;
    // The server's settings have come with the first answer.
    assert_eq!(fire(&rig, &mut send, rig.alert(&device(1), &bearer)).await.unwrap().status(), 200);
    assert_eq!(send.current_max_send_streams(), 1);
}

#[tokio::test]
async fn a_flawed_certificate_is_refused_by_an_honest_client() {
    for flaw in [Flaw::Expired, Flaw::WrongHost] {
        let rig = Rig::with(|options| {
            options.common.certificates = Some(Certificates::with_flaw(flaw).unwrap());
        })
        .await;
        assert!(rig.send(rig.alert(&device(1), &rig.provider_token())).await.is_err(), "{flaw:?}");
        assert_eq!(rig.apns.attempted_count(), 0);
    }
}
