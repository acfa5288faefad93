//! Bounds that no policy changes.

/// Seconds that a challenge may live at most.
pub const MAX_TTL_SECONDS: i64 = 600;
/// Seconds that a challenge must live at least.
pub const MIN_TTL_SECONDS: i64 = 10;
/// Seconds that an enrollment may live.
pub const ENROLLMENT_TTL_SECONDS: std::ops::RangeInclusive<i64> = 60..=600;
/// Seconds that a read may be held.
pub const MAX_WAIT_SECONDS: u32 = 50;
/// Challenges of one user that may wait at once; beyond: 429 `too-many-pending` (protocol 9).
pub const MAX_PENDING_PER_USER: u32 = 20;
/// Wrong codes after which an enrollment is cancelled, and a challenge in mode `display` denied.
pub const MAX_WRONG_CODES: u32 = 5;
/// Consecutive wrong numbers after which only an administrator unlocks.
pub const FAILURES_UNTIL_ENDLESS_LOCK: u32 = 100;
/// An approve that comes sooner after the device was handed the challenge was not read by a person.
pub const FAST_APPROVAL_MILLIS: i64 = 400;
/// How long pushes stop after the second, the third, and every further denial in a row.
pub const DENIAL_PAUSES_SECONDS: [i64; 3] = [60, 300, 1_800];
/// How long a repeated artefact or idempotency key gets the first reply again.
pub const REPLAY_SECONDS: i64 = 24 * 60 * 60;
/// How long a revoked device is told so rather than refused as unknown.
pub const REVOKED_DEVICE_IS_TOLD_SECONDS: i64 = 90 * 24 * 60 * 60;
/// How long a device is shown a notice.
pub const NOTICE_SECONDS: i64 = 30 * 24 * 60 * 60;
/// Seconds that a registration's `iat` may differ from the server's time.
pub const REGISTRATION_SKEW_SECONDS: i64 = 300;
/// Seconds that any other artefact's `iat` may differ.
pub const SKEW_SECONDS: i64 = 60;
/// How long a `jti` of a push update is remembered.
pub const PUSH_UPDATE_JTI_SECONDS: i64 = 300;
/// How long a result token may be redeemed.
pub const RESULT_TOKEN_SECONDS: i64 = 300;
/// Entries of one page.
pub const MAX_PAGE: u32 = 200;
/// How long a push token that its provider refused is left alone before a challenge tries it again.
pub const UNDELIVERABLE_RETRY_SECONDS: i64 = 60 * 60;
/// A push token that its device has not confirmed for so long is flagged.
pub const PUSH_UNCONFIRMED_SECONDS: i64 = 30 * 24 * 60 * 60;
/// How long a notice is worth ringing for.
pub const NOTICE_PUSH_SECONDS: i64 = 60 * 60;
/// How long a test push is worth sending.
pub const TEST_PUSH_SECONDS: i64 = 60;
/// Between two test pushes to one device.
pub const TEST_PUSH_PAUSE_SECONDS: i64 = 10;
/// Between two key rotations of one device: keys are kept for ever, and the person's other devices are told.
pub const KEY_ROTATION_PAUSE_SECONDS: i64 = 60;
/// Entries of one sort (keys, pushes that wait, spent ids) that an export names of one device at most, and replies of one
/// person.
pub const EXPORTED_ROWS: u32 = 1_000;
/// How long what came of a test push is kept.
pub const TEST_PUSH_KEPT_SECONDS: i64 = 7 * 24 * 60 * 60;
/// Devices that one call revokes at most, when many are revoked.
pub const BULK_PORTION: usize = 100;
/// How long such a call goes on with its portion.
pub const BULK_SECONDS: i64 = 5;
/// Devices that a filter for revoking may find at most, whether they are meant or not.
pub const BULK_LOOKED_AT: u32 = 100_000;
/// Devices that a dry run names.
pub const BULK_SHOWN: usize = 50;
/// How long the confirmation of a dry run is good.
pub const BULK_CONFIRMATION_SECONDS: i64 = 60 * 60;
