//! More sign-ins at once than may wait for one person (protocol 6.1): what is too many is refused.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{Flow, Person, Turn, sign_in::USUAL_SECONDS};
use crate::history::{Asked, Op};

/// One by one: some less than may wait.
const BEFORE: usize = 16;
/// At once: some more.
const AT_ONCE: usize = 12;

impl Flow {
    /// They go on to wait: whoever judges counts them.
    pub(crate) async fn crowd(&mut self, person: &Person) -> Result<(), Turn> {
        for _ in 0..BEFORE {
            self.ask(person, USUAL_SECONDS).await?;
        }
        let body = json!({"user": {"external_id": person.external_id}, "push": false, "ttl_seconds": USUAL_SECONDS});
        let idp = self.world.idp.clone();
        let mut keys: Vec<String> = Vec::new();
        keys.resize_with(AT_ONCE, || self.fresh("crowd"));
        let ask = async |key: &String| {
            let asked = Asked::new(self.number, Op::CreateChallenge, key).device(person.device().to_string());
            let request = idp.request(Method::POST, "/v1/challenges", Some(&body)).header("idempotency-key", key);
            idp.http.send(asked, request).await
        };
        join_all(keys.iter().map(ask)).await;
        Ok(())
    }
}
