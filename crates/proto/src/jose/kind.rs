//! The kinds of artefact (protocol section 2, the table).

/// A kind of signed artefact. A verifier names the kind that it expects; a token never chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A new device presents its key and a ticket (4.2).
    Registration,
    /// A device reads (5).
    Proof,
    /// A device approves or denies (7).
    Response,
    /// A device changes its push binding (8.7).
    PushUpdate,
    /// A device replaces its keys (10.6).
    KeyRotation,
    /// A new key of a rotation proves its possession (10.6).
    KeyProof,
    /// A device leaves (10.2).
    Deregistration,
    /// A device says "that was not me" to a notice (8.8).
    Dispute,
    /// An API client authenticates (3).
    ClientProof,
    /// The server states that a key is a user's device (4.5).
    Binding,
    /// The server asks (6.2).
    Challenge,
    /// The server tells how it ended (6.4).
    Result,
    /// The server tells a device what its organisation asks (5.4).
    Policy,
}

/// The header member that names the signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMember {
    /// `kid`: the thumbprint of a key that the verifier already knows.
    Kid,
    /// `jwk`: the key itself, of which the token proves possession and nothing else.
    Jwk,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Registration,
        Self::Proof,
        Self::Response,
        Self::PushUpdate,
        Self::KeyRotation,
        Self::KeyProof,
        Self::Deregistration,
        Self::Dispute,
        Self::ClientProof,
        Self::Binding,
        Self::Challenge,
        Self::Result,
        Self::Policy,
    ];

    /// The header's `typ`, compared byte for byte.
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Registration => "countersign-registration+jwt",
            Self::Proof => "countersign-proof+jwt",
            Self::Response => "countersign-response+jwt",
            Self::PushUpdate => "countersign-push-update+jwt",
            Self::KeyRotation => "countersign-key-rotation+jwt",
            Self::KeyProof => "countersign-key-proof+jwt",
            Self::Deregistration => "countersign-deregistration+jwt",
            Self::Dispute => "countersign-dispute+jwt",
            Self::ClientProof => "countersign-client-proof+jwt",
            Self::Binding => "countersign-binding+jwt",
            Self::Challenge => "countersign-challenge+jwt",
            Self::Result => "countersign-result+jwt",
            Self::Policy => "countersign-policy+jwt",
        }
    }

    /// Which member of the header names the key.
    pub const fn key_member(self) -> KeyMember {
        match self {
            Self::Registration | Self::KeyProof => KeyMember::Jwk,
            Self::Proof
            | Self::Response
            | Self::PushUpdate
            | Self::KeyRotation
            | Self::Deregistration
            | Self::Dispute
            | Self::ClientProof
            | Self::Binding
            | Self::Challenge
            | Self::Result
            | Self::Policy => KeyMember::Kid,
        }
    }

    /// Whether the server signs it.
    pub const fn is_signed_by_server(self) -> bool {
        matches!(self, Self::Binding | Self::Challenge | Self::Result | Self::Policy)
    }

    /// The longest token in bytes: 8 KiB from a device or API client, 16 KiB from the server.
    pub const fn max_bytes(self) -> usize {
        if self.is_signed_by_server() { 16 * 1024 } else { 8 * 1024 }
    }

    /// How far `iat` may be from the server's time, in seconds (rule 7); for what a device or API client sends.
    pub const fn iat_window_seconds(self) -> i64 {
        match self {
            Self::Registration => 300,
            _ => 60,
        }
    }
}
