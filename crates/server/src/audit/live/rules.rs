//! What an organisation asks for, against the log: its policies, its settings, whether anybody may act for it.
//!
//! The log has digests of the very texts: a policy that was rewritten, or that was in force once and was put back, is
//! another one. Changes nothing. To compare one more member: its digest in the event of its change, a line in `follow`
//! and in `doubt`.

use std::collections::HashMap;

use countersign_core::{
    digest::Digest,
    policy::{Policy, stricter},
    ports::audit::AuditedTenant,
};
use countersign_proto::{api::events::Event, ids::TenantId, timestamp::Timestamp, vocabulary::ClientAuthentication};

use super::{
    super::{Audit, AuditError},
    MOMENT_SECONDS, PORTION, word,
};

/// What the log says.
#[derive(Default)]
pub(super) struct Rules {
    /// The digest of each version of the policy.
    policies: HashMap<u32, String>,
    settings: Latest<String>,
    is_disabled: Latest<bool>,
}

/// What something became last; of what happened at the same moment either may have been the last.
#[derive(Default)]
pub(super) struct Latest<T>(Vec<(Timestamp, T)>);

impl<T: PartialEq> Latest<T> {
    pub(super) fn set(&mut self, at: Timestamp, value: T) {
        self.0.retain(|(before, _)| before.plus_seconds(MOMENT_SECONDS) >= at);
        self.0.push((at, value));
    }

    /// `usual`: if nothing ever happened to it.
    pub(super) fn may_be(&self, value: &T, usual: &T) -> bool {
        if self.0.is_empty() { value == usual } else { self.0.iter().any(|(_, known)| known == value) }
    }
}

impl Rules {
    pub(super) fn follow(&mut self, event: &Event) {
        let at = event.created_at;
        match event.kind.as_str() {
            "tenant.created" => self.policies.extend(word(event, "policy_sha256").map(|digest| (1, digest))),
            "policy.changed" => {
                let version = event.data.get("version").and_then(serde_json::Value::as_u64);
                let version = version.and_then(|version| u32::try_from(version).ok());
                self.policies.extend(version.zip(word(event, "policy_sha256")));
            }
            "tenant.changed" => {
                if let Some(digest) = word(event, "settings_sha256") {
                    self.settings.set(at, digest);
                }
            }
            "tenant.disabled" => self.is_disabled.set(at, true),
            "tenant.enabled" => self.is_disabled.set(at, false),
            _ => {}
        }
    }

    /// What is in doubt, each in one line.
    pub(super) async fn compare(&self, audit: &Audit, tenant_id: TenantId) -> Result<Vec<String>, AuditError> {
        let Some(row) = audit.store.audited_tenant(tenant_id).await? else {
            return Ok(vec![format!("tenants {tenant_id}: the log tells of it, and it is gone")]);
        };
        let mut doubts: Vec<_> =
            self.doubt(&row).map(|why| format!("tenants {tenant_id}: {why}")).into_iter().collect();
        let mut written = Vec::new();
        loop {
            let after = written.last().copied().unwrap_or_default();
            let portion = audit.store.audited_policies(tenant_id, after, PORTION).await?;
            for kept in &portion {
                if !self.is_policy(kept.version, &kept.policy) {
                    doubts.push(format!("policy_versions {}: it is another one in the log", kept.version));
                }
            }
            written.extend(portion.iter().map(|kept| kept.version));
            if portion.len() < PORTION as usize {
                break;
            }
        }
        // The first one is written down only when another takes its place.
        let was_changed = self.newest() > 1;
        let missing = |version: &u32| !written.contains(version) && (*version > 1 || was_changed);
        let mut missing: Vec<_> = self.policies.keys().copied().filter(missing).collect();
        missing.sort_unstable();
        doubts.extend(missing.iter().map(|version| format!("policy_versions {version}: it is gone")));
        Ok(doubts)
    }

    fn newest(&self) -> u32 {
        self.policies.keys().copied().max().unwrap_or(1)
    }

    fn doubt(&self, row: &AuditedTenant) -> Option<&'static str> {
        if row.policy_version != self.newest() || !self.is_policy(row.policy_version, &row.policy) {
            return Some("its policy is another one in the log");
        }
        let Ok(policy) = serde_json::from_str::<Policy>(&row.policy) else { return Some("its policy cannot be read") };
        let asks_for_proof = stricter::bound(&policy).client_authentication == ClientAuthentication::ClientProof;
        if row.is_proof_required != asks_for_proof {
            return Some("whether callers have to sign is not what its policy says");
        }
        let settings = Digest::of(&row.settings).to_b64u();
        if !self.settings.may_be(&settings, &Digest::of("{}").to_b64u()) {
            return Some("its settings are others in the log");
        }
        if !self.is_disabled.may_be(&row.is_disabled, &false) {
            return Some("whether it is disabled is another in the log");
        }
        (row.event_head != row.positioned).then_some("its events have another last position than its tree")
    }

    /// Whether this was the policy's text in that version. A log from before such digests says nothing of the first one,
    /// which is then the usual one.
    fn is_policy(&self, version: u32, text: &str) -> bool {
        match self.policies.get(&version) {
            Some(digest) => *digest == Digest::of(text).to_b64u(),
            None => {
                version == 1 && serde_json::from_str::<Policy>(text).is_ok_and(|policy| policy == Policy::default())
            }
        }
    }
}
