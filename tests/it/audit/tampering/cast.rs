//! Who lives in the database that is tampered with: two organisations, people and phones, decisions of every kind,
//! policies, API clients with their keys, invitations, somebody who is locked. And whoever uses what was tampered with.
//!
//! To add to it: in [`Cast::live`], or in what it calls.

use countersign::{audit::live, decisions::Decisions};
use countersign_proto::{audit::verify::Finding, ids::TenantId};
use countersign_simulator::{
    Phone,
    phone::{EnrollOptions, EnrollmentUri},
};
use countersign_tests::{ApiClient, Device, TestApp, text};
use serde_json::{Value, json};

use super::super::{checkpoint, live_a_day, seal};

/// See the module.
pub(super) struct Cast {
    /// Each organisation, with a checkpoint that was kept elsewhere.
    tenants: Vec<(TenantId, [String; 1])>,
    /// Keys that work, and keys that do not any more.
    live: Vec<ApiClient>,
    revoked: Vec<ApiClient>,
    /// Of the one invitation that is open.
    ticket: String,
    /// The organisation's administrator, and phones of somebody's: the first is revoked, the second suspended.
    pub(super) idp: ApiClient,
    pub(super) hopper: [Device; 2],
}

impl Cast {
    /// Lets them live, and seals it.
    pub(super) async fn live(app: &TestApp) -> Self {
        let idp = app.admin().await;
        live_a_day(app, &idp).await;
        let other = app.tenant("neighbour").await;
        let neighbour = app.client_of(&other, "admin").await;
        let phone = neighbour.enroll("ada").await;
        let challenge = neighbour.plain_challenge("ada").await;
        phone.approve(&phone.pending_of(&challenge).await, None, None).await.unwrap();

        // An invitation whose time is up, one that was taken back, one that an administrator let in, one that is open.
        let invite = |body: Value| idp.post("/v1/enrollments", body);
        invite(json!({"user": {"external_id": "ada"}, "ttl_seconds": 60})).await.ok(201);
        app.clock.advance(601);
        app.sweep().await;
        let cancelled = invite(json!({"user": {"external_id": "grace"}})).await.ok(201);
        idp.post_empty(&format!("/v1/enrollments/{}/cancel", text(&cancelled, "id"))).await.ok(200);
        let overridden = json!({"user": {"external_id": "ada"}, "override": "seen at the desk"});
        let overridden = invite(overridden).await.ok(201);
        idp.post_empty(&format!("/v1/enrollments/{}/cancel", text(&overridden, "id"))).await.ok(200);
        let open = invite(json!({"user": {"external_id": "newcomer"}})).await.ok(201);
        let ticket = EnrollmentUri::parse(text(&open, "enrollment_uri")).unwrap().ticket().to_owned();

        let lost = idp.enroll("hopper").await;
        let suspended = idp.enroll("hopper").await;
        // Of what happened at the same moment either may have been the last.
        app.clock.advance(5);
        idp.delete(&format!("/v1/devices/{}", lost.device_id())).await.ok(200);
        idp.post_empty(&format!("/v1/devices/{}/suspend", suspended.device_id())).await.ok(200);
        for (user, failures) in [("mallory", 5), ("eve", 2)] {
            guess(&idp, user, failures).await;
        }
        app.change_policy(|policy| policy.digits = 8).await;
        app.change_policy(|policy| policy.digits = 7).await;
        idp.patch("/v1/tenant", json!({"retention": {"challenge_days": 30}})).await.ok(200);
        let (mut live, revoked) = clients(app, &idp).await;
        live.extend([neighbour.clone(), idp.clone()]);

        seal(app).await;
        let mut tenants = Vec::new();
        for (tenant, client) in [(app.default_tenant().await, &idp), (other, &neighbour)] {
            tenants.push((tenant.id, [checkpoint(client).await.0]));
        }
        Self { tenants, live, revoked, ticket, idp, hopper: [lost, suspended] }
    }

    /// What `audit verify` finds in either organisation's database.
    pub(super) async fn findings(&self, app: &TestApp) -> Vec<Finding> {
        let server = app.node().app();
        let decisions = Decisions::new(server.keys.clone());
        let mut findings = Vec::new();
        for (tenant_id, older) in &self.tenants {
            let report = live::verify(&server.audit, &decisions, *tenant_id, older, server.now()).await.unwrap();
            findings.extend(report.findings);
        }
        findings
    }

    /// Whether somebody who uses what is sealed in this table is refused who was not before: a key, or the ticket. And
    /// nobody is let in who was not.
    pub(super) async fn is_refused(&self, app: &TestApp, table: &str) -> bool {
        if table == "enrollments" {
            let (server, options) = (app.phones().clone(), EnrollOptions::named("x"));
            return Phone::enroll_at(server, &self.ticket, options, app.surroundings()).await.is_err();
        }
        for client in &self.revoked {
            assert_eq!(status(client).await, 401, "a revoked key works again");
        }
        for client in &self.live {
            if status(client).await != 200 {
                return true;
            }
        }
        false
    }
}

async fn status(client: &ApiClient) -> u16 {
    client.get("/v1/challenges?limit=1").await.status
}

/// Somebody approves with wrong numbers.
async fn guess(idp: &ApiClient, user: &str, failures: usize) {
    let phone = idp.enroll(user).await;
    for _ in 0..failures {
        let challenge = idp.challenge(user).await;
        let number = text(&challenge, "number");
        let wrong = if number.starts_with('0') { "1" } else { "0" }.repeat(number.len());
        phone.approve(&phone.pending_of(&challenge).await, Some(&wrong), None).await.unwrap_err();
    }
    let path = format!("/v1/users/{}", phone.registration().user.id);
    assert_eq!(idp.get(&path).await.ok(200).get("locked_until").is_some(), failures == 5);
}

/// API clients whose keys work: a secret that is bound to applications and ends, and a signature. And keys that do not:
/// one of two, and a client's.
async fn clients(app: &TestApp, idp: &ApiClient) -> (Vec<ApiClient>, Vec<ApiClient>) {
    let keyed = |made: &Value, secret: &Value| ApiClient {
        id: text(made, "id").to_owned(),
        key: text(secret, "api_key").to_owned(),
        ..idp.clone()
    };
    let body = json!({"name": "gateway", "scopes": ["challenges"], "applications": ["VPN"], "expires_in_days": 30});
    let made = idp.post("/v1/api-clients", body).await.ok(201);
    let path = format!("/v1/api-clients/{}", text(&made, "id"));
    let next = idp.post(&format!("{path}/keys"), json!({})).await.ok(201);
    idp.delete(&format!("{path}/keys/{}", text(&made["keys"][0], "id"))).await.ok(200);
    let signing = app.proving_client("challenges").await;
    let gone = app.client("challenges").await;
    idp.delete(&format!("/v1/api-clients/{}", gone.id)).await.ok(200);
    (vec![keyed(&made, &next), signing], vec![keyed(&made, &made), gone])
}
