//! The audit.

use std::path::PathBuf;

use serde::Deserialize;

/// The audit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Where the newest checkpoints are written to; empty: nowhere.
    pub checkpoint_folder: PathBuf,
    /// Whether a database that is older than those checkpoints is meant: said on the command line, for one start.
    #[serde(skip)]
    pub accepts_restored_database: bool,
}
