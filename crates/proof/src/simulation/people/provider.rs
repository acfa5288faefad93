//! An identity provider, and whoever administers at it.

use countersign_core::device::StatusChange;
use countersign_proto::{
    api::{challenges::CreateChallenge, users::UserReference},
    ids::{ChallengeId, DeviceId},
    vocabulary::RevokeReason,
};

use super::{IdentityProvider, Person};
use crate::simulation::{
    node::{Reply, Request},
    world::World,
};

impl World<'_> {
    fn provider(&mut self, number: usize) -> Option<&mut IdentityProvider> {
        match self.people.get_mut(number) {
            Some(Person::IdentityProvider(provider)) => Some(provider),
            _ => None,
        }
    }

    pub(super) fn provider_acts(&mut self, number: usize) {
        let request = match self.dice.below(100) {
            0..36 => self.creation(number),
            36..58 => self.about_challenge(number),
            58..68 => self.provider(number).and_then(|provider| provider.last.clone()),
            68..80 => self.code_typed(number),
            80..86 => self.confirmation(number),
            86..92 => self.invitation(number),
            _ => self.administration(number),
        };
        let Some(request) = request else { return };
        if let (Request::Create { .. }, Some(provider)) = (&request, self.provider(number)) {
            provider.last = Some(request.clone());
        }
        self.sends(number, request);
    }

    fn creation(&mut self, number: usize) -> Option<Request> {
        let (keyed, ttl_seconds, user) = (self.dice.percent(70), 10 + self.dice.below(50), self.dice.below(2));
        let provider = self.provider(number)?;
        provider.keys += 1;
        // Now and then the same key stands for another body.
        let key = keyed.then(|| format!("key {}", provider.keys / 2));
        let client = provider.client;
        let body = CreateChallenge {
            user: UserReference { external_id: format!("user{user}") },
            application: None,
            action: None,
            message: None,
            context: None,
            details: None,
            client_reference: None,
            ttl_seconds: i64::try_from(ttl_seconds).ok(),
            device_ids: None,
            push: None,
            verification: None,
            user_verification: None,
            risk: None,
        };
        Some(Request::Create { client, key, body: Box::new(body) })
    }

    /// Somebody's challenge: mostly one's own, mostly one of the latest.
    fn some_challenge(&mut self, number: usize) -> Option<ChallengeId> {
        let whose = if self.dice.percent(90) { number } else { self.below(self.people.len()) };
        let count = self.provider(whose)?.challenges.len();
        let among = if self.dice.percent(70) { count.min(3) } else { count };
        let at = count.checked_sub(self.below(among) + 1)?;
        self.provider(whose)?.challenges.get(at).map(|(id, _)| *id)
    }

    fn about_challenge(&mut self, number: usize) -> Option<Request> {
        let (id, cancels) = (self.some_challenge(number)?, self.dice.percent(20));
        let client = self.provider(number)?.client;
        Some(if cancels { Request::Cancel(client, id) } else { Request::Read(client, id) })
    }

    fn code_typed(&mut self, number: usize) -> Option<Request> {
        let id = self.some_challenge(number)?;
        let is_right = self.dice.percent(60);
        let code = self.code_on_phone(id)?;
        let code = if is_right { code } else { "0".repeat(code.len()) };
        Some(Request::Code(self.provider(number)?.client, id, code))
    }

    fn invitation(&mut self, number: usize) -> Option<Request> {
        let user = usize::try_from(self.dice.below(2)).ok()?;
        let provider = self.provider(number)?;
        let user = *provider.users.get(user)?;
        Some(Request::Invite(provider.client, user))
    }

    fn confirmation(&mut self, number: usize) -> Option<Request> {
        let is_right = self.dice.percent(30);
        let provider = self.provider(number)?;
        let (client, id) = (provider.client, *provider.enrollments.last()?);
        let shown = self.people.iter().find_map(|person| match person {
            Person::Phone(phone) => phone.confirmation.clone().filter(|(enrollment, _)| *enrollment == id),
            Person::IdentityProvider(_) | Person::Adversary => None,
        });
        let code = shown.filter(|_| is_right).map_or("000000".to_owned(), |(_, code)| code);
        Some(Request::Confirm(client, id, code))
    }

    fn administration(&mut self, number: usize) -> Option<Request> {
        let devices = self.people.iter().filter_map(|person| match person {
            Person::Phone(phone) => Some(phone.device),
            Person::IdentityProvider(_) | Person::Adversary => None,
        });
        let devices: Vec<DeviceId> = devices.collect();
        let device = self.dice.one_of(&devices).copied();
        let provider = self.provider(number)?;
        let (client, users) = (provider.client, provider.users.clone());
        let user = self.dice.one_of(&users).copied()?;
        Some(match self.dice.below(100) {
            0..30 => Request::Status(client, device?, StatusChange::Suspend),
            30..65 => Request::Status(client, device?, StatusChange::Resume),
            65..78 => Request::Status(client, device?, StatusChange::Revoke(RevokeReason::Lost)),
            78..97 => Request::Unlock(client, user),
            _ => Request::Erase(client, user),
        })
    }

    pub(super) fn provider_hears(&mut self, number: usize, request: &Request, reply: Reply) {
        match reply {
            Reply::Created { id, number: shown } => {
                let Some(provider) = self.provider(number) else { return };
                match provider.challenges.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, known)) => *known = known.take().or(shown),
                    None => provider.challenges.push((id, shown)),
                }
            }
            Reply::Invited(enrollment, ticket) => {
                if let Some(provider) = self.provider(number) {
                    provider.enrollments.push(enrollment);
                }
                self.scanned(&ticket);
            }
            // Whoever was not answered asks again.
            Reply::Unavailable => self.sends(number, request.clone()),
            _ => {}
        }
    }
}
