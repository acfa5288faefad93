//! `/v1/audit` (protocol 14): the log for auditors, its checkpoints, proofs, exports.

pub mod checkpoint;
pub mod export;
pub mod key;
pub mod list;
pub mod prove;

use super::problem::ApiError;
use crate::audit::AuditError;

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => error.into(),
            AuditError::BeyondEnd => Self::invalid("", "is beyond the end of the log"),
            AuditError::Distrusted(what) => Self::internal(what),
            AuditError::RolledBack => Self::internal("the database is behind what was signed"),
            AuditError::Overtaken => Self::internal("what is kept has become less meanwhile"),
        }
    }
}
