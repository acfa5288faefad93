//! A device's signed answer (protocol 7.2, step 11): the command that records it, and what comes of it.
//!
//! Nothing is judged here: that is `core/src/verify.rs`. A store must commit on no weaker condition than is stated.

use countersign_proto::{
    ids::{ChallengeId, DeviceId, TenantId, UserId},
    jose::Thumbprint,
    timestamp::Timestamp,
    vocabulary::{ChallengeFlag, ChallengeReason, ChallengeStatus, DenyReason, DeviceStatus, ReportAction},
};

use super::DisplayedCode;
use crate::{actor::Stamp, device::StoredBinding, verify::Verdict};

/// Records a response (protocol 7.2, step 11): challenge, counters, events in one transaction.
///
/// Commits only if the challenge is pending and unexpired, the device active, the key its current one under the
/// binding that was verified, and (for what says approve) the user not locked.
/// In mode `display` an approve leaves the challenge pending: it fixes device and code, once.
/// Events: `challenge.approved|denied|code_shown`; `user.locked` when a lock comes, and `enrollment.cancelled` for each
/// open enrollment when it has no end. For `not_me` also `challenge.reported` and `user.reported`, and the user's other
/// pending challenges end: `challenge.cancelled` for each (protocol 9).
#[derive(Debug, Clone)]
pub struct DecideChallenge {
    /// Who (the device), where, when.
    pub stamp: Stamp,
    /// Which challenge.
    pub challenge_id: ChallengeId,
    /// Its user.
    pub user_id: UserId,
    /// The device.
    pub device_id: DeviceId,
    /// The key that signed.
    pub key: Thumbprint,
    /// The binding under which the key was verified; becomes part of the evidence.
    pub binding: StoredBinding,
    /// `countersign-response+jwt`, verbatim.
    pub response: String,
    /// What the response comes to.
    pub verdict: Verdict,
    /// Consecutive wrong numbers that lock the user.
    pub wrong_numbers_before_lock: u32,
    /// How long such a lock lasts.
    pub lock_seconds: i64,
    /// How long nobody is rung after `not_me`.
    pub quiet_seconds_after_report: i64,
    /// What `not_me` does to the user.
    pub on_report: ReportAction,
    /// What is remarkable about an approve.
    pub flags: Vec<ChallengeFlag>,
    /// With [`Verdict::ShowCode`]: the code that the device will be shown if this command wins.
    pub code: Option<DisplayedCode>,
}

impl DecideChallenge {
    /// The challenge's status and reason if this command wins.
    pub fn end(&self) -> (ChallengeStatus, Option<ChallengeReason>) {
        match self.verdict {
            Verdict::Approve { .. } => (ChallengeStatus::Approved, None),
            Verdict::ShowCode => (ChallengeStatus::Pending, None),
            Verdict::WrongNumber => (ChallengeStatus::Denied, Some(ChallengeReason::WrongNumber)),
            Verdict::Deny(reason) => {
                let reason = reason.map(|reason| match reason {
                    DenyReason::NotMe => ChallengeReason::NotMe,
                    DenyReason::Mistake => ChallengeReason::Mistake,
                    DenyReason::Other => ChallengeReason::Other,
                });
                (ChallengeStatus::Denied, reason)
            }
        }
    }
}

/// What came of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecideOutcome {
    /// It decided the challenge.
    Won {
        /// The lock that this wrong number brought.
        locked_until: Option<Timestamp>,
    },
    /// This very response had decided it before.
    Repeat(RecordedResponse),
    /// Something else ended it; how.
    Closed(ChallengeStatus),
    /// The device is not active.
    DeviceNotActive(DeviceStatus),
    /// The organisation has been disabled.
    TenantDisabled,
    /// The key is no longer the device's current one, or has another binding by now: load it again.
    StaleKey,
    /// The user is locked and the response says approve.
    Locked(Timestamp),
    /// Another approve was shown the code before.
    AwaitingCode,
    /// There is no such challenge.
    NotFound,
}

/// The response that decided a challenge, or that was shown its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedResponse {
    /// Whose challenge it is.
    pub tenant_id: TenantId,
    /// `countersign-response+jwt`, verbatim.
    pub response: String,
    /// What the challenge became; `pending` while the code is awaited.
    pub status: ChallengeStatus,
    /// Why.
    pub reason: Option<ChallengeReason>,
    /// When; of a pending one its end.
    pub decided_at: Timestamp,
    /// While pending: the code.
    pub code: Option<DisplayedCode>,
}
