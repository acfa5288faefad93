//! API clients that sign their requests: what is stolen on the way, or from the database, is worth nothing.

use countersign_proto::{
    jose::{Kind, SigningKey, claims::ClientProofClaims, sha256},
    vocabulary::Profile,
};
use countersign_tests::{ApiClient, Db, Http, Reply, both, text};
use reqwest::{Method, header::AUTHORIZATION};
use serde_json::{Value, json};

use crate::process::Program;

fn ada() -> Value {
    json!({"user": {"external_id": "ada"}})
}

/// What makes a proof wrong.
type Change<'a> = Box<dyn FnOnce(&mut ClientProofClaims) + 'a>;

/// A request whose proof says what `change` makes of it, signed with `key`.
async fn forged(
    client: &ApiClient,
    http: &Http,
    key: &SigningKey,
    change: impl FnOnce(&mut ClientProofClaims),
) -> Reply {
    let mut request = http.request(Method::POST, "/v1/challenges").json(&ada()).build().unwrap();
    let mut claims = client.proof_claims(&request);
    change(&mut claims);
    let proof = key.sign(Kind::ClientProof, &claims).unwrap();
    request.headers_mut().insert(AUTHORIZATION, format!("ClientProof {proof}").parse().unwrap());
    http.send(http.again(request)).await
}

#[tokio::test]
async fn a_client_that_signs_does_all_that_one_with_a_key_does() {
    both(async |app| {
        let client = app.proving_client("admin").await;
        let phone = client.enroll("ada").await;
        let challenge = client.challenge("ada").await;
        let waiting = client.hold(&format!("/v1/challenges/{}?wait=50", text(&challenge, "id")));
        app.until_held(1).await;
        let shown = phone.only_pending().await;
        phone.approve(&shown, Some(text(&challenge, "number")), None).await.unwrap();
        assert_eq!(waiting.await.unwrap().ok(200)["status"], "approved");
        client.delete(&format!("/v1/devices/{}", phone.device_id())).await.ok(200);
        // Its body is bounded like everybody's.
        let large = json!({"user": {"external_id": "a".repeat(70_000)}});
        client.post("/v1/challenges", large).await.problem("payload-too-large");
        client.post("/v1/challenges", json!({"user": 1})).await.problem("invalid-request");
    })
    .await;
}

#[tokio::test]
async fn a_proof_is_for_one_client_method_path_body_and_time() {
    both(async |app| {
        let client = app.proving_client("challenges").await;
        let neighbour = app.tenant("neighbour").await;
        let (other, stranger) =
            (app.proving_client("challenges").await, app.proving_client_of(&neighbour, "challenges").await);
        app.admin().await.enroll("ada").await;
        let key = client.signer.clone().unwrap();
        let now = app.clock.time().as_seconds();
        forged(&client, &app.http, &key, |_| ()).await.ok(201);
        let wrong: [(&str, Change<'_>); 10] = [
            ("another client's name", Box::new(|claims| claims.iss.clone_from(&other.id))),
            ("another tenant's client", Box::new(|claims| claims.iss.clone_from(&stranger.id))),
            ("another server", Box::new(|claims| claims.aud = "https://elsewhere.example".to_owned())),
            ("another method", Box::new(|claims| claims.htm = "GET".to_owned())),
            ("another path", Box::new(|claims| claims.htu = format!("{}/v1/enrollments", app.issuer()))),
            ("a path with a query", Box::new(|claims| claims.htu.push_str("?a=1"))),
            ("another body", Box::new(|claims| claims.body_sha256 = sha256("{}"))),
            ("no body", Box::new(|claims| claims.body_sha256 = sha256(""))),
            ("no id", Box::new(|claims| claims.jti = String::new())),
            ("an id that is too long", Box::new(|claims| claims.jti = "j".repeat(129))),
        ];
        for (what, change) in wrong {
            let refused = forged(&client, &app.http, &key, change).await;
            refused.problem("unauthenticated");
            assert_eq!(refused.header("www-authenticate"), "ClientProof", "{what}");
        }
        for iat in [now - 61, now + 61] {
            let skewed = forged(&client, &app.http, &key, |claims| claims.iat = iat).await;
            assert!(skewed.problem("clock-skew")["server_time"].is_string());
        }
        for iat in [now - 60, now + 60] {
            forged(&client, &app.http, &key, |claims| claims.iat = iat).await.ok(201);
        }
        // Only its own key signs for it, and nobody learns of a wrong clock without one.
        let nobodys = SigningKey::generate().unwrap();
        for key in [&other.signer.clone().unwrap(), &stranger.signer.clone().unwrap(), &nobodys] {
            forged(&client, &app.http, key, |claims| claims.iat = 0).await.problem("unauthenticated");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_client_signed_changes_something_once_on_whatever_node_it_arrives() {
    both(async |app| {
        let client = app.proving_client("admin").await;
        client.enroll("ada").await;
        let second = app.second_node().await;
        let key = client.signer.clone().unwrap();
        let same = |claims: &mut ClientProofClaims| claims.jti = "same".to_owned();
        let (one, other) =
            tokio::join!(forged(&client, &app.http, &key, same), forged(&client, &second.http, &key, same));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 401]);
        for http in [&app.http, &second.http] {
            forged(&client, http, &key, same).await.problem("unauthenticated");
        }
        // Another client's `jti` is its own.
        let another = app.proving_client("challenges").await;
        forged(&another, &app.http, &another.signer.clone().unwrap(), same).await.ok(201);
        // Reads may be repeated: they change nothing.
        let mut request = client.request(Method::GET, "/v1/users").build().unwrap();
        let proof = key.sign(Kind::ClientProof, &client.proof_claims(&request)).unwrap();
        request.headers_mut().insert(AUTHORIZATION, format!("clientproof {proof}").parse().unwrap());
        for _ in 0..2 {
            app.http.send(app.http.again(request.try_clone().unwrap())).await.ok(200);
        }
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn under_the_profile_a_stolen_api_key_does_nothing() {
    both(async |app| {
        let (thief, client) = (app.admin().await, app.proving_client("admin").await);
        thief.enroll("ada").await;
        let second = app.second_node().await;
        let challenge = thief.challenge("ada").await;
        let held = thief.hold(&format!("/v1/challenges/{}?wait=50", text(&challenge, "id")));
        app.until_held(1).await;
        client.put("/v1/policy", json!({"profile": "nist-800-63b-4"})).await.ok(200);
        for http in [&app.http, &second.http] {
            let thief = thief.at(http);
            let refused = thief.post("/v1/challenges", ada()).await;
            refused.problem("client-proof-required");
            assert_eq!(refused.header("www-authenticate"), "ClientProof");
            for path in ["/v1/users", "/v1/policy", "/v1/events"] {
                thief.get(path).await.problem("client-proof-required");
            }
            thief.put("/v1/policy", json!({})).await.problem("client-proof-required");
        }
        // Neither does what was held for it.
        client.post_empty(&format!("/v1/challenges/{}/cancel", text(&challenge, "id"))).await.problem("not-found");
        let phone = client.enroll("grace").await;
        assert_eq!(phone.all_pending().await.len(), 0);
        app.clock.advance(121);
        app.sweep().await;
        held.await.unwrap().problem("client-proof-required");
        client.challenge("grace").await;
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_application_under_the_profile_asks_for_signatures_where_its_organisation_does_not() {
    both(async |app| {
        let (plain, signing) = (app.admin().await, app.proving_client("challenges").await);
        plain.enroll("ada").await;
        let profile = Profile::Nist80063b4;
        app.change_policy(|policy| {
            policy.applications.entry("Payroll".to_owned()).or_default().profile = Some(profile);
        })
        .await;
        let payroll = json!({"user": {"external_id": "ada"}, "application": "Payroll"});
        plain.post("/v1/challenges", payroll.clone()).await.problem("client-proof-required");
        plain.post("/v1/challenges", ada()).await.ok(201);
        assert_eq!(signing.create_challenge(payroll).await["policy"]["profile"], "nist-800-63b-4");
    })
    .await;
}

#[tokio::test]
async fn a_devices_key_signs_for_no_client_and_a_clients_key_for_no_device() {
    both(async |app| {
        let client = app.proving_client("admin").await;
        let phone = client.enroll("ada").await;
        let request = app.http.request(Method::GET, "/v1/users").build().unwrap();
        for iss in [client.id.clone(), phone.device_id()] {
            let claims = ClientProofClaims { iss, ..client.proof_claims(&request) };
            for kind in [Kind::ClientProof, Kind::Proof] {
                let token = phone.sign(kind, &claims).unwrap();
                for scheme in ["ClientProof", "Bearer", "DeviceProof"] {
                    let request = app.http.request(Method::GET, "/v1/users");
                    let reply = app.http.send(request.header(AUTHORIZATION, format!("{scheme} {token}"))).await;
                    reply.problem("unauthenticated");
                }
            }
        }
        let key = client.signer.clone().unwrap();
        let url = format!("{}/v1/device", app.issuer());
        for iss in [client.id.clone(), phone.device_id()] {
            let claims = phone.claims_with(json!({"iss": iss, "htm": "GET", "htu": url}));
            for kind in [Kind::Proof, Kind::ClientProof] {
                let token = key.sign(kind, &claims).unwrap();
                let request = app.http.request(Method::GET, "/v1/device");
                let reply = app.http.send(request.header(AUTHORIZATION, format!("DeviceProof {token}"))).await;
                reply.problem("invalid-device-signature");
            }
        }
        let challenge = client.challenge("ada").await;
        let shown = phone.only_pending().await;
        let claims = phone.claims_with(json!({"sub": shown.claims().jti, "decision": "approve",
            "challenge_sha256": sha256(shown.text()), "number": challenge["number"]}));
        let response = key.sign(Kind::Response, &claims).unwrap();
        phone.respond_with(text(&challenge, "id"), &response).await.problem("invalid-device-signature");
        assert_eq!(client.show(&challenge).await["status"], "pending");
    })
    .await;
}

#[tokio::test]
async fn a_key_of_a_client_is_replaced_without_a_gap_and_refused_everywhere_once_it_is_revoked() {
    for db in [Db::Sqlite, Db::Postgres] {
        let program = Program::on(db).await;
        let server = program.serve().await;
        let write = |name: &str, text: String| {
            let file = program.database.file(name);
            std::fs::write(&file, text).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let (old, new) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let mut jwk = serde_json::to_value(old.public_key().to_jwk()).unwrap();
        jwk["kid"] = json!("the operator's own");
        let file = write("old.jwk", jwk.to_string());
        let arguments =
            ["api-client", "create", "--name", "vpn", "--scopes", "users:read", "--applications", "VPN, Mail"];
        let made = program.json(&[&arguments[..], &["--public-key", &file]].concat()).await;
        assert_eq!((made.get("api_key"), &made["applications"]), (None, &json!(["Mail", "VPN"])));
        assert_eq!(made["key_thumbprint"], old.thumbprint().as_str());
        let id = text(&made, "client_id").to_owned();

        let client = program.client(&server, "users:read").await;
        let signing = |key: &SigningKey| {
            let mut client = client.clone();
            (client.id, client.signer) = (id.clone(), Some(key.clone()));
            client
        };
        signing(&old).get("/v1/users").await.ok(200);
        signing(&new).get("/v1/users").await.problem("unauthenticated");
        let file = write("new.jwk", serde_json::to_string(&new.public_key().to_jwk()).unwrap());
        let added = program.json(&["api-client", "add-key", &id, "--public-key", &file]).await;
        for key in [&old, &new] {
            signing(key).get("/v1/users").await.ok(200);
        }
        let known = program.run(&["api-client", "add-key", &id, "--public-key", &file]).await;
        assert!(known.code == Some(1) && known.stderr.contains("revoke one first"), "{known:?}");
        let secret = program.json(&["api-client", "add-key", &id]).await;
        let mut plain = client.clone();
        plain.key = text(&secret, "api_key").to_owned();
        plain.get("/v1/users").await.ok(200);

        let listed = program.json(&["api-client", "list-keys", &id]).await;
        assert_eq!(listed["keys"].as_array().unwrap().len(), 3);
        assert!(!listed.to_string().contains("csk_"), "a secret is shown once");
        let first = text(&listed["keys"][0], "key_id").to_owned();
        assert_eq!(listed["keys"][1]["key_id"], added["key_id"]);
        let revoked = program.json(&["api-client", "revoke-key", &id, &first]).await;
        assert_eq!(revoked, json!({"client_id": id, "key_id": first, "revoked": true}));
        signing(&old).get("/v1/users").await.problem("unauthenticated");
        signing(&new).get("/v1/users").await.ok(200);
        assert_eq!(program.json(&["api-client", "revoke-key", &id, &first]).await, revoked);
        assert_eq!(program.json(&["api-client", "list-keys", &id]).await["keys"][0]["state"], "revoked");

        for (name, content) in [
            ("private.jwk", json!({"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": "c"}).to_string()),
            ("wrong.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".to_owned()),
            ("nothing", String::new()),
        ] {
            let file = write(name, content);
            let refused = program.run(&["api-client", "add-key", &id, "--public-key", &file]).await;
            assert!(refused.code == Some(1) && refused.stderr.contains(name), "{refused:?}");
        }
        program.json(&["api-client", "revoke", &id]).await;
        signing(&new).get("/v1/users").await.problem("unauthenticated");
        plain.get("/v1/users").await.problem("unauthenticated");
        server.stop().await;
    }
}

#[tokio::test]
async fn the_api_key_of_a_client_that_signs_is_no_way_to_what_it_asked_under_a_profile() {
    both(async |app| {
        let stolen = app.client("challenges,enrollments").await;
        let signing = app.also_signing(&stolen).await;
        signing.enroll("ada").await;
        app.change_policy(|policy| {
            policy.applications.entry("Payroll".to_owned()).or_default().profile = Some(Profile::Nist80063b4);
        })
        .await;
        let body = json!({"user": {"external_id": "ada"}, "application": "Payroll"});
        let create = async |client: &ApiClient| {
            let request = client.request(Method::POST, "/v1/challenges").json(&body);
            client.send(request.header("idempotency-key", "sign-in-1")).await
        };
        let challenge = create(&signing).await.ok(201);
        let path = countersign_tests::path_of(&challenge);
        create(&stolen).await.problem("client-proof-required");
        assert_eq!(create(&signing).await.ok(201)["number"], challenge["number"]);
        for read in [path.clone(), format!("{path}/events")] {
            stolen.get(&read).await.problem("client-proof-required");
        }
        stolen.post_empty(&format!("{path}/cancel")).await.problem("client-proof-required");
        stolen.post(&format!("{path}/code"), json!({"code": "000000"})).await.problem("client-proof-required");
        signing.post_empty(&format!("{path}/cancel")).await.ok(200);
        // Listed, for the client may list; but nothing that opens anything.
        let listed = async |client: &ApiClient| client.get("/v1/challenges").await.ok(200)["items"][0].clone();
        assert!(listed(&signing).await.get("result_token").is_some());
        assert_eq!(listed(&stolen).await.get("result_token"), None);
        // What it asks outside of the profile is its own.
        let other = stolen.challenge("ada").await;
        stolen.post_empty(&format!("{}/cancel", countersign_tests::path_of(&other))).await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_client_that_signs_is_refused_on_both_nodes_at_once() {
    both(async |app| {
        let client = app.proving_client("users:read").await;
        let second = app.second_node().await;
        for http in [&app.http, &second.http] {
            client.at(http).get("/v1/users").await.ok(200);
        }
        app.revoke_client(&client).await;
        for http in [&second.http, &app.http] {
            client.at(http).get("/v1/users").await.problem("unauthenticated");
        }
        second.stop().await;
    })
    .await;
}
