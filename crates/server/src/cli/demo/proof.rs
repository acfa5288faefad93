//! Chapter: what is left of an approval when the server is gone (protocol 6.4).

use std::path::{Path, PathBuf};

use countersign_proto::{
    api::challenges::Challenge,
    evidence::{self, Evidence, EvidenceError, SignedBy, VerifiedEvidence},
    ids::ChallengeId,
    jose::{Jwks, PublicKey, base64url, claims::ResultClaims, verify_server},
    vocabulary::{ChallengeStatus, Decision, Word as _},
};
use countersign_simulator::Phone;

use super::{DemoError, identity_provider::IdentityProvider, story::Story};

/// Two files: all that an auditor needs.
pub(super) struct Proof {
    challenge_id: ChallengeId,
    evidence_file: PathBuf,
    jwks_file: PathBuf,
}

/// Fetches the signed result, the evidence and the public keys, and keeps the latter two.
pub(super) async fn keep(
    story: &mut Story,
    page: &IdentityProvider,
    approved: &Challenge,
    folder: &Path,
) -> Result<Proof, DemoError> {
    story.step("The page believes no bare word: the result is signed too, for this page alone.")?;
    let jwks = page.jwks().await?;
    let keys: Jwks = serde_json::from_slice(&jwks)?;
    let token = approved.result_token.as_deref().unwrap_or_default();
    let result = verify_server::<ResultClaims>(token, &|kid| keys.find(kid));
    let holds = result.as_ref().is_ok_and(|result| {
        result.status == ChallengeStatus::Approved
            && result.aud == page.id()
            && result.iss == page.issuer()
            && result.jti == approved.id.to_string()
    });
    let saw = result.map_or_else(|refusal| refusal.to_string(), |result| result.status.as_str().to_owned());
    story.check(holds, "its signature verifies, and it says: approved, this challenge, this page", saw)?;

    let with_evidence = page.with_evidence(approved.id).await?;
    let evidence_file = folder.join("evidence.json");
    let jwks_file = folder.join("jwks.json");
    std::fs::write(&evidence_file, serde_json::to_vec(&with_evidence.evidence)?)?;
    std::fs::write(&jwks_file, jwks)?;
    Ok(Proof { challenge_id: approved.id, evidence_file, jwks_file })
}

impl Proof {
    fn read(&self) -> Result<(Evidence, Jwks), DemoError> {
        let evidence = serde_json::from_slice(&std::fs::read(&self.evidence_file)?)?;
        let jwks = serde_json::from_slice(&std::fs::read(&self.jwks_file)?)?;
        Ok((evidence, jwks))
    }

    /// Verifies the evidence with nothing but the two files, and shows that an altered one is worth nothing.
    pub(super) fn verify(&self, story: &mut Story, phone: &Phone) -> Result<(), DemoError> {
        story.step(
            "The evidence is kept: evidence.json and jwks.json. With these two files anybody verifies it offline, \
             without the server:",
        )?;
        let (evidence, jwks) = self.read()?;
        let proven = evidence::verify(&evidence, &|kid| jwks.find(kid)).map_err(|error| DemoError::Deviation {
            expected: "the evidence verifies".to_owned(),
            saw: error.to_string(),
        })?;
        let VerifiedEvidence { challenge, response, binding, signed_by } = &proven;
        let is_question =
            challenge.jti == self.challenge_id.to_string() && challenge.application.as_deref() == Some("VPN");
        story.check(is_question, "the server asked Ada exactly this: its first signature", "another question")?;
        let bound_key = PublicKey::from_jwk(&binding.cnf.jwk).ok();
        let is_own_key = bound_key == Some(phone.registration().device_key.public_key());
        story.check(is_own_key, "it had stated that this key is Ada's phone: its second", "another key")?;
        let is_approval = response.decision == Decision::Approve && *signed_by == SignedBy::DeviceKey;
        story.check(
            is_approval,
            "the key said \"approve\" to exactly this question: the phone's",
            response.decision.as_str(),
        )?;

        let altered = Evidence { challenge: altered(&evidence.challenge)?, ..evidence };
        let outcome = evidence::verify(&altered, &|kid| jwks.find(kid));
        story.check(
            matches!(outcome, Err(EvidenceError::Challenge(_))),
            "with \"Payroll\" in place of \"VPN\" in the question, nothing verifies",
            "it verified",
        )
    }

    /// The same once more, when there is no server to ask.
    pub(super) fn verify_again(&self, story: &mut Story) -> Result<(), DemoError> {
        let (evidence, jwks) = self.read()?;
        let outcome = evidence::verify(&evidence, &|kid| jwks.find(kid));
        let holds = outcome.as_ref().is_ok_and(|proven| {
            proven.response.decision == Decision::Approve && proven.challenge.jti == self.challenge_id.to_string()
        });
        let saw = outcome.map_or_else(|error| error.to_string(), |_| "another decision".to_owned());
        story.check(holds, "the evidence of Ada's approval still verifies", saw)
    }
}

/// The challenge with another application in its text, and the old signature.
fn altered(challenge: &str) -> Result<String, DemoError> {
    let not_a_token = || DemoError::Deviation { expected: "a signed challenge".to_owned(), saw: "none".to_owned() };
    let (signing_input, signature) = challenge.rsplit_once('.').ok_or_else(not_a_token)?;
    let (header, payload) = signing_input.split_once('.').ok_or_else(not_a_token)?;
    let payload = base64url::decode(payload).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(not_a_token)?;
    let payload = base64url::encode(payload.replace("\"VPN\"", "\"Payroll\""));
    Ok(format!("{header}.{payload}.{signature}"))
}
