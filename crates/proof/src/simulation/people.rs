//! Who calls: identity providers (which are administrators, too), phones with their owners, and an adversary who has read
//! everything that was ever sent, holds keys that were replaced, and owns a phone of his own.
//!
//! They remember what they heard, repeat themselves when it suits them, and make mistakes. Nothing here knows what is in
//! the store. To add a habit: a line in the person's turn.

mod adversary;
mod phone;
mod provider;

use std::{collections::BTreeMap, sync::Arc};

use countersign_proto::{
    ids::{ChallengeId, DeviceId, EnrollmentId, UserId},
    timestamp::Timestamp,
};

use super::{
    node::{Client, Reply, Request},
    tables::Text,
    world::World,
};

/// Somebody.
#[derive(Debug)]
pub(crate) enum Person {
    IdentityProvider(IdentityProvider),
    Phone(Phone),
    Adversary,
}

/// A caller with an API key of one organisation.
#[derive(Debug)]
pub(crate) struct IdentityProvider {
    pub(crate) client: Client,
    pub(crate) users: Vec<UserId>,
    /// With the number on the screen.
    pub(crate) challenges: Vec<(ChallengeId, Option<String>)>,
    pub(crate) last: Option<Request>,
    pub(crate) keys: u64,
    pub(crate) enrollments: Vec<EnrollmentId>,
}

impl IdentityProvider {
    pub(crate) fn new(client: Client) -> Self {
        let (users, challenges, enrollments) = (Vec::new(), Vec::new(), Vec::new());
        Self { client, users, challenges, last: None, keys: 0, enrollments }
    }
}

/// An authenticator and the person who holds it.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) device: DeviceId,
    /// The numbers of its keys.
    pub(crate) key: usize,
    pub(crate) uv_key: Option<usize>,
    /// Whoever had a copy of these still has it.
    pub(crate) old_keys: Vec<usize>,
    /// A rotation under way: its text and the next key.
    pub(crate) next_key: Option<(String, usize)>,
    pub(crate) inbox: BTreeMap<ChallengeId, Arc<Text>>,
    pub(crate) said: Vec<(ChallengeId, String)>,
    /// The codes that it shows.
    pub(crate) codes: BTreeMap<ChallengeId, String>,
    /// How far its clock is from the true time: what a server said last.
    pub(crate) offset: i64,
    /// A registration under way, with the ticket that was scanned.
    pub(crate) ticket: Option<String>,
    /// What it shows to confirm its enrollment.
    pub(crate) confirmation: Option<(EnrollmentId, String)>,
}

impl Phone {
    pub(crate) fn new(device: DeviceId, key: usize) -> Self {
        Self {
            device,
            key,
            uv_key: None,
            old_keys: Vec::new(),
            next_key: None,
            inbox: BTreeMap::new(),
            said: Vec::new(),
            codes: BTreeMap::new(),
            offset: 0,
            ticket: None,
            confirmation: None,
        }
    }
}

impl World<'_> {
    /// Somebody's turn.
    pub(crate) fn acts(&mut self, number: usize) {
        match self.people.get(number) {
            Some(Person::IdentityProvider(_)) => self.provider_acts(number),
            Some(Person::Phone(_)) => self.phone_acts(number),
            Some(Person::Adversary) => self.adversary_acts(number),
            None => {}
        }
    }

    /// Somebody hears a reply to what they asked.
    pub(crate) fn hears(&mut self, number: usize, request: Request, reply: Reply) {
        match self.people.get(number) {
            Some(Person::IdentityProvider(_)) => self.provider_hears(number, &request, reply),
            Some(Person::Phone(_)) => self.phone_hears(number, &request, reply),
            Some(Person::Adversary) | None => {}
        }
    }

    /// What is on somebody's screen: the number of a challenge.
    pub(crate) fn number_on_screen(&self, id: ChallengeId) -> Option<String> {
        self.people.iter().find_map(|person| match person {
            Person::IdentityProvider(provider) => {
                provider.challenges.iter().find(|(known, _)| *known == id).and_then(|(_, number)| number.clone())
            }
            Person::Phone(_) | Person::Adversary => None,
        })
    }

    /// The code that some phone shows for a challenge.
    pub(crate) fn code_on_phone(&self, id: ChallengeId) -> Option<String> {
        self.people.iter().find_map(|person| match person {
            Person::Phone(phone) => phone.codes.get(&id).cloned(),
            Person::IdentityProvider(_) | Person::Adversary => None,
        })
    }

    pub(crate) fn phone(&self, number: usize) -> Option<&Phone> {
        match self.people.get(number) {
            Some(Person::Phone(phone)) => Some(phone),
            _ => None,
        }
    }

    pub(crate) fn phone_mut(&mut self, number: usize) -> Option<&mut Phone> {
        match self.people.get_mut(number) {
            Some(Person::Phone(phone)) => Some(phone),
            _ => None,
        }
    }

    /// A text of its own for each signature.
    pub(crate) fn text(&mut self, kind: &str) -> String {
        self.texts += 1;
        format!("{kind} {}.", self.texts)
    }

    pub(crate) fn phone_seconds(&self, offset: i64) -> i64 {
        Timestamp::from_millis(self.time + offset).as_seconds()
    }
}
