//! A token's way in: parse, verify, and only then claims. The steps quote protocol section 2.

use std::fmt;

use serde_json::{Map, Value};

use super::{Arithmetic, Claims, Jwk, KeyMember, Kind, PublicKey, Refusal, Thumbprint, VerifySignature, base64url};
use crate::json;

/// What the header names as the signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderKey {
    /// A key that the verifier must find in its own registry.
    Kid(Thumbprint),
    /// The key itself: to verify with it proves possession, not identity.
    Jwk(PublicKey),
}

impl HeaderKey {
    /// The thumbprint of the named key.
    pub fn thumbprint(&self) -> Thumbprint {
        match self {
            Self::Kid(thumbprint) => thumbprint.clone(),
            Self::Jwk(key) => key.thumbprint(),
        }
    }
}

/// A well-formed token of the expected kind whose signature nobody has checked: it offers the name of its
/// key and nothing else.
pub struct Unverified<'t> {
    kind: Kind,
    text: &'t str,
    signing_input: &'t str,
    payload: Vec<u8>,
    signature: [u8; 64],
    key: HeaderKey,
}

impl<'t> Unverified<'t> {
    /// Rules 1–3, and the form of the key's name (rule 4).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse(kind: Kind, token: &'t (impl AsRef<[u8]> + ?Sized)) -> Result<Self, Refusal> {
        let token = token.as_ref();
        // 1. Size and the three-part shape, before decoding anything.
        if token.len() > kind.max_bytes() {
            return Err(Refusal::TooLarge);
        }
        let text = std::str::from_utf8(token).map_err(|_| Refusal::Shape)?;
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Refusal::Shape)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Refusal::Shape)?;
        if payload.contains('.') || [header, payload, signature].contains(&"") {
            return Err(Refusal::Shape);
        }
        let header = base64url::decode(header).ok_or(Refusal::Base64)?;
        let payload = base64url::decode(payload).ok_or(Refusal::Base64)?;
        let signature = base64url::decode(signature).ok_or(Refusal::Base64)?;
        let signature = signature.try_into().map_err(|_| Refusal::SignatureLength)?;
        let key = read_header(kind, &header)?;
        Ok(Self { kind, text, signing_input, payload, signature, key })
    }

    /// The key that the header names.
    pub fn key(&self) -> &HeaderKey {
        &self.key
    }

    /// The kind that it was parsed as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The token itself.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Rules 4 and 5: `key` is the one that the header names, and it signed this.
    ///
    /// # Errors
    /// [`Refusal::AnotherKey`], [`Refusal::Signature`], [`Refusal::Payload`].
    pub fn verify(self, key: &PublicKey) -> Result<Verified<'t>, Refusal> {
        self.verify_by(key, &Arithmetic)
    }

    /// The same, asking `verifier` whether the signature is good.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_by(self, key: &PublicKey, verifier: &dyn VerifySignature) -> Result<Verified<'t>, Refusal> {
        let named = match &self.key {
            HeaderKey::Kid(thumbprint) => *thumbprint == key.thumbprint(),
            HeaderKey::Jwk(named) => named == key,
        };
        if !named {
            return Err(Refusal::AnotherKey);
        }
        if !verifier.verifies(key, self.signing_input.as_bytes(), &self.signature) {
            return Err(Refusal::Signature);
        }
        // Only now is the payload read, so that a stranger reaches no parser but the header's.
        let claims = json::parse_object(&self.payload).map_err(Refusal::Payload)?;
        Ok(Verified { kind: self.kind, text: self.text, signer: *key, claims })
    }

    /// Rules 4 and 5 with the key of the header: proves that the sender holds it, and nothing else.
    ///
    /// # Errors
    /// [`Refusal::AnotherKey`] for kinds whose header names a key by `kid`; else as [`Self::verify`].
    pub fn verify_with_header_key(self) -> Result<Verified<'t>, Refusal> {
        match self.key {
            HeaderKey::Jwk(key) => self.verify(&key),
            HeaderKey::Kid(_) => Err(Refusal::AnotherKey),
        }
    }
}

/// A token whose signature is good.
pub struct Verified<'t> {
    kind: Kind,
    text: &'t str,
    signer: PublicKey,
    claims: Value,
}

impl<'t> Verified<'t> {
    /// Rule 6: presence and JSON type of each claim; unknown claims are ignored.
    ///
    /// # Errors
    /// [`Refusal::Claim`]; [`Refusal::AnotherKind`] if `C` are not the claims of this kind.
    pub fn claims<C: Claims>(&self) -> Result<C, Refusal> {
        if C::KIND != self.kind {
            return Err(Refusal::AnotherKind);
        }
        json::typed(&self.claims).map_err(Refusal::Claim)
    }

    /// The key that signed.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The token itself, byte for byte.
    pub fn text(&self) -> &'t str {
        self.text
    }
}

/// Prints no payload: it may hold a ticket or a number.
impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unverified({:?}, {})", self.kind, self.key.thumbprint())
    }
}

/// Prints no claim: it may hold a ticket or a number.
impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({:?}, {})", self.kind, self.signer.thumbprint())
    }
}

fn read_header(kind: Kind, header: &[u8]) -> Result<HeaderKey, Refusal> {
    let header = match json::parse_object(header).map_err(Refusal::Header)? {
        Value::Object(header) => header,
        _ => return Err(Refusal::HeaderMembers),
    };
    // 2. Only the members of the kind, each of them: three, and the three that follow.
    if header.len() != 3 {
        return Err(Refusal::HeaderMembers);
    }
    // 3. Compared, never used to choose.
    if text(&header, "alg")? != "ES256" {
        return Err(Refusal::Algorithm);
    }
    if text(&header, "typ")? != kind.typ() {
        return Err(Refusal::Type);
    }
    match kind.key_member() {
        KeyMember::Kid => {
            let kid = text(&header, "kid")?.parse().map_err(|_| Refusal::HeaderKey)?;
            Ok(HeaderKey::Kid(kid))
        }
        KeyMember::Jwk => {
            let jwk = header.get("jwk").ok_or(Refusal::HeaderMembers)?;
            let jwk: Jwk = json::typed(jwk).map_err(|_| Refusal::HeaderKey)?;
            Ok(HeaderKey::Jwk(PublicKey::from_jwk(&jwk).map_err(|_| Refusal::HeaderKey)?))
        }
    }
}

fn text<'h>(header: &'h Map<String, Value>, name: &str) -> Result<&'h str, Refusal> {
    header.get(name).and_then(Value::as_str).ok_or(Refusal::HeaderMembers)
}
