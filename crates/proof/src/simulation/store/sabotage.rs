//! Conditions that the store can be told to forget, one at a time: whoever forgets one must be found out.
//!
//! To add one: its word here, the place that asks for it; the tests try each.

/// A condition that the store forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// A response is recorded whether the challenge is pending or not.
    StatusUnchecked,
    /// A response is recorded after the challenge's end, too.
    ExpiryUnchecked,
    /// A response is recorded whatever its device is by now.
    DeviceUnchecked,
    /// A response is recorded under a binding that was replaced.
    BindingUnchecked,
    /// Who records a response locks neither the user nor the device.
    NoLocks,
    /// A response that says approve is recorded while the user is locked.
    LockUnchecked,
    /// Events are written after the commit, in a transaction of their own.
    EventApart,
    /// The counter of wrong numbers is rolled back.
    CounterRolledBack,
    /// The number of pending challenges does not fall.
    PendingNotReleased,
    /// What was rung is not remembered.
    PushesNotCounted,
    /// The reply leaves before the commit.
    EarlyReply,
    /// A live idempotency key is taken over.
    KeyTakenOver,
    /// A command whose commit was not answered does not know itself when it is run again.
    BlindRepeat,
    /// A pending challenge is expired before its end.
    EarlyExpiry,
    /// Revoking leaves the challenges that nobody else can answer.
    NothingCancelled,
    /// A verdict of a lease that has run out is stored.
    StaleLease,
    /// A lease is taken from its holder.
    LeaseStolen,
    /// Pushes to suspended and revoked devices stay, and are leased.
    RevokedRung,
    /// A ticket is used as often as somebody has it.
    TicketReused,
    /// Wrong confirmation codes are not counted.
    CodesNotCounted,
    /// A challenge is found from any tenant.
    TenantUnchecked,
    /// `expired` is said when it is time, and written later.
    ExpirySaid,
}
