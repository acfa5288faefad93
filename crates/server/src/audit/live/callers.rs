//! API clients and their keys against the log: who exists, and who is revoked.
//!
//! What a client may do, and whose a key is, is sealed, and refused when it is used; a revocation that was taken back in
//! the database breaks no seal, and is found here. To compare one more thing: a line in `follow` and in `doubt_client`
//! or `doubt_keys`.

use std::collections::HashMap;

use countersign_core::{api_client::ApiClient, ports::PageRequest};
use countersign_proto::{
    api::events::Event,
    ids::{ApiClientId, ApiKeyId, TenantId},
};

use super::{
    super::{Audit, AuditError},
    PORTION, word,
};
use crate::signing::Sealed;

/// What the log says.
#[derive(Default)]
pub(super) struct Callers(HashMap<ApiClientId, Client>);

#[derive(Default)]
struct Client {
    is_made: bool,
    is_revoked: bool,
    /// Of each key, whether it is revoked.
    keys: HashMap<ApiKeyId, bool>,
    /// Whether the log tells of the first one, too: not if it was made before events named it.
    has_all_keys: bool,
}

impl Callers {
    pub(super) fn follow(&mut self, event: &Event) {
        let Some(id) = event.api_client_id else { return };
        let key = || word(event, "api_key_id").and_then(|id| id.parse::<ApiKeyId>().ok());
        match event.kind.as_str() {
            "api_client.created" => {
                let client = self.0.entry(id).or_default();
                client.is_made = true;
                if let Some(key) = key() {
                    client.keys.entry(key).or_default();
                    client.has_all_keys = true;
                }
            }
            "api_client.key_added" => {
                let client = self.0.entry(id).or_default();
                key().map(|key| client.keys.entry(key).or_default());
            }
            "api_client.key_revoked" => {
                self.0.entry(id).or_default().keys.extend(key().map(|key| (key, true)));
            }
            "api_client.revoked" => self.0.entry(id).or_default().is_revoked = true,
            _ => {}
        }
    }

    /// What is in doubt, each in one line.
    pub(super) async fn compare(&self, audit: &Audit, tenant_id: TenantId) -> Result<Vec<String>, AuditError> {
        let mut doubts = Vec::new();
        let mut unmet: HashMap<_, _> = self.0.iter().filter(|(_, client)| client.is_made).collect();
        let mut before = None;
        loop {
            let page = PageRequest { before, limit: PORTION };
            let rows = audit.store.api_clients(tenant_id, page).await?;
            for row in &rows {
                let Some(client) = unmet.remove(&row.id) else {
                    doubts.push(format!("api_clients {}: no event made it", row.id));
                    continue;
                };
                doubts.extend(doubt_client(audit, client, row).map(|why| format!("api_clients {}: {why}", row.id)));
                doubt_keys(audit, client, row, &mut doubts).await?;
            }
            before = rows.last().map(|last| last.id);
            if rows.len() < PORTION as usize {
                break;
            }
        }
        doubts.extend(unmet.keys().map(|id| format!("api_clients {id}: the log tells of it, and it is gone")));
        Ok(doubts)
    }
}

fn doubt_client(audit: &Audit, client: &Client, row: &ApiClient) -> Option<&'static str> {
    if row.revoked_at.is_some() != client.is_revoked {
        return Some("whether it is revoked is another in the log");
    }
    let content = Sealed::ApiClient {
        client_id: row.id,
        tenant_id: row.tenant_id,
        scopes: &row.scopes,
        applications: row.applications.as_ref(),
    };
    let is_ours = row.seal.as_ref().is_some_and(|seal| audit.keys.seals().holds(seal, &content));
    (!client.is_revoked && !is_ours).then_some("what it may do is not what this server sealed: it is refused")
}

async fn doubt_keys(
    audit: &Audit,
    client: &Client,
    row: &ApiClient,
    doubts: &mut Vec<String>,
) -> Result<(), AuditError> {
    let mut unmet: HashMap<_, _> = client.keys.iter().collect();
    for key in audit.store.api_keys(row.tenant_id, row.id).await? {
        let known = unmet.remove(&key.id);
        if known.is_none() && client.has_all_keys {
            doubts.push(format!("api_keys {}: no event made it", key.id));
        } else if key.revoked_at.is_some() != (client.is_revoked || known.copied().unwrap_or_default()) {
            doubts.push(format!("api_keys {}: whether it is revoked is another in the log", key.id));
        }
    }
    doubts.extend(unmet.keys().map(|id| format!("api_keys {id}: the log tells of it, and it is gone")));
    Ok(())
}
