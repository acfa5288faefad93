//! A phone is lost: revoked while it answers, and asked again afterwards.

use countersign_simulator::phone::{Answer, VerifiedChallenge};
use reqwest::Method;

use super::{Asking, Flow, Person, Turn, certain};
use crate::history::{Asked, End, Op};

/// Sign-ins that wait when the phone is lost.
const WAITING: usize = 4;

impl Flow {
    /// An admin revokes the phone while its finder answers what waits; whatever begins after the reply must be refused.
    pub(crate) async fn lose_the_phone(&mut self, person: &Person) -> Result<(), Turn> {
        self.lose(person).await.map(drop)
    }

    /// The same of somebody who has another phone: what waits goes on to wait, so that nothing but the barrier is in the
    /// finder's way.
    pub(crate) async fn lose_one_of_two(&mut self, person: &Person) -> Result<(), Turn> {
        let other = self.enroll_again(&person.external_id).await?;
        let waiting = self.lose(person).await?;
        for (asking, _) in &waiting {
            self.withdraw(&asking.id).await?;
            self.read(&asking.id).await?;
        }
        self.person = Some(other);
        Ok(())
    }

    async fn lose(&mut self, person: &Person) -> Result<Vec<(Asking, VerifiedChallenge)>, Turn> {
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            let asking = self.ask(person, 300).await?;
            let challenge = self.pull(person, &asking).await?;
            waiting.push((asking, challenge));
        }
        let revoke = self.revoke(person);
        let answer = async {
            // Not the first one: it is still open afterwards.
            for (asking, challenge) in waiting.iter().skip(1) {
                self.answer(person, challenge, &Answer::approve(Some(&asking.number)), "lost").await?;
            }
            Ok::<_, Turn>(())
        };
        let (revoked, answered) = tokio::join!(revoke, answer);
        revoked?;
        answered?;
        for (asking, _) in &waiting {
            // What is still open now is not this phone's any more.
            self.read(&asking.id).await?;
        }
        for (asking, challenge) in &waiting {
            self.answer(person, challenge, &Answer::approve(Some(&asking.number)), "lost").await?;
            self.read(&asking.id).await?;
        }
        // Its pulls are refused as well: whatever comes is recorded.
        let (asking, _) = waiting.first().ok_or(Turn::Refused)?;
        let _refused = self.pull(person, asking).await;
        Ok(waiting)
    }

    /// An admin revokes the phone.
    pub(crate) async fn revoke(&self, person: &Person) -> Result<End, Turn> {
        let device = person.device().to_string();
        let asked = Asked::new(self.number, Op::RevokeDevice, &device).device(&device);
        let (admin, path) = (self.world.idp.clone(), format!("/v1/devices/{device}"));
        certain(async || admin.call(asked.clone(), Method::DELETE, &path, None).await).await
    }
}
