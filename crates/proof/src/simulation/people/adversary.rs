//! An adversary: has every text that was signed, holds keys that were replaced and a phone of somebody else's; cannot sign
//! with a key that he does not hold.

use std::sync::Arc;

use countersign_proto::{
    ids::ChallengeId,
    vocabulary::{Decision, UvMethod},
};

use super::Person;
use crate::simulation::{node::Request, world::World};

impl World<'_> {
    pub(super) fn adversary_acts(&mut self, number: usize) {
        match self.dice.below(100) {
            0..30 => self.replays(number, false),
            30..40 => self.replays(number, true),
            40..70 => self.uses_old_key(number),
            _ => self.answers_for_others(number),
        }
    }

    fn any_challenge(&mut self) -> Option<ChallengeId> {
        let known = self.people.iter().filter_map(|person| match person {
            Person::IdentityProvider(provider) => Some(provider.challenges.iter().map(|(id, _)| *id)),
            Person::Phone(_) | Person::Adversary => None,
        });
        let known: Vec<_> = known.flatten().collect();
        self.dice.one_of(&known).copied()
    }

    /// An old text, under its own path or another's; truncated it is no text of anybody's.
    fn replays(&mut self, number: usize, truncates: bool) {
        let number_of_text = self.below(self.vault.responses.len());
        let Some(mut text) = self.vault.responses.keys().nth(number_of_text).cloned() else { return };
        let own = self.vault.responses.get(&text).and_then(|(_, claims)| claims.sub.parse().ok());
        let path = if self.dice.percent(40) { self.any_challenge() } else { own };
        if truncates {
            text.pop();
        }
        if let Some(path) = path {
            self.sends(number, Request::Respond(path, text));
        }
    }

    /// Signs with a key that was replaced, and knows the number.
    fn uses_old_key(&mut self, number: usize) {
        let stolen = self.people.iter().filter_map(|person| match person {
            Person::Phone(phone) => {
                let text = phone.inbox.values().next_back()?;
                Some((*phone.old_keys.last()?, phone.device, phone.offset, Arc::clone(text)))
            }
            Person::IdentityProvider(_) | Person::Adversary => None,
        });
        let stolen: Vec<_> = stolen.collect();
        let Some((key, device, offset, text)) = self.dice.one_of(&stolen).cloned() else { return };
        let mut claims = self.opinion(&text, device.to_string(), offset);
        (claims.decision, claims.reason) = (Decision::Approve, None);
        let signed = self.signs(key, claims);
        self.sends(number, Request::Respond(text.facts.id, signed));
    }

    /// Answers with one phone what another is asked, as itself or in the other's name.
    fn answers_for_others(&mut self, number: usize) {
        let phones: Vec<_> = (0..self.people.len()).filter(|index| self.phone(*index).is_some()).collect();
        let (own, other) = (self.dice.one_of(&phones).copied(), self.dice.one_of(&phones).copied());
        let (own, other) = (own.and_then(|own| self.phone(own)), other.and_then(|other| self.phone(other)));
        let (Some(own), Some(other)) = (own, other) else { return };
        let Some(text) = other.inbox.values().next().cloned() else { return };
        let (key, offset) = (own.uv_key.unwrap_or(own.key), own.offset);
        let iss = if self.texts.is_multiple_of(2) { own.device } else { other.device };
        let mut claims = self.opinion(&text, iss.to_string(), offset);
        claims.uv = Some(UvMethod::Face);
        let signed = self.signs(key, claims);
        self.sends(number, Request::Respond(text.facts.id, signed));
    }
}
