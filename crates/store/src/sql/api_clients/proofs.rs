//! Proofs that were spent: what an API client has signed changes something once, on whatever node it arrives.
//!
//! A row for each, until its `iat` refuses the proof anyway. Only the client itself can make rows: its signature is
//! verified before. Many share one statement and one commit with the sign-ins that they are for.

use std::collections::HashSet;

use countersign_core::ports::api_clients::SpendProof;
use countersign_proto::ids::ApiClientId;
use serde_json::json;

use super::super::{Columns, Tx, dialect, query};
use crate::{
    failure::Failure,
    rows::{self, Type},
    statement::Statement,
};

const PROOFS: &rows::Columns = &[
    ("r_client_id", Type::Id),
    ("r_jti", Type::Text),
    ("r_tenant_id", Type::Id),
    ("r_expires_at", Type::Integer),
    ("r_decision_id", Type::Id),
];

/// See the module.
pub(super) struct Statements {
    spend_proofs: Statement,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // Of two that arrive at once, here or on two nodes, the second waits for the first and finds its row. A
            // command that is run again finds its own, and is told what it was told before.
            spend_proofs: Statement::new(format!(
                "-- spend_proofs
                INSERT INTO client_proof_jtis (client_id, jti, tenant_id, expires_at, decision_id)
                SELECT r_client_id, r_jti, r_tenant_id, r_expires_at, r_decision_id FROM {proofs}
                WHERE true ORDER BY r_client_id, r_jti
                ON CONFLICT (client_id, jti) DO UPDATE SET expires_at = excluded.expires_at
                    WHERE client_proof_jtis.decision_id = excluded.decision_id
                RETURNING client_id, jti",
                proofs = dialect::row_source(1, PROOFS),
            )),
        }
    }
}

impl Tx<'_> {
    /// For each proof, no two of which are the same, whether it was not spent before.
    pub(in super::super) async fn spend_proofs(&mut self, proofs: &[&SpendProof]) -> Result<Vec<bool>, Failure> {
        let row = |proof: &&SpendProof| {
            json!({"r_client_id": rows::id(proof.client_id), "r_jti": proof.jti,
                "r_tenant_id": rows::id(proof.tenant_id), "r_expires_at": rows::time(proof.expires_at),
                "r_decision_id": rows::id(proof.command_id)})
        };
        let parameter = rows::to_parameter(PROOFS, proofs.iter().map(row).collect());
        let statements = self.statements();
        let rows = self.fetch_all(query(&statements.api_clients.proofs.spend_proofs).bind(parameter)).await?;
        let mut spent: HashSet<(ApiClientId, String)> = HashSet::with_capacity(rows.len());
        for row in &rows {
            let columns = Columns::new("client_proof_jtis", row);
            spent.insert((columns.id("client_id")?, columns.text("jti")?));
        }
        Ok(proofs.iter().map(|proof| spent.contains(&(proof.client_id, proof.jti.clone()))).collect())
    }
}
