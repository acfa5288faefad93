//! A phone: pulls, answers, repeats itself, changes its key; a new one scans a ticket.

use std::sync::Arc;

use countersign_proto::{
    jose::{
        Kind,
        claims::{DeviceDescription, KeyProofClaims, KeyRotationClaims, RegistrationClaims, ResponseClaims},
        sha256,
    },
    push::PushBinding,
    vocabulary::{Decision, DenyReason, Platform, UvMethod, VerificationMode},
};

use super::{Person, Phone};
use crate::simulation::{
    node::{ISSUER, Reply, Request},
    tables::Text,
    world::World,
};

/// What a phone lists at most.
const LISTED: usize = 4;

impl World<'_> {
    pub(super) fn phone_acts(&mut self, number: usize) {
        let Some(phone) = self.phone(number) else { return };
        if let Some(ticket) = phone.ticket.clone() {
            return self.registers(number, &ticket);
        }
        match self.dice.below(100) {
            0..40 => self.pulls(number),
            40..82 => self.answers_one(number),
            82..95 => self.repeats(number),
            _ => self.rotates(number),
        }
    }

    fn pulls(&mut self, number: usize) {
        let key = self.phone(number).and_then(|phone| self.keys.get(phone.key));
        if let Some(thumbprint) = key.map(|key| key.thumbprint.clone()) {
            self.sends(number, Request::Inbox(thumbprint));
        }
    }

    fn answers_one(&mut self, number: usize) {
        let texts: Vec<_> = self.phone(number).map(|phone| phone.inbox.values().cloned().collect()).unwrap_or_default();
        let Some(text) = self.dice.one_of(&texts).cloned() else { return };
        let signs_with_uv = self.dice.percent(50);
        let Some(phone) = self.phone(number) else { return };
        let key = phone.uv_key.filter(|_| signs_with_uv).unwrap_or(phone.key);
        let is_uv = key != phone.key;
        let (device, offset) = (phone.device, phone.offset);
        let mut claims = self.opinion(&text, device.to_string(), offset);
        claims.uv = is_uv.then_some(UvMethod::Pin);
        let (id, signed) = (text.facts.id, self.signs(key, claims));
        if let Some(phone) = self.phone_mut(number) {
            phone.said.push((id, signed.clone()));
        }
        self.sends(number, Request::Respond(id, signed));
    }

    /// What the person says: mostly yes, with the number on the screen.
    pub(super) fn opinion(&mut self, text: &Arc<Text>, iss: String, offset: i64) -> ResponseClaims {
        let thrown = self.dice.below(100);
        let decision = if thrown < 82 { Decision::Approve } else { Decision::Deny };
        let reason = match thrown {
            82..90 => Some(DenyReason::Mistake),
            90..94 => Some(DenyReason::NotMe),
            _ => None,
        };
        let mode = text.signed.verification.mode;
        let asks = matches!(mode, VerificationMode::Enter | VerificationMode::Choose);
        let wrong = || "0".repeat(text.signed.verification.digits.map_or(1, usize::from));
        let number = (asks && decision == Decision::Approve).then(|| match thrown {
            0..16 => wrong(),
            16..18 => "x".to_owned(),
            _ => self.number_on_screen(text.facts.id).unwrap_or_else(wrong),
        });
        // Now and then a phone shows one text and signs another.
        let shown = if self.dice.percent(3) { sha256("another text") } else { sha256(&text.facts.jws) };
        ResponseClaims {
            iss,
            aud: ISSUER.to_owned(),
            sub: text.facts.id.to_string(),
            iat: self.phone_seconds(offset),
            jti: "j".to_owned(),
            challenge_sha256: shown,
            decision,
            number,
            reason,
            uv: None,
        }
    }

    /// Signs: from now on this text has a good signature.
    pub(super) fn signs(&mut self, key: usize, claims: ResponseClaims) -> String {
        let text = self.text("response");
        if let Some(key) = self.keys.get(key) {
            self.vault.responses.insert(text.clone(), (key.thumbprint.clone(), claims));
        }
        text
    }

    fn repeats(&mut self, number: usize) {
        let count = self.phone(number).map_or(0, |phone| phone.said.len());
        let at = self.below(count);
        if let Some((id, text)) = self.phone(number).and_then(|phone| phone.said.get(at)).cloned() {
            self.sends(number, Request::Respond(id, text));
        }
    }

    fn rotates(&mut self, number: usize) {
        let Some(phone) = self.phone(number) else { return };
        if let Some((text, _)) = phone.next_key.clone() {
            return self.sends(number, Request::Rotate(text));
        }
        let (device, old, offset) = (phone.device.to_string(), phone.key, phone.offset);
        let Some(next) = self.take_key() else { return };
        let (Some(old), Some(key)) = (self.keys.get(old), self.keys.get(next)) else { return };
        let iat = self.phone_seconds(offset);
        let proof = KeyProofClaims { aud: ISSUER.to_owned(), iat, rotate_from: device.clone() };
        let Ok(proof) = key.signing.sign(Kind::KeyProof, &proof) else { return };
        let claims = KeyRotationClaims {
            iss: device,
            aud: ISSUER.to_owned(),
            iat,
            jti: "j".to_owned(),
            new_jwk: Some(key.public.to_jwk()),
            new_uv_jwk: None,
            proofs: vec![proof],
        };
        let thumbprint = old.thumbprint.clone();
        let text = self.text("rotation");
        self.vault.rotations.insert(text.clone(), (thumbprint, claims));
        if let Some(phone) = self.phone_mut(number) {
            phone.next_key = Some((text.clone(), next));
        }
        self.sends(number, Request::Rotate(text));
    }

    /// A ticket was shown: a new phone scans it, and now and then a second one over the shoulder.
    pub(super) fn scanned(&mut self, ticket: &str) {
        let scans = 1 + usize::from(self.dice.percent(30));
        for _ in 0..scans {
            let Some(key) = self.take_key() else { return };
            let device = self.fresh();
            let phone = Phone { ticket: Some(ticket.to_owned()), ..Phone::new(device, key) };
            self.people.push(Person::Phone(phone));
            self.joins(self.people.len() - 1);
        }
    }

    fn registers(&mut self, number: usize, ticket: &str) {
        let Some(phone) = self.phone(number) else { return };
        let (key, offset) = (phone.key, phone.offset);
        let before = self.vault.registrations.iter().find(|(_, (known, _))| *known == key);
        let before = before.map(|(text, _)| text.clone());
        let text = before.filter(|_| self.dice.percent(70));
        let text = text.unwrap_or_else(|| {
            let claims = registration(ticket, self.phone_seconds(offset));
            let text = self.text("registration");
            self.vault.registrations.insert(text.clone(), (key, claims));
            text
        });
        self.sends(number, Request::Register(text));
    }

    pub(super) fn phone_hears(&mut self, number: usize, request: &Request, reply: Reply) {
        let time = self.time;
        let Some(phone) = self.phone_mut(number) else { return };
        match reply {
            Reply::Inbox(texts) => {
                phone.inbox.extend(texts.into_iter().map(|text| (text.facts.id, text)));
                while phone.inbox.len() > LISTED {
                    phone.inbox.pop_first();
                }
            }
            Reply::Recorded { id, code: Some(code), .. } => {
                phone.codes.insert(id, code);
            }
            Reply::Recorded { id, .. } | Reply::NumberMismatch(id) | Reply::Closed(id, _) => {
                phone.inbox.remove(&id);
            }
            Reply::Skewed(server) => {
                phone.offset = server.as_millis() - time;
                phone.next_key = None;
            }
            Reply::Rotated => {
                let is_this = |next: &mut (String, usize)| matches!(request, Request::Rotate(text) if *text == next.0);
                if let Some((_, next)) = phone.next_key.take_if(is_this) {
                    phone.old_keys.push(phone.key);
                    phone.key = next;
                }
            }
            Reply::Registered { device, enrollment, code } => {
                (phone.device, phone.ticket) = (device, None);
                phone.confirmation = Some((enrollment, code));
            }
            _ => {}
        }
    }
}

fn registration(ticket: &str, iat: i64) -> RegistrationClaims {
    let device = DeviceDescription {
        name: "phone".to_owned(),
        platform: Platform::Android,
        model: None,
        os_version: None,
        app_id: None,
        app_version: None,
        installation_id: None,
    };
    RegistrationClaims {
        aud: ISSUER.to_owned(),
        iat,
        jti: "j".to_owned(),
        ticket: ticket.to_owned(),
        device,
        push: PushBinding::None,
        uv_jwk: None,
    }
}
