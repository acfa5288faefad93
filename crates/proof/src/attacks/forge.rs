//! `countersign-proof forge`: somebody writes to the database behind the server's back, and would have an approval of it.
//!
//! On SQLite, in the file of a server that runs. An answer of no is made a yes; the approval of one sign-in is copied to
//! another; a stranger's key is put in the place of a phone's, and signs. Whatever the server makes of such rows, nobody
//! may read an approval that no phone has given, and no answer of the wrong key may be taken (docs/security.md). To forge
//! something more: a method of [`Forger`], its line in `run`. `tests/it/forgery.rs` and `tests/it/audit/tampering.rs` go
//! much further; this is what a stranger can repeat with one program.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use countersign_proto::jose::{Kind, claims::ResponseClaims};
use countersign_simulator::phone::Answer;
use serde_json::Value;
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use super::frame::Common;
use crate::{
    ProofError,
    dice::Dice,
    flows::{Asking, Flow, Person, Turn, World},
    history::{End, Op},
    report::Report,
    rig::{Db, Rig},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How often each forgery is tried.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

pub(crate) async fn run(args: Args) -> Result<Report, ProofError> {
    let mut report = args.common.report("forge");
    let rig = Rig::new(&args.common.rig, Db::Sqlite).await?;
    let node = rig.start().await?;
    let world = World::begin(&rig, None).await?;
    let database = SqliteConnectOptions::from_str(&rig.database.url).map_err(failed)?;
    // A thief asks for no consistency.
    let database = database.foreign_keys(false).busy_timeout(Duration::from_secs(10)).disable_statement_logging();
    let database = database.connect().await.map_err(failed)?;
    let mut forger = Forger { flow: Flow::new(Arc::clone(&world), 0, Dice::new(args.common.seed)), database };
    for _ in 0..args.rounds {
        for found in [forger.no_to_yes().await?, forger.copied().await?, forger.key().await?] {
            report.count("forgeries", 1);
            report.absorb(found);
        }
    }
    args.common.end(&rig, [node], &mut report).await?;
    rig.finish().await?;
    Ok(report)
}

/// Who may write to the database, and has no key of the server's.
struct Forger {
    flow: Flow,
    database: SqliteConnection,
}

impl Forger {
    /// What the person has denied is approved in the row.
    async fn no_to_yes(&mut self) -> Result<Option<String>, ProofError> {
        let (_, denied) = self.answered(false).await?;
        let forge = "UPDATE challenges SET status = 'approved', reason = NULL WHERE id = $1 AND status = 'denied'";
        self.write(forge, &[uuid(&denied.id)?]).await?;
        Ok(self.reads_approved(&denied.id).await.then(|| format!("{} was denied, and reads as approved", denied.id)))
    }

    /// The person's approval of one sign-in is copied to another one, that waits.
    async fn copied(&mut self) -> Result<Option<String>, ProofError> {
        let (person, approved) = self.answered(true).await?;
        let waiting = self.flow.ask(&person, 300).await.map_err(unprepared)?;
        let forge = "UPDATE challenges SET (status, decided_at, device_id, response, binding, number) =
                (SELECT status, decided_at, device_id, response, binding, NULL FROM challenges WHERE id = $2)
            WHERE id = $1 AND status = 'pending'";
        self.write(forge, &[uuid(&waiting.id)?, uuid(&approved.id)?]).await?;
        let id = waiting.id;
        Ok(self.reads_approved(&id).await.then(|| format!("{id} was not answered, and reads as approved")))
    }

    /// A stranger's key stands where the phone's was, and signs in its name.
    async fn key(&mut self) -> Result<Option<String>, ProofError> {
        let (person, stranger) =
            (self.flow.enroll().await.map_err(unprepared)?, self.flow.enroll().await.map_err(unprepared)?);
        let asking = self.flow.ask(&person, 300).await.map_err(unprepared)?;
        let challenge = self.flow.pull(&person, &asking).await.map_err(unprepared)?;
        let (own, strange) = (person.device(), stranger.device());
        let key = sqlx::query("DELETE FROM device_keys WHERE device_id = $1 RETURNING thumbprint, public_key");
        let key = key.bind(strange.as_uuid()).fetch_one(&mut self.database).await.map_err(failed)?;
        let (thumbprint, public_key): (String, Vec<u8>) = (key.get("thumbprint"), key.get("public_key"));
        for forge in [
            "UPDATE devices SET key_thumbprint = 'nobody' WHERE id = $3 AND $1 <> '' AND length($2) > 0",
            "UPDATE device_keys SET thumbprint = $1, public_key = $2 WHERE device_id = $4 AND $3 <> $4",
            "UPDATE devices SET key_thumbprint = $1 WHERE id = $4 AND $3 <> $4 AND length($2) > 0",
        ] {
            let forge = sqlx::query(forge).bind(&thumbprint).bind(&public_key);
            let forged = forge.bind(strange.as_uuid()).bind(own.as_uuid()).execute(&mut self.database).await;
            one(forged.map_err(failed)?.rows_affected())?;
        }
        let claims =
            stranger.phone.response_claims(&asking.id, challenge.text(), &Answer::approve(Some(&asking.number)));
        let claims = ResponseClaims { iss: own.to_string(), ..claims };
        let token = stranger.phone.sign(Kind::Response, &claims);
        let token = token.map_err(|error| ProofError::Rig(error.to_string()))?;
        let sent = self.flow.post_answer(Op::Trick, &asking.id, &person.phone, &token, "by a forged key").await;
        let is_taken = matches!(sent, Ok(End::Ok { .. })) || self.reads_approved(&asking.id).await;
        Ok(is_taken.then(|| format!("{} was approved by a key that was only written into the database", asking.id)))
    }

    /// Somebody who has answered.
    async fn answered(&mut self, is_yes: bool) -> Result<(Person, Asking), ProofError> {
        let person = self.flow.enroll().await.map_err(unprepared)?;
        let asking = self.flow.answered(&person, is_yes).await.map_err(unprepared)?;
        Ok((person, asking))
    }

    /// Changes one row.
    async fn write(&mut self, forge: &'static str, ids: &[Uuid]) -> Result<(), ProofError> {
        let forge = ids.iter().fold(sqlx::query(forge), |forge, id| forge.bind(*id));
        one(forge.execute(&mut self.database).await.map_err(failed)?.rows_affected())
    }

    async fn reads_approved(&self, id: &str) -> bool {
        let shown = self.flow.idp().read_json(&format!("/v1/challenges/{id}")).await;
        shown.is_ok_and(|shown| shown.get("status").and_then(Value::as_str) == Some("approved"))
    }
}

/// Otherwise nothing was forged, and nothing is proven.
fn one(rows: u64) -> Result<(), ProofError> {
    if rows == 1 { Ok(()) } else { Err(ProofError::Rig(format!("{rows} rows were forged instead of one"))) }
}

fn uuid(id: &str) -> Result<Uuid, ProofError> {
    Uuid::parse_str(id).map_err(|error| ProofError::Rig(format!("{id}: {error}")))
}

fn failed(error: sqlx::Error) -> ProofError {
    ProofError::Rig(format!("the forger's own connection: {error}"))
}

fn unprepared(why: Turn) -> ProofError {
    ProofError::Rig(format!("a forgery could not be prepared: {why:?}"))
}
