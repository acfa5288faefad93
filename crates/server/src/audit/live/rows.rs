//! Challenges and devices against what the log says of them. To doubt one more thing: a line in `doubt_challenge` or
//! `doubt_device`.

use std::collections::{HashMap, HashSet};

use countersign_core::{
    challenge::ChallengeRecord,
    device::KeyRole,
    ports::{
        PageRequest, StoreError,
        audit::{AuditedDevice, AuditedKey},
        challenges::ChallengeFilter,
    },
    verify::Signer,
};
use countersign_proto::{
    ids::{DeviceId, Id, TenantId},
    jose::{PublicKey, sha256},
    timestamp::Timestamp,
    vocabulary::{ChallengeReason, ChallengeStatus, DeviceStatus, Word as _},
};
use uuid::Uuid;

use super::{About, Audit, AuditError, Decisions, Log, PORTION, Part, Suspicion};
use crate::decisions::Viewer;

impl Log {
    pub(super) async fn compare_challenges(
        &self,
        audit: &Audit,
        decisions: &Decisions,
        tenant_id: TenantId,
        now: Timestamp,
        suspicions: &mut Vec<Suspicion>,
    ) -> Result<(), AuditError> {
        let mut before = None;
        loop {
            let page = PageRequest { before, limit: PORTION };
            let rows = match audit.store.challenges(tenant_id, ChallengeFilter::default(), page).await {
                Ok(rows) => rows,
                Err(StoreError::Corrupt { table, column, row }) => {
                    let detail = format!("{table} {row}: {column} cannot be read");
                    suspicions.push(Suspicion { about: About::Unreadable, detail });
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            for row in &rows {
                if let Some(why) = self.doubt_challenge(decisions, row, now) {
                    suspicions.push(Suspicion::of_challenge(row.facts.id, &why));
                }
            }
            before = rows.last().map(|last| last.facts.id);
            if rows.len() < PORTION as usize {
                return Ok(());
            }
        }
    }

    /// Those that are still doubted, now that the log says more: each row as it is now.
    pub(super) async fn look_again(
        &self,
        audit: &Audit,
        decisions: &Decisions,
        tenant_id: TenantId,
        now: Timestamp,
        doubted: Vec<Suspicion>,
    ) -> Result<Vec<Suspicion>, AuditError> {
        let (mut still, mut parts) = (Vec::new(), Vec::new());
        for suspicion in doubted {
            match suspicion.about {
                About::Challenge(id) => match audit.store.challenge(tenant_id, id).await {
                    Ok(row) => {
                        let why = row.and_then(|row| self.doubt_challenge(decisions, &row, now));
                        still.extend(why.map(|why| Suspicion::of_challenge(id, &why)));
                    }
                    Err(StoreError::Corrupt { .. }) => still.push(suspicion),
                    Err(error) => return Err(error.into()),
                },
                About::Device(id) => {
                    let before = Id::from_uuid(Uuid::from_u128(id.as_uuid().as_u128().saturating_sub(1)));
                    match audit.store.audited_devices(tenant_id, Some(before), 1).await {
                        Ok(mut rows) => {
                            rows.retain(|row| row.id == id);
                            if rows.is_empty() {
                                still.extend(self.miss(id));
                            }
                            self.doubt_devices(audit, tenant_id, &rows, &mut still).await?;
                        }
                        Err(StoreError::Corrupt { .. }) => still.push(suspicion),
                        Err(error) => return Err(error.into()),
                    }
                }
                // Below, once for all that is doubted there.
                About::Part(part) => parts.extend((!parts.contains(&part)).then_some(part)),
                About::Unreadable => still.push(suspicion),
            }
        }
        for part in parts {
            still.extend(self.compare_part(audit, tenant_id, part, now).await?);
        }
        Ok(still)
    }

    pub(super) async fn compare_part(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        part: Part,
        now: Timestamp,
    ) -> Result<Vec<Suspicion>, AuditError> {
        let outcome = match part {
            Part::Rules => self.rules.compare(audit, tenant_id).await,
            Part::Callers => self.callers.compare(audit, tenant_id).await,
            Part::People => self.people.compare(audit, tenant_id, &self.erased, now).await,
            Part::Webhooks => self.webhooks.compare(audit, tenant_id, now).await,
        };
        let doubts = match outcome {
            Err(AuditError::Store(StoreError::Corrupt { table, column, row })) => {
                vec![format!("{table} {row}: {column} cannot be read")]
            }
            outcome => outcome?,
        };
        Ok(doubts.into_iter().map(|detail| Suspicion { about: About::Part(part), detail }).collect())
    }

    fn doubt_challenge(&self, decisions: &Decisions, row: &ChallengeRecord, now: Timestamp) -> Option<String> {
        let Some(end) = self.challenges.get(&row.facts.id) else {
            return Some("no event tells of it".to_owned());
        };
        let said = end.as_ref().map_or(ChallengeStatus::Pending, |end| end.status);
        if said != row.status {
            return Some(format!("it is {}, the log says {}", row.status.as_str(), said.as_str()));
        }
        if let Some(end) = end.as_ref().filter(|_| said != ChallengeStatus::Expired) {
            let said_flags = if end.is_by_code { self.shown_flags.get(&row.facts.id) } else { end.flags.as_ref() };
            let flags: Vec<_> = row.flags.iter().map(|flag| flag.as_str()).collect();
            let is_decision = matches!(said, ChallengeStatus::Approved | ChallengeStatus::Denied);
            let device_id = row.device.as_ref().map(|device| device.id);
            let agrees = row.decided_at.map(Timestamp::floor_to_second) == Some(end.at)
                && row.reason.map(ChallengeReason::as_str) == end.reason.as_deref()
                && flags.join(" ") == said_flags.map(String::as_str).unwrap_or_default()
                && (!is_decision || device_id == end.device_id);
            if !agrees {
                return Some("when, why, how or by which device it ended is another in the log".to_owned());
            }
        }
        if row.erased_at.is_some() {
            let is_erased = self.erased.contains(&row.facts.user.id);
            return (!is_erased).then(|| "erased, of a person who was not".to_owned());
        }
        decisions.show(row, Viewer::Auditor, false, now).err().map(|_| "it does not verify".to_owned())
    }

    pub(super) async fn compare_devices(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        suspicions: &mut Vec<Suspicion>,
    ) -> Result<(), AuditError> {
        let known = self.devices.iter().filter(|(_, trace)| trace.was_active());
        let mut unmet: HashSet<_> = known.map(|(id, _)| *id).collect();
        let mut after = None;
        loop {
            let rows = match audit.store.audited_devices(tenant_id, after, PORTION).await {
                Ok(rows) => rows,
                Err(StoreError::Corrupt { table, column, row }) => {
                    let detail = format!("{table} {row}: {column} cannot be read");
                    suspicions.push(Suspicion { about: About::Unreadable, detail });
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            self.doubt_devices(audit, tenant_id, &rows, suspicions).await?;
            rows.iter().for_each(|row| _ = unmet.remove(&row.id));
            after = rows.last().map(|last| last.id);
            if rows.len() < PORTION as usize {
                break;
            }
        }
        suspicions.extend(unmet.into_iter().filter_map(|id| self.miss(id)));
        Ok(())
    }

    /// A device that is not there: the log knows why, or it is a suspicion.
    fn miss(&self, id: DeviceId) -> Option<Suspicion> {
        let user = self.devices.get(&id).filter(|trace| trace.was_active()).and_then(|trace| trace.user_id)?;
        (!self.erased.contains(&user)).then(|| Suspicion::of_device(id, "the log tells of it, and it is gone"))
    }

    async fn doubt_devices(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        rows: &[AuditedDevice],
        suspicions: &mut Vec<Suspicion>,
    ) -> Result<(), AuditError> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut keys: HashMap<DeviceId, Vec<AuditedKey>> = HashMap::new();
        for key in audit.store.audited_keys(&ids).await? {
            keys.entry(key.device_id).or_default().push(key);
        }
        for row in rows {
            let keys = keys.remove(&row.id).unwrap_or_default();
            if let Some(why) = self.doubt_device(audit, tenant_id, row, &keys) {
                suspicions.push(Suspicion::of_device(row.id, why));
            }
        }
        Ok(())
    }

    fn doubt_device(
        &self,
        audit: &Audit,
        tenant_id: TenantId,
        row: &AuditedDevice,
        keys: &[AuditedKey],
    ) -> Option<&'static str> {
        let trace = self.devices.get(&row.id).filter(|trace| trace.was_active());
        let Some(trace) = trace else {
            // Nobody has confirmed it yet, or ever did: it may do nothing.
            let may_do_nothing = matches!(row.status, DeviceStatus::PendingConfirmation | DeviceStatus::Revoked);
            return (!may_do_nothing).then_some("no event made it active");
        };
        if trace.user_id != Some(row.user_id) {
            return Some("it is another person's in the log");
        }
        if !trace.may_be(row.status) {
            return Some("its status is another one in the log");
        }
        if row.is_erased {
            return (!self.erased.contains(&row.user_id)).then_some("erased, of a person who was not");
        }
        let Some(binding) = &row.binding else { return Some("the statement about its keys is gone") };
        if !trace.may_have(&sha256(&binding.jws)) {
            return Some("the statement about its keys is another one in the log");
        }
        let current =
            [(Some(&row.key_thumbprint), KeyRole::Device), (row.uv_thumbprint.as_ref(), KeyRole::UserVerification)];
        for (thumbprint, role) in current {
            let Some(thumbprint) = thumbprint else { continue };
            let key = keys.iter().find(|key| key.thumbprint == thumbprint.as_str() && key.role == role.as_str());
            let Some(key) = key.filter(|key| key.tenant_id == tenant_id) else {
                return Some("a current key of it is gone, or another's");
            };
            let signer = Signer { device_id: row.id, tenant_id, user_id: row.user_id, role };
            let public_key = PublicKey::from_sec1(&key.public_key).ok();
            let Some(public_key) = public_key.filter(|key| key.thumbprint() == *thumbprint) else {
                return Some("a current key of it is not what its thumbprint says");
            };
            match audit.keys.binds(binding, &signer, &public_key) {
                None => return Some("the statement about its keys does not hold"),
                Some(claims) if claims.external_id != row.external_id => return Some("its person has another name"),
                Some(claims) if claims.uv_jwk.is_some() != row.uv_thumbprint.is_some() => {
                    return Some("it has a key more or less than stated");
                }
                Some(_) => {}
            }
        }
        let is_itself = |key: &AuditedKey| {
            PublicKey::from_sec1(&key.public_key).is_ok_and(|public| public.thumbprint().as_str() == key.thumbprint)
                && key.tenant_id == tenant_id
        };
        (!keys.iter().all(is_itself)).then_some("a former key of it is not what its thumbprint says")
    }
}
