//! A server that signs users in as ours does, in memory, or that does one thing wrong: what the load generator must
//! notice. To add a fault: a variant of [`Fault`], and where it shows.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use countersign_core::clock::Clock as _;
use countersign_proto::{
    evidence::Evidence,
    ids::ChallengeId,
    jose::{HeaderKey, Jwks, Kind, PublicKey, ServerJwk, Unverified, claims::ResponseClaims},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    sample::{Sample, id},
    system::SystemClock,
    target::Server,
};

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// The evidence is of another challenge.
    OldEvidence,
    /// Somebody else's key signed the result.
    ForeignResult,
    /// Approved, and no evidence.
    NoEvidence,
    /// The device's approval comes to a denial.
    Denies,
    /// It says approved before the device has answered.
    Hasty,
    /// Creation fails.
    Errors,
    /// Every second creation is shed.
    Sheds,
}

/// The server and the file with a key.
pub(crate) struct FalseServer {
    address: SocketAddr,
    folder: TempDir,
}

struct Device {
    sample: Sample,
    key: PublicKey,
    binding: String,
}

struct Challenge {
    device_id: String,
    id: ChallengeId,
    jws: String,
    response: Option<String>,
}

struct State {
    fault: Fault,
    root: Sample,
    invited: HashMap<String, Sample>,
    devices: HashMap<String, Device>,
    challenges: Vec<Challenge>,
    created: u32,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl FalseServer {
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let root = Sample::new(&format!("http://{address}")).unwrap();
        let (invited, devices, challenges) = Default::default();
        let state = Mutex::new(State { fault, root, invited, devices, challenges, created: 0 });
        let shared = Arc::new(Shared { state, changed: watch::channel(()).0 });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("key"), "csk_test\n").unwrap();
        Self { address, folder }
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// As on the command line.
    pub(crate) fn arguments(&self) -> Server {
        Server { url: self.address, device_url: None, api_key_file: self.key_file(), pid: Some(std::process::id()) }
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let is_held = head.uri.query().is_some_and(|query| query.contains("wait=50"));
    let mut changes = shared.changed.subscribe();
    loop {
        changes.borrow_and_update();
        let (status, reply) = {
            let mut state = shared.state.lock().unwrap();
            match parts.as_slice() {
                [".well-known", "countersign"] => state.discovery(),
                [".well-known", "jwks.json"] => state.jwks(),
                ["v1", "enrollments"] => state.invite(&body),
                ["v1", "device", "registrations"] => state.register(&body),
                ["v1", "challenges"] => state.create(&body),
                ["v1", "challenges", id] => state.show(id),
                ["v1", "device", "challenges"] => state.inbox(head.headers["authorization"].to_str().unwrap()),
                ["v1", "device", "challenges", id, "response"] => state.respond(id, &body),
                _ => (404, json!({"type": "/problems/not-found"})),
            }
        };
        let is_empty = reply["status"] == "pending" || reply["challenges"] == json!([]);
        if is_held && is_empty {
            changes.changed().await.unwrap();
            continue;
        }
        if head.method == "POST" {
            shared.changed.send_replace(());
        }
        let mut response = Response::builder().status(status);
        if status == 503 {
            response = response.header("retry-after", "1");
        }
        return Ok(response.body(Full::new(reply.to_string().into())).unwrap());
    }
}

impl State {
    fn discovery(&self) -> (u16, Value) {
        let issuer = &self.root.issuer;
        let endpoints = json!({"registrations": "", "device": "", "device_challenges": "", "push": "",
            "deregistration": "", "dispute": ""});
        let limits = json!({"max_artifact_bytes": 8192, "max_wait_seconds": 50, "max_ttl_seconds": 600});
        let reply = json!({"issuer": issuer, "jwks_uri": "", "api_version": "v1", "server_time": SystemClock.now(),
            "endpoints": endpoints, "vapid_public_key": "", "limits": limits});
        (200, reply)
    }

    fn jwks(&self) -> (u16, Value) {
        let keys = vec![ServerJwk::of(&self.root.server_key.public_key())];
        (200, serde_json::to_value(Jwks { keys }).unwrap())
    }

    fn invite(&mut self, body: &[u8]) -> (u16, Value) {
        let body: Value = serde_json::from_slice(body).unwrap();
        let external_id = body["user"]["external_id"].as_str().unwrap().to_owned();
        let sample = Sample {
            issuer: self.root.issuer.clone(),
            server_key: self.root.server_key.clone(),
            user_id: id(),
            device_id: id(),
            external_id,
            ..self.root
        };
        let ticket = sample.device_id.to_string();
        self.invited.insert(ticket.clone(), sample);
        (201, json!({"id": id::<()>(), "ticket": ticket}))
    }

    fn register(&mut self, body: &[u8]) -> (u16, Value) {
        let verified = Unverified::parse(Kind::Registration, body).unwrap();
        let HeaderKey::Jwk(key) = verified.key().clone() else { panic!("no key") };
        let claims: countersign_proto::jose::claims::RegistrationClaims =
            verified.verify_with_header_key().unwrap().claims().unwrap();
        let sample = self.invited.remove(&claims.ticket).unwrap();
        let (device_id, binding) = (sample.device_id, sample.binding(&key, SystemClock.now()).unwrap());
        self.devices.insert(device_id.to_string(), Device { sample, key, binding });
        (201, json!({"device_id": device_id}))
    }

    fn create(&mut self, body: &[u8]) -> (u16, Value) {
        self.created += 1;
        if self.fault == Fault::Errors {
            return (500, json!({"type": "/problems/internal"}));
        }
        if self.fault == Fault::Sheds && self.created.is_multiple_of(2) {
            return (503, json!({"type": "/problems/unavailable"}));
        }
        let body: Value = serde_json::from_slice(body).unwrap();
        let device = self.devices.values().find(|device| body["user"]["external_id"] == device.sample.external_id);
        let sample = &device.unwrap().sample;
        let (id, now) = (id(), SystemClock.now());
        let jws = sample.challenge(id, now).unwrap();
        let reply = serde_json::to_value(sample.created(id, now)).unwrap();
        let device_id = sample.device_id.to_string();
        self.challenges.push(Challenge { device_id, id, jws, response: None });
        (201, reply)
    }

    fn inbox(&self, authorization: &str) -> (u16, Value) {
        let proof = Unverified::parse(Kind::Proof, authorization.strip_prefix("DeviceProof ").unwrap()).unwrap();
        let kid = proof.key().thumbprint();
        let device = self.devices.values().find(|device| device.key.thumbprint() == kid).unwrap();
        proof.verify(&device.key).unwrap();
        let device_id = device.sample.device_id.to_string();
        let challenge =
            self.challenges.iter().find(|challenge| challenge.device_id == device_id && challenge.response.is_none());
        let reply = match challenge {
            Some(challenge) => device.sample.inbox(challenge.id, &challenge.jws, SystemClock.now()),
            None => return (200, json!({"challenges": []})),
        };
        (200, serde_json::to_value(reply).unwrap())
    }

    fn respond(&mut self, id: &str, body: &[u8]) -> (u16, Value) {
        let challenge = self.challenges.iter_mut().find(|challenge| challenge.id.to_string() == id).unwrap();
        let device = &self.devices[&challenge.device_id];
        let verified = Unverified::parse(Kind::Response, body).unwrap().verify(&device.key).unwrap();
        let _claims: ResponseClaims = verified.claims().unwrap();
        challenge.response = Some(String::from_utf8(body.to_vec()).unwrap());
        let mut reply = serde_json::to_value(device.sample.recorded(challenge.id, SystemClock.now())).unwrap();
        if self.fault == Fault::Denies {
            reply["status"] = "denied".into();
        }
        (200, reply)
    }

    fn show(&self, id: &str) -> (u16, Value) {
        let challenge = self.challenges.iter().find(|challenge| challenge.id.to_string() == id).unwrap();
        let device = &self.devices[&challenge.device_id];
        let now = SystemClock.now();
        let Some(response) = challenge.response.clone() else {
            let mut reply = serde_json::to_value(device.sample.created(challenge.id, now).challenge).unwrap();
            if self.fault == Fault::Hasty {
                reply["status"] = "approved".into();
            }
            return (200, reply);
        };
        let first = self.challenges.first().unwrap();
        let jws = if self.fault == Fault::OldEvidence { &first.jws } else { &challenge.jws };
        let evidence = Evidence { challenge: jws.clone(), response, binding: device.binding.clone() };
        let mut reply = serde_json::to_value(device.sample.approved(challenge.id, evidence, now).unwrap()).unwrap();
        match self.fault {
            Fault::NoEvidence => drop(reply.as_object_mut().unwrap().remove("evidence")),
            Fault::ForeignResult => {
                let other = Sample::new(&self.root.issuer).unwrap();
                reply["result_token"] = other.result(challenge.id, now).unwrap().into();
            }
            Fault::Denies => reply["status"] = "denied".into(),
            _ => {}
        }
        (200, reply)
    }
}
