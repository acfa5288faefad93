//! Too much at once: who is told to come back, and who never keeps others out.

use std::time::Duration;

use countersign_tests::{both_with, path_of};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A request whose body has begun, is awaited by the server, and does not come.
async fn slow_body(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/device/registrations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/jwt\r\n\
        content-length: 1000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut reply = vec![0; expected.len()];
    timeout(Duration::from_secs(10), stream.read_exact(&mut reply)).await.unwrap().unwrap();
    assert_eq!(reply, expected);
    stream
}

#[tokio::test]
async fn who_sleeps_or_sends_slowly_keeps_nobody_out() {
    both_with(
        |settings| settings.server.max_requests_at_once = 2,
        async |app| {
            let idp = app.admin().await;
            let phone = idp.enroll("ada").await;
            let challenge = idp.plain_challenge("ada").await;
            let mut slow = Vec::new();
            for _ in 0..8 {
                slow.push(slow_body(app.node().address()).await);
            }
            let held = idp.hold(&format!("{}?wait=50", path_of(&challenge)));
            app.until_held(1).await;
            idp.get("/v1/users").await.ok(200);
            phone.approve(&phone.only_pending().await, None, None).await.unwrap();
            assert_eq!(held.await.unwrap().ok(200)["status"], "approved");
        },
    )
    .await;
}

#[tokio::test]
async fn what_is_too_much_is_told_to_come_back_and_the_node_stays_ready() {
    both_with(
        |settings| settings.server.max_requests_at_once = 0,
        async |app| {
            let refused = app.http.get("/v1/users").await;
            refused.problem("unavailable");
            assert_eq!(refused.header("retry-after"), "1");
            for path in ["/readyz", "/healthz", "/.well-known/jwks.json"] {
                assert_eq!(app.http.get(path).await.status, 200, "{path}");
            }
        },
    )
    .await;
}
