//! `ports::challenges` on both databases.

mod budget;
mod close;
mod code;
mod create;
mod decide;
mod read;
mod reported;

use countersign_core::ports::{
    challenges::{Close, CloseChallenge},
    users::UserRecord,
};
use countersign_proto::{
    ids::{ChallengeId, UserId},
    timestamp::Timestamp,
    vocabulary::ChallengeStatus,
};

use crate::world::World;

impl World {
    pub(crate) async fn user(&self, id: UserId) -> UserRecord {
        self.store.user(self.tenant_id, id).await.unwrap().unwrap()
    }

    async fn stored_status(&self, id: ChallengeId) -> ChallengeStatus {
        self.store.challenge(self.tenant_id, id).await.unwrap().unwrap().status
    }

    pub(crate) fn cancel(&self, user_id: UserId, challenge_id: ChallengeId) -> CloseChallenge {
        CloseChallenge { stamp: self.stamp(self.client), challenge_id, user_id, how: Close::CancelByClient }
    }

    fn expire(&self, user_id: UserId, challenge_id: ChallengeId, at: Timestamp) -> CloseChallenge {
        let stamp = self.stamp_at(countersign_core::actor::Actor::System, at);
        CloseChallenge { stamp, challenge_id, user_id, how: Close::Expire }
    }
}
