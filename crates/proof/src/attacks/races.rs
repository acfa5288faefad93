//! `countersign-proof races`: several ask for the same thing at the same moment, through several processes.
//!
//! On PostgreSQL through as many nodes as there are racers, on SQLite, which has one node, through one. Everything is
//! prepared first; the racers then begin together. Each race has what must be true of its replies, below; the history as
//! a whole is judged after each batch ([`crate::check`]). To race one more thing: a variant of [`Race`], its method.

use std::{sync::Arc, time::Duration};

use countersign_proto::{jose::Kind, vocabulary::Decision};
use countersign_simulator::phone::{Answer, Candidate, EnrollOptions, VerifiedChallenge};
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::frame::{On, in_batches};
use crate::{
    ProofError,
    dice::Dice,
    flows::{Flow, Person, Turn, World},
    history::{Asked, End, Op},
    report::Report,
    rig::{Db, Node, Rig, free_port},
    system::pause,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    on: On,
    /// Races of each kind.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Races of each kind on one database.
    #[arg(long, default_value_t = 500)]
    batch: u64,
}

/// What is raced for.
#[derive(Debug, Clone, Copy)]
enum Race {
    Challenge,
    Ticket,
    Code,
    IdempotencyKey,
    Device,
    Barrier,
}

const RACES: [Race; 6] = [Race::Challenge, Race::Ticket, Race::Code, Race::IdempotencyKey, Race::Device, Race::Barrier];
/// As many as race, on a database that several nodes share.
const NODES: usize = 3;
/// Answers that are under way while a phone is revoked, and by how much each is later than the one before.
const LANES: usize = 8;
const STAGGER: Duration = Duration::from_millis(2);

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.on.report("races");
    let dice = Dice::new(args.on.common.seed);
    in_batches(args.rounds, args.batch, &dice, async |rounds, dice| batch(&args, rounds, dice, &mut report).await)
        .await?;
    Ok(report)
}

async fn batch(args: &Args, rounds: u64, dice: Dice, report: &mut Report) -> Result<(), ProofError> {
    let rig = Rig::new(&args.on.common.rig, args.on.database).await?;
    let mut nodes = vec![rig.start().await?];
    while args.on.database == Db::Postgres && nodes.len() < NODES {
        nodes.push(rig.start_at(free_port()?).await?);
    }
    report.figure("processes", nodes.len());
    let world = World::begin(&rig, None).await?;
    let mut track = Track { flow: Flow::new(Arc::clone(&world), 0, dice), bases: bases(&nodes), rig: &rig };
    for _ in 0..rounds {
        for race in RACES {
            match track.run(race).await {
                Ok(violations) => {
                    report.count(&format!("{race:?} raced"), 1);
                    report.absorb(violations);
                }
                Err(why) => report.violated(format!("{race:?}: could not be prepared: {why:?}")),
            }
        }
    }
    args.on.common.conclude(&rig, &world, None, nodes, report).await?;
    rig.finish().await
}

fn bases(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| format!("http://127.0.0.1:{}", node.port)).collect()
}

/// Where the races are run.
struct Track<'r> {
    flow: Flow,
    bases: Vec<String>,
    rig: &'r Rig,
}

impl Track<'_> {
    async fn run(&mut self, race: Race) -> Result<Vec<String>, Turn> {
        match race {
            Race::Challenge => self.challenge().await,
            Race::Ticket => self.ticket().await,
            Race::Code => self.code().await,
            Race::IdempotencyKey => self.idempotency_key().await,
            Race::Device => self.device().await,
            Race::Barrier => self.barrier().await,
        }
    }

    /// The same address at the racer's node.
    fn at(&self, racer: usize, url: &str) -> String {
        let base = self.bases.get(racer % self.bases.len().max(1)).map_or("", String::as_str);
        url.replacen(&self.rig.url(), base, 1)
    }

    /// All at once; what became of each, in their order.
    async fn race(&self, racers: Vec<(Asked, RequestBuilder)>) -> Vec<End> {
        let http = self.flow.http();
        join_all(racers.into_iter().map(|(asked, request)| http.send(asked, request))).await
    }

    /// The caller's request at the racer's node.
    fn call(&self, racer: usize, method: Method, path: &str, body: Option<&Value>) -> RequestBuilder {
        let idp = self.flow.idp();
        let base = self.at(racer, &idp.base);
        idp.at(&base).request(method, path, body)
    }

    fn response(
        &self,
        racer: usize,
        person: &Person,
        challenge: &VerifiedChallenge,
        answer: &Answer,
    ) -> Result<(Asked, RequestBuilder), Turn> {
        let (id, phone) = (challenge.id().to_string(), &person.phone);
        let claims = phone.response_claims(&id, challenge.text(), answer);
        let token = phone.sign(Kind::Response, &claims).map_err(|_| Turn::Refused)?;
        let url = self.at(racer, &format!("{}/{id}/response", phone.server().endpoints().device_challenges));
        let op = if answer.decision == Decision::Approve { Op::Approve } else { Op::Deny };
        let asked = Asked::new(0, op, id).device(phone.id().to_string());
        Ok((asked, self.flow.http().artefact(Method::POST, &url, &token)))
    }

    /// Yes, no, and never mind: one of them is what happened.
    async fn challenge(&mut self) -> Result<Vec<String>, Turn> {
        let person = self.flow.somebody().await?;
        let asking = self.flow.ask(&person, 300).await?;
        let challenge = self.flow.pull(&person, &asking).await?;
        let path = format!("/v1/challenges/{}/cancel", asking.id);
        let racers = vec![
            self.response(0, &person, &challenge, &Answer::approve(Some(&asking.number)))?,
            self.response(1, &person, &challenge, &Answer::deny(None))?,
            (Asked::new(0, Op::CancelChallenge, &asking.id), self.call(2, Method::POST, &path, None)),
        ];
        let ends = self.race(racers).await;
        self.flow.read(&asking.id).await?;
        let own = ["approved", "denied", "cancelled"];
        let got = |(end, own): (&End, &str)| matches!(end, End::Ok { said, .. } if status(said) == Some(own));
        let winners = ends.iter().zip(own).filter(|racer| got(*racer)).count();
        Ok(if winners == 1 {
            Vec::new()
        } else {
            vec![format!("challenge {}: {winners} winners: {ends:?}", asking.id)]
        })
    }

    /// Three phones scan one code: it becomes one of them.
    async fn ticket(&mut self) -> Result<Vec<String>, Turn> {
        let (id, ticket) = self.flow.invite().await?;
        let server = self.flow.server();
        let url = server.endpoints().registrations.clone();
        let mut racers = Vec::new();
        for racer in 0..NODES {
            let candidate =
                Candidate::new(server.clone(), &ticket, EnrollOptions::named("racer"), self.flow.surroundings());
            let candidate = candidate.map_err(|_| Turn::Refused)?;
            let request = self.flow.http().artefact(Method::POST, &self.at(racer, &url), candidate.token());
            racers.push((Asked::new(0, Op::Register, &id), request));
        }
        let ends = self.race(racers).await;
        let winners = ends.iter().filter(|end| matches!(end, End::Ok { .. })).count();
        Ok(if winners == 1 { Vec::new() } else { vec![format!("enrollment {id}: {winners} devices: {ends:?}")] })
    }

    /// The code is typed in three windows: the device is confirmed, once.
    async fn code(&mut self) -> Result<Vec<String>, Turn> {
        let (id, ticket) = self.flow.invite().await?;
        let (phone, code) = self.flow.register(&id, &ticket, "racer").await?;
        let (path, body) = (format!("/v1/enrollments/{id}/confirmation"), json!({"code": code}));
        let asked = Asked::new(0, Op::Confirm, &id).device(phone.id().to_string());
        let racers = (0..NODES).map(|racer| (asked.clone(), self.call(racer, Method::POST, &path, Some(&body))));
        let ends = self.race(racers.collect()).await;
        let winners = ends.iter().filter(|end| matches!(end, End::Ok { .. })).count();
        Ok(if winners >= 1 { Vec::new() } else { vec![format!("enrollment {id}: nobody confirmed it: {ends:?}")] })
    }

    /// One sign-in, asked for three times: one challenge, three times told.
    async fn idempotency_key(&mut self) -> Result<Vec<String>, Turn> {
        let person = self.flow.somebody().await?;
        let key = self.flow.fresh("race");
        let body = json!({"user": {"external_id": person.external_id}, "push": false});
        let racers = (0..NODES).map(|racer| {
            let request = self.call(racer, Method::POST, "/v1/challenges", Some(&body));
            (Asked::new(0, Op::CreateChallenge, &key), request.header("idempotency-key", &key))
        });
        let ends = self.race(racers.collect()).await;
        let id = |end: &End| match end {
            End::Ok { said, .. } => said.get("id")?.as_str().map(str::to_owned),
            _ => None,
        };
        let ids: Vec<_> = ends.iter().map(id).collect();
        let first = ids.first().cloned().flatten();
        let is_one = first.is_some() && ids.iter().all(|id| *id == first);
        if let Some(first) = first {
            self.flow.withdraw(&first).await?;
        }
        Ok(if is_one { Vec::new() } else { vec![format!("the key {key}: {ids:?}")] })
    }

    /// A phone is revoked while it answers and pulls: whatever comes after is refused.
    async fn device(&mut self) -> Result<Vec<String>, Turn> {
        let person = self.flow.enroll().await?;
        let asking = self.flow.ask(&person, 300).await?;
        let challenge = self.flow.pull(&person, &asking).await?;
        let device = person.device().to_string();
        let url = person.phone.server().endpoints().device_challenges.clone();
        let proof = person.phone.proof("GET", &url).map_err(|_| Turn::Refused)?;
        let answer = Answer::approve(Some(&asking.number));
        let path = format!("/v1/devices/{device}");
        let revoke = Asked::new(0, Op::RevokeDevice, &device).device(&device);
        let pull = Asked::new(0, Op::Pull, &device).device(&device);
        let racers = vec![
            (revoke, self.call(0, Method::DELETE, &path, None)),
            self.response(1, &person, &challenge, &answer)?,
            (pull, self.flow.http().request(Method::GET, &self.at(2, &url)).header(AUTHORIZATION, proof)),
        ];
        let ends = self.race(racers).await;
        let late = vec![self.response(2, &person, &challenge, &answer)?];
        let after = self.race(late).await;
        self.flow.read(&asking.id).await?;
        let is_revoked = matches!(ends.first(), Some(End::Ok { .. }));
        let is_refused = matches!(after.as_slice(), [End::Refused { .. }]);
        let holds = is_revoked && is_refused;
        Ok(if holds { Vec::new() } else { vec![format!("device {device}: {ends:?}, then {after:?}")] })
    }

    /// One of two phones is revoked while it answers through the other nodes, one answer after the other. Whoever looks
    /// once it is revoked sees which of them came before; the history's judge knows what that means for the others.
    async fn barrier(&mut self) -> Result<Vec<String>, Turn> {
        let person = self.flow.enroll().await?;
        self.flow.enroll_again(&person.external_id).await?;
        let (mut answers, mut looks) = (Vec::new(), Vec::new());
        for racer in 0..LANES {
            let asking = self.flow.ask(&person, 300).await?;
            let challenge = self.flow.pull(&person, &asking).await?;
            answers.push(self.response(1 + racer, &person, &challenge, &Answer::approve(Some(&asking.number)))?);
            let path = format!("/v1/challenges/{}", asking.id);
            looks.push((Asked::new(0, Op::ReadChallenge, &asking.id), self.call(racer, Method::GET, &path, None)));
        }
        let (device, http) = (person.device().to_string(), self.flow.http());
        let revoke = Asked::new(0, Op::RevokeDevice, &device).device(&device);
        let request = self.call(0, Method::DELETE, &format!("/v1/devices/{device}"), None);
        let revoke = async {
            let revoked = http.send(revoke, request).await;
            self.race(looks).await;
            revoked
        };
        let answer = |(number, (asked, request)): (u64, (Asked, RequestBuilder))| {
            let http = &http;
            async move {
                pause(STAGGER.saturating_mul(u32::try_from(number).unwrap_or(0))).await;
                http.send(asked, request).await
            }
        };
        let (revoked, _) = tokio::join!(revoke, join_all((0..).zip(answers).map(answer)));
        let is_revoked = matches!(revoked, End::Ok { .. });
        Ok(if is_revoked { Vec::new() } else { vec![format!("device {device}: {revoked:?}")] })
    }
}

fn status(said: &Value) -> Option<&str> {
    said.get("status")?.as_str()
}
