//! What a reply may say: only what is committed, never two different ends, never anything of another organisation.

use countersign_proto::{
    ids::ChallengeId,
    vocabulary::{ChallengeReason, ChallengeStatus, DeviceStatus},
};

use super::{Oracle, Told};
use crate::simulation::{
    node::{Job, Reply, Request},
    tables::Tables,
};

impl Oracle {
    /// A node replies at this step, to a call of which it read the last at `job.read_at`.
    pub(crate) fn replies(&mut self, step: u64, job: &Job, reply: &Reply, tables: &Tables) {
        match reply {
            Reply::Created { id, .. } => {
                let tenant = tables.challenges.get(id).map(|challenge| challenge.text.facts.tenant_id);
                self.must(step, tenant.is_some(), || format!("{id} is acknowledged and does not exist"));
                if let Request::Create { client, .. } = &job.request {
                    self.must(step, tenant.is_none_or(|tenant| tenant == client.tenant), || {
                        format!("{id} is another's")
                    });
                }
            }
            Reply::Shown { id, status, reason } => {
                if let Request::Read(client, _) | Request::Cancel(client, _) | Request::Code(client, ..) = &job.request
                {
                    let owner = tables.challenges.get(id).map(|challenge| challenge.text.facts.tenant_id);
                    self.must(step, owner == Some(client.tenant), || format!("{id} is shown to another organisation"));
                }
                self.says(step, job, *id, (*status, Some(*reason)), tables);
            }
            Reply::Recorded { id, status, .. } => self.says(step, job, *id, (*status, None), tables),
            Reply::NumberMismatch(id) => {
                let wrong = Some(Some(ChallengeReason::WrongNumber));
                self.says(step, job, *id, (ChallengeStatus::Denied, wrong), tables);
            }
            Reply::Closed(id, status) => self.says(step, job, *id, (*status, None), tables),
            Reply::Changed(id, status @ DeviceStatus::Revoked) => {
                let is_so = tables.devices.get(id).is_none_or(|device| device.status == *status);
                self.must(step, is_so, || format!("{id} is said to be revoked and is not"));
            }
            Reply::Erased(id) => {
                let is_so = tables.users.get(id).is_some_and(|user| user.is_erased);
                self.must(step, is_so, || format!("{id} is said to be erased and is not"));
            }
            Reply::Inbox(texts) => {
                let Request::Inbox(key) = &job.request else { return };
                let device = tables.keys.get(key).map(|(device, _)| *device);
                let owner =
                    device.and_then(|id| self.registrations.get(&id)).map(|device| (device.tenant, device.user));
                let is_own = texts.iter().all(|text| Some((text.facts.tenant_id, text.facts.user.id)) == owner);
                self.must(step, is_own, || format!("{device:?} is shown what another is asked"));
            }
            Reply::Confirmed | Reply::Registered { .. } | Reply::Invited(..) | Reply::Rotated => {}
            Reply::Changed(..) | Reply::Unlocked | Reply::Skewed(_) | Reply::Refused(_) | Reply::Unavailable => {}
        }
    }

    fn says(
        &mut self,
        step: u64,
        job: &Job,
        id: ChallengeId,
        (status, reason): (ChallengeStatus, Option<Option<ChallengeReason>>),
        tables: &Tables,
    ) {
        let before = self.told.get(&id).copied();
        if status == ChallengeStatus::Pending {
            // Who read before somebody else was told the end may still say what it read.
            let is_late = before.is_some_and(|told| told.step < job.read_at);
            return self.must(step, !is_late, || format!("{id} is said to be pending after its end was told"));
        }
        if let Some(before) = before {
            let same = before.status == status && reason.is_none_or(|reason| reason == before.reason);
            return self
                .must(step, same, || format!("{id} was said to be {:?} and is said to be {status:?}", before.status));
        }
        let row = tables.challenges.get(&id);
        let is_so = row.is_some_and(|row| row.status == status && reason.is_none_or(|reason| reason == row.reason));
        self.must(step, is_so, || format!("{id} is said to be {status:?} and is {:?}", row.map(|row| row.status)));
        let reason = row.and_then(|row| row.reason);
        self.told.insert(id, Told { status, reason, step });
    }
}
