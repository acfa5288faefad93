//! Room on the disk that is kept for taking access away: none here. PostgreSQL has its disk for itself, on another machine
//! as a rule; to keep room there is its operator's part (docs/operations.md).

use super::Room;

/// Nothing.
#[derive(Debug)]
pub(super) struct Reserve;

impl Reserve {
    /// Always: there is nothing to be short of.
    pub(super) async fn is_whole(&mut self) -> bool {
        true
    }

    /// There is nothing.
    pub(super) async fn give_up_a_piece(&mut self, _room: Room) -> bool {
        false
    }
}
