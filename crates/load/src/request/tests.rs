//! What is caught is what a stand-in takes, from any client that repeats it.

use super::*;
use crate::testing::{DESCRIPTION, stand_in};

#[tokio::test]
async fn what_was_caught_is_taken_by_the_stand_in_beside_the_senders_own() {
    let (handle, place) = stand_in().await;
    let description = Description::read(&place.path().join(DESCRIPTION)).unwrap();
    // The sender's own first: another provider token so soon after it would be refused.
    let senders = description.senders().unwrap();
    let own = description.notifications(1).unwrap().challenge(0).unwrap();
    assert_eq!(senders.send(&own).await.outcome.reason(), None);

    let caught = catch(&description).await.unwrap();
    let ca = reqwest::Certificate::from_pem(handle.ca_pem().unwrap().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().tls_certs_only([ca]).build().unwrap();
    let mut request = client.post(format!("{}{}", handle.base_url(), caught.path)).body(caught.body);
    for (name, value) in caught.headers {
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!((handle.accepted_count(), handle.provider_tokens_seen()), (2, 1));
    let received = handle.received();
    assert_eq!(received[0].push.payload["aps"], received[1].push.payload["aps"]);
}

#[tokio::test]
async fn the_payload_goes_into_the_file() {
    let (_handle, place) = stand_in().await;
    let body = place.path().join("body");
    run(Args { stand_in: place.path().join(DESCRIPTION), body: body.clone() }, true).await.unwrap();
    let payload: Value = serde_json::from_slice(&fs::read(body).unwrap()).unwrap();
    assert_eq!(payload["kind"], "challenge");
}
