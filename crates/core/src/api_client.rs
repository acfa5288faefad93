//! API clients: scopes and keys (protocol 3).

use std::{collections::BTreeSet, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::{
    ids::{ApiClientId, ApiKeyId, TenantId},
    jose::{PublicKey, Thumbprint},
    problem::FieldError,
    timestamp::Timestamp,
    vocabulary::ClientAuthentication,
};

use crate::{
    digest::Digest,
    entropy::{Entropy, secret_bytes},
    policy::{Policy, stricter},
    text::Checker,
};

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `/v1/enrollments…`
    Enrollments,
    /// `/v1/challenges…`: those that the client created.
    Challenges,
    /// Read users.
    UsersRead,
    /// Change, unlock and erase users.
    UsersWrite,
    /// Read devices.
    DevicesRead,
    /// Suspend, resume and revoke devices.
    DevicesWrite,
    /// Read events, and any challenge of the tenant.
    AuditRead,
    /// All of these.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 8] = [
        Self::Enrollments,
        Self::Challenges,
        Self::UsersRead,
        Self::UsersWrite,
        Self::DevicesRead,
        Self::DevicesWrite,
        Self::AuditRead,
        Self::Admin,
    ];

    /// The word on the wire and at the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrollments => "enrollments",
            Self::Challenges => "challenges",
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::DevicesRead => "devices:read",
            Self::DevicesWrite => "devices:write",
            Self::AuditRead => "audit:read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope {0:?}")]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(word: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word).ok_or_else(|| UnknownScope(word.to_owned()))
    }
}

/// A set of scopes. `admin` holds all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Whether a call that needs `scope` is allowed.
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope) || self.0.contains(&Scope::Admin)
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes held, in their fixed order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(","))
    }
}

/// Comma-separated words, as at the command line and in the database.
impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(list: &str) -> Result<Self, UnknownScope> {
        list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::parse).collect()
    }
}

/// An API client without its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiClient {
    /// Our id.
    pub id: ApiClientId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The name that the operator gave.
    pub name: String,
    /// What its keys may be used for.
    pub scopes: Scopes,
    /// What it may ask approvals for.
    pub applications: Option<Applications>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The server's MAC over what it may do; only a row that it holds for may be sealed anew.
    pub seal: Option<String>,
}

/// The applications that an API client may name; a client without such a list may name any, or none.
pub type Applications = BTreeSet<String>;

/// Applications that a client may name, at most.
pub const MAX_APPLICATIONS: usize = 100;

/// Checks a list of applications; each is as in a challenge.
///
/// # Errors
/// The entries at fault.
pub fn check_applications<'n>(
    pointer: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<Applications, Vec<FieldError>> {
    let mut checker = Checker::default();
    let names: Applications = names.into_iter().map(|name| checker.text(pointer, name, 1, 64)).collect();
    if names.is_empty() || names.len() > MAX_APPLICATIONS {
        checker.refuse(pointer, "must name 1 to 100 applications");
    }
    checker.finish().map(|()| names)
}

/// Checks the words of a set of scopes.
///
/// # Errors
/// The entries at fault.
pub fn check_scopes(pointer: &str, words: &[String]) -> Result<Scopes, Vec<FieldError>> {
    let mut checker = Checker::default();
    let mut scopes = BTreeSet::new();
    for (index, word) in words.iter().enumerate() {
        match word.parse::<Scope>() {
            Ok(scope) => {
                scopes.insert(scope);
            }
            // What was sent is not repeated.
            Err(UnknownScope(_)) => {
                let words = Scope::ALL.map(Scope::as_str).join(", ");
                checker.refuse(format!("{pointer}/{index}"), format!("must be one of: {words}"));
            }
        }
    }
    if words.is_empty() {
        checker.refuse(pointer, "must name at least one scope");
    }
    checker.finish().map(|()| Scopes(scopes))
}

/// By what an API client is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A secret that it sends, as its digest.
    ApiKey(Digest),
    /// A key that it signs with, and that nobody else has (`ClientProof`).
    PublicKey(PublicKey),
}

impl Credential {
    /// What the database looks up.
    pub fn digest(&self) -> Digest {
        match self {
            Self::ApiKey(digest) => *digest,
            Self::PublicKey(key) => proof_digest(&key.thumbprint()),
        }
    }

    /// What it signs with, if it does.
    pub const fn public_key(&self) -> Option<&PublicKey> {
        match self {
            Self::ApiKey(_) => None,
            Self::PublicKey(key) => Some(key),
        }
    }
}

/// What the database looks up for a signature by the key with this thumbprint. Never that of an [`ApiKey`]: a
/// thumbprint has no prefix.
pub fn proof_digest(thumbprint: &Thumbprint) -> Digest {
    Digest::of(thumbprint.as_str())
}

/// Live keys of one sort that a client may have: one, and the next one.
pub const MAX_LIVE_KEYS: usize = 2;

/// A key to be given to an API client.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Our id.
    pub id: ApiKeyId,
    /// The key.
    pub credential: Credential,
    /// Its end.
    pub expires_at: Option<Timestamp>,
    /// The server's MAC over all of this and whose it is.
    pub seal: String,
}

/// A key of an API client, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Our id.
    pub id: ApiKeyId,
    /// What it signs with; `None`: it is a secret.
    pub public_key: Option<PublicKey>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its end.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it last called, to a few seconds.
    pub used_at: Option<Timestamp>,
}

impl ApiKeyRecord {
    /// `live`, `expired` or `revoked`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if self.revoked_at.is_some() {
            "revoked"
        } else if self.expires_at.is_some_and(|end| end <= now) {
            "expired"
        } else {
            "live"
        }
    }
}

/// An authenticated caller: what the key that it presented says right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The tenant's name, for texts that a person reads.
    pub tenant_name: String,
    /// The client.
    pub client_id: ApiClientId,
    /// The key.
    pub key_id: ApiKeyId,
    /// What it may do.
    pub scopes: Scopes,
    /// What it may ask approvals for.
    pub applications: Option<Applications>,
    /// What it signs with; `None`: it showed a secret.
    pub public_key: Option<PublicKey>,
    /// When the key ends.
    pub expires_at: Option<Timestamp>,
    /// Whether the tenant's policy takes signatures only.
    pub is_proof_required: bool,
    /// The server's MACs over the client and over the key. The store cannot judge them: believe nothing here before.
    pub seals: CallerSeals,
}

/// What the rows of a caller carry to prove that the server wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallerSeals {
    /// Over what the client may do.
    pub client: Option<String>,
    /// Over whose key it is.
    pub key: Option<String>,
}

impl Caller {
    /// Whether it may ask approvals for an application: a client with a list only for what is in it, and for nothing
    /// without a name.
    pub fn may_ask_for(&self, application: Option<&str>) -> bool {
        self.applications.as_ref().is_none_or(|names| application.is_some_and(|name| names.contains(name)))
    }

    /// Whether it has shown all that the tenant's policy asks of whoever calls at all.
    pub const fn has_shown_enough(&self) -> bool {
        self.public_key.is_some() || !self.is_proof_required
    }

    /// Whether it has shown all that a challenge asks of whoever reads or ends it: one under a profile, whichever, asks
    /// for a signature.
    pub const fn has_shown_enough_for_challenge(&self, is_under_profile: bool) -> bool {
        self.public_key.is_some() || !is_under_profile
    }

    /// Whether it has shown all that the policy asks for this application, whose profile may ask for more.
    pub fn has_shown_enough_for(&self, policy: &Policy, application: Option<&str>) -> bool {
        let (policy, _) = stricter::applicable(policy, application);
        self.public_key.is_some() || policy.client_authentication != ClientAuthentication::ClientProof
    }
}

/// `csk_` and 32 random bytes in base64url. Shown once, stored as its digest.
///
/// A fast hash is right here: 256 random bits cannot be guessed, so there is nothing to slow down.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    const PREFIX: &'static str = "csk_";
    const LENGTH: usize = 47;

    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(secret_bytes(entropy))))
    }

    /// Reads a key from a header; `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let secret = text.strip_prefix(Self::PREFIX)?;
        let fits = text.len() == Self::LENGTH && URL_SAFE_NO_PAD.decode(secret).is_ok_and(|bytes| bytes.len() == 32);
        fits.then(|| Self(text.to_owned()))
    }

    /// What the database keeps and looks up. A lookup by digest under a unique index leaks no timing of the key.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// The key itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests;
