//! What may be gone: until when challenges were deleted because they had been kept for long enough.
//!
//! Written down, under the log key, before the first of them is deleted, and never taken back: so a retention that is
//! made longer afterwards makes no lawful deletion look like another, and nobody who rewrites the database (this note,
//! or the days that somebody has set) makes another deletion look lawful. Who puts an older note back, or removes it,
//! only makes it later known that what is gone may be.
//! To forget one more thing that an export proves: a note of its own, with another word in its text.

use countersign_core::ports::StoreError;
use countersign_proto::{
    audit::{open_note, sign_note},
    ids::TenantId,
    timestamp::Timestamp,
};

use super::Audit;
use crate::alarm;

/// The name under which the log key signs these notes: no log has it, and so none of them is a checkpoint.
const NAME: &str = "countersign/forgotten";
/// Notes are of whole hours, so that few are written: evidence of less than an hour more than may be is not missed.
const HOUR_MILLIS: i64 = 60 * 60 * 1_000;
/// How often it is tried again because somebody else was faster.
const TRIES: usize = 3;

impl Audit {
    /// Writes down that challenges from before `made_before` may be deleted, of an organisation or of all. Delete them
    /// only if this is `true`: else somebody has written something else each time, and it has to be tried later.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn may_forget(&self, tenant_id: Option<TenantId>, made_before: Timestamp) -> Result<bool, StoreError> {
        let hours = made_before.as_millis().saturating_add(HOUR_MILLIS - 1).div_euclid(HOUR_MILLIS);
        let until = Timestamp::from_millis(hours.saturating_mul(HOUR_MILLIS));
        let note = sign_note(&text(tenant_id, until), NAME, &self.key);
        for _ in 0..TRIES {
            let before = self.store.forgotten(tenant_id).await?;
            let known = before.as_deref().and_then(|note| self.open_forgotten(tenant_id, note));
            if known.is_some_and(|known| known >= made_before) {
                return Ok(true);
            }
            // Never over a note that was not looked at: it may say more.
            if self.store.put_forgotten(tenant_id, before, note.clone()).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Challenges of the organisation that were made before may have been deleted; `None`: none was.
    pub(super) async fn forgotten_until(&self, tenant_id: TenantId) -> Result<Option<Timestamp>, StoreError> {
        let mut until = None;
        for whose in [None, Some(tenant_id)] {
            let note = self.store.forgotten(whose).await?;
            until = until.max(note.and_then(|note| self.open_forgotten(whose, &note)));
        }
        Ok(until)
    }

    fn open_forgotten(&self, tenant_id: Option<TenantId>, note: &str) -> Option<Timestamp> {
        let opened = open_note(note, &self.key.verifier(NAME)).ok();
        let until = opened.and_then(|opened| opened.lines().nth(2)).and_then(|millis| millis.parse().ok());
        let until = until.map(Timestamp::from_millis).filter(|until| opened == Some(text(tenant_id, *until).as_str()));
        if until.is_none() {
            alarm::raise("audit_forgotten_invalid", &whose(tenant_id));
        }
        until
    }
}

fn whose(tenant_id: Option<TenantId>) -> String {
    tenant_id.map_or_else(|| "all".to_owned(), |id| id.to_string())
}

fn text(tenant_id: Option<TenantId>, until: Timestamp) -> String {
    format!("{NAME}\n{}\n{}\n", whose(tenant_id), until.as_millis())
}
