//! The person's challenges in an export: with deliveries, evidence, and the requests that are kept for a repeat.
//!
//! Of one that waits, the signed text is left out: the choices are in it, of which one is the number.

use std::{collections::HashMap, io};

use countersign_core::ports::{
    PageRequest,
    challenges::ChallengeFilter,
    users::{Kept, KeptRow},
};
use countersign_proto::ids::ChallengeId;
use serde_json::{Map, Value, json};

use super::{Export, PAGE, broken};
use crate::{decisions::Viewer, http::challenges::show_delivery};

/// What a row is of.
const OF: &str = "challenge_id";
/// What evidence has in it already.
const SIGNED: [&str; 3] = ["signed_challenge", "signed_response", "signed_binding"];

/// Writes the member `challenges`.
pub(super) async fn write(export: &Export) -> io::Result<()> {
    let mut entries = export.open("challenges").await?;
    let mut page = PageRequest { before: None, limit: PAGE };
    loop {
        // By our id: the same name may be somebody else's by the next page.
        let user_id = Some(export.user.name.id);
        let filter = ChallengeFilter { user_id, now: Some(export.now), ..ChallengeFilter::default() };
        let records = export.app.store.challenges(export.tenant_id, filter, page).await.map_err(broken)?;
        page.before = records.last().map(|last| last.facts.id);
        let is_last = records.len() < PAGE as usize;
        let mut beside = Beside::read(export, records.iter().map(|record| record.facts.id).collect()).await?;
        for record in records {
            let id = record.facts.id;
            // One that does not verify is named, and has raised its alarm; it hides nothing else.
            let Ok(mut shown) = export.app.decisions.show(&record, Viewer::Auditor, true, export.now) else {
                entries.add(&json!({"id": id, "unverifiable": true})).await?;
                continue;
            };
            let deliveries = export.app.store.deliveries(export.tenant_id, id).await.map_err(broken)?;
            shown.deliveries = Some(deliveries.into_iter().map(show_delivery).collect());
            let has_evidence = shown.evidence.is_some();
            let Value::Object(mut entry) = serde_json::to_value(shown)? else {
                return Err(io::Error::other("a challenge is no object"));
            };
            entry.extend(beside.of(id, has_evidence));
            entries.add(&entry).await?;
        }
        if is_last {
            return entries.close().await;
        }
    }
}

/// What is kept beside the records of a page.
struct Beside {
    rows: HashMap<String, Vec<KeptRow>>,
    requests: HashMap<String, Vec<KeptRow>>,
}

impl Beside {
    async fn read(export: &Export, ids: Vec<ChallengeId>) -> io::Result<Self> {
        let rows = by(OF, export.kept(Kept::Challenges(ids.clone())).await?);
        let requests = by(OF, export.kept(Kept::RequestKeys(ids, export.now)).await?);
        Ok(Self { rows, requests })
    }

    /// The members of this challenge.
    fn of(&mut self, id: ChallengeId, has_evidence: bool) -> Map<String, Value> {
        let id = id.to_string();
        let mut members: Map<String, Value> = self.rows.remove(&id).unwrap_or_default().into_iter().flatten().collect();
        if has_evidence {
            members.retain(|name, _| !SIGNED.contains(&name.as_str()));
        }
        let requests: Value = self.requests.remove(&id).unwrap_or_default().into_iter().map(Value::Object).collect();
        members.insert("kept_requests".to_owned(), requests);
        members
    }
}

/// Rows by the id in this member, which goes.
pub(super) fn by(member: &str, rows: Vec<KeptRow>) -> HashMap<String, Vec<KeptRow>> {
    let mut all: HashMap<String, Vec<KeptRow>> = HashMap::new();
    for mut row in rows {
        if let Some(Value::String(id)) = row.remove(member) {
            all.entry(id).or_default().push(row);
        }
    }
    all
}
