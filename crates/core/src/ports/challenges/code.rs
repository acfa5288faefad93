//! Codes in mode `display` (protocol 6.8): shown by a device, typed where the person signs in.
//!
//! The store keeps and counts; whether a code is right is for the server to say, which holds the key of the seals.

use countersign_proto::{
    ids::{ChallengeId, DeviceId, UserId},
    timestamp::Timestamp,
    vocabulary::ChallengeStatus,
};

use crate::actor::Stamp;

/// A code for a device to show (protocol 6.8).
#[derive(Clone, PartialEq, Eq)]
pub struct DisplayedCode {
    /// The digits.
    pub code: String,
    /// The server's MAC over them and the response that asked for them.
    pub seal: String,
}

/// Leaves out the code.
impl std::fmt::Debug for DisplayedCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DisplayedCode").finish_non_exhaustive()
    }
}

/// What the server found of a code that somebody typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypedCode {
    /// It is the one that the device shows.
    Right {
        /// The server's MAC that it was typed at this command's time: without it nobody believes the approval.
        entered_seal: String,
    },
    /// It is not.
    Wrong,
}

/// Takes a code in mode `display` (protocol 6.8): approves if it is right, counts it if it is wrong.
///
/// Commits only while the challenge is pending, unexpired and the actor's own, the code still the one that was judged,
/// the user not locked, and the device that shows it active under the binding that its response was verified with.
/// Events: `challenge.approved`, or `challenge.denied` for the last wrong one; `user.locked` when the lock comes, and
/// `enrollment.cancelled` for each open enrollment when it has no end.
#[derive(Debug, Clone)]
pub struct EnterCode {
    /// Who (the API client that created it), where, when.
    pub stamp: Stamp,
    /// Which challenge.
    pub challenge_id: ChallengeId,
    /// Its user.
    pub user_id: UserId,
    /// The device that shows the code.
    pub device_id: DeviceId,
    /// The response that asked for it, verbatim.
    pub response: String,
    /// The seal of the code against which the typed one was judged.
    pub seal: String,
    /// What was found.
    pub typed: TypedCode,
    /// Consecutive wrong numbers and codes that lock the user.
    pub wrong_numbers_before_lock: u32,
    /// How long such a lock lasts.
    pub lock_seconds: i64,
}

/// What came of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnterCodeOutcome {
    /// It was right: the challenge is approved.
    Approved,
    /// It was wrong, and is counted; with the last one the challenge is denied.
    Wrong {
        /// How many further ones are judged.
        attempts_left: u32,
    },
    /// The user is locked: it was not judged.
    Locked(Timestamp),
    /// The device that shows the code is not the one under whose binding it was asked for, or not active.
    DeviceChanged,
    /// The challenge has ended; how.
    Closed(ChallengeStatus),
    /// No such challenge for this actor, or nobody shows that code.
    NotFound,
}
