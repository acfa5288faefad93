//! Somebody gets a phone: protocol 4, each step asked again until it is certain.

use countersign_simulator::phone::{Candidate, EnrollOptions, Phone};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Flow, Person, Turn, certain, certain_phone};
use crate::history::{Asked, End, Op};

impl Flow {
    /// Enrolls a new person; the phone is active when this returns.
    pub(crate) async fn enroll(&mut self) -> Result<Person, Turn> {
        let external_id = self.fresh("person");
        self.enroll_again(&external_id).await
    }

    /// Enrolls one more phone of a person.
    pub(crate) async fn enroll_again(&mut self, external_id: &str) -> Result<Person, Turn> {
        let (id, ticket) = self.invite_again(external_id).await?;
        let name = self.fresh("phone");
        let (phone, code) = self.register(&id, &ticket, &name).await?;
        self.confirm(&id, &phone, &code).await?;
        let external_id = phone.registration().user.external_id.clone();
        Ok(Person { external_id, phone })
    }

    /// An enrollment of a new person: its id and ticket.
    pub(crate) async fn invite(&mut self) -> Result<(String, String), Turn> {
        let external_id = self.fresh("person");
        self.invite_again(&external_id).await
    }

    /// An enrollment of a person who may have a phone.
    async fn invite_again(&mut self, external_id: &str) -> Result<(String, String), Turn> {
        let body = json!({"user": {"external_id": external_id}});
        let idp = self.world.idp.clone();
        let asked = Asked::new(self.number, Op::CreateEnrollment, external_id);
        // Without a key: a second enrollment beside one whose reply was lost does no harm, and ends by itself.
        let create = async || idp.call(asked.clone(), Method::POST, "/v1/enrollments", Some(&body)).await;
        let End::Ok { said, .. } = certain(create).await? else { return Err(Turn::Refused) };
        let member = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(Turn::Refused);
        Ok((member("id")?, member("ticket")?))
    }

    /// A phone scans the ticket; the phone, and the code that it shows.
    pub(crate) async fn register(&self, id: &str, ticket: &str, name: &str) -> Result<(Phone, String), Turn> {
        let server = self.world.server.clone();
        let registrations = server.endpoints().registrations.clone();
        let candidate = Candidate::new(server, ticket, EnrollOptions::named(name), self.surroundings.clone());
        let candidate = candidate.map_err(|_| Turn::Refused)?;
        let http = self.http();
        let asked = Asked::new(self.number, Op::Register, id);
        let register =
            async || http.send(asked.clone(), http.artefact(Method::POST, &registrations, candidate.token())).await;
        let End::Ok { .. } = certain(register).await? else { return Err(Turn::Refused) };
        // The same bytes once more: the same reply, from which the phone makes its record.
        let phone = certain_phone(async || candidate.register().await).await?;
        let code = phone.registration().confirmation_code.clone().ok_or(Turn::Refused)?;
        Ok((phone, code))
    }

    /// Somebody enrolls who types two other codes first: each is counted, whatever else it is told.
    pub(crate) async fn mistype_code(&mut self) -> Result<(), Turn> {
        let (id, ticket) = self.invite().await?;
        let name = self.fresh("phone");
        let (phone, code) = self.register(&id, &ticket, &name).await?;
        let wrong: String = code.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
        let (path, body) = (format!("/v1/enrollments/{id}/confirmation"), json!({"code": wrong}));
        let idp = self.world.idp.clone();
        let asked = Asked::new(self.number, Op::Confirm, &id).device(phone.id().to_string()).note("wrong");
        for _ in 0..2 {
            certain(async || idp.call(asked.clone(), Method::POST, &path, Some(&body)).await).await?;
        }
        self.confirm(&id, &phone, &code).await
    }

    /// The person types it.
    async fn confirm(&self, id: &str, phone: &Phone, code: &str) -> Result<(), Turn> {
        let (path, body) = (format!("/v1/enrollments/{id}/confirmation"), json!({"code": code}));
        let idp = self.world.idp.clone();
        let asked = Asked::new(self.number, Op::Confirm, id).device(phone.id().to_string());
        let mut was_open = false;
        let end = certain(async || {
            let end = idp.call(asked.clone(), Method::POST, &path, Some(&body)).await;
            was_open |= matches!(end, End::Unknown { .. });
            end
        });
        match end.await? {
            End::Ok { .. } => Ok(()),
            // The first one was taken, though its reply was lost: then the phone is active.
            End::Refused { .. } if was_open => certain_phone(async || phone.fetch_self().await).await.map(drop),
            _ => Err(Turn::Refused),
        }
    }
}
