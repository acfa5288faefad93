//! Statements that are put together from the dialect's pieces, once, when the store is opened.
//!
//! The one place that vouches for SQL that is not a literal: everything passed to [`Statement::new`] is made of
//! literals of this crate. Values are always bound, never formatted in.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// A statement that both databases have in their own spelling.
#[derive(Debug, Clone)]
pub(crate) struct Statement(SqlStr);

impl Statement {
    /// From text of this crate's own making.
    pub(crate) fn new(text: String) -> Self {
        let shared: std::sync::Arc<str> = text.into();
        Self(AssertSqlSafe(shared).into_sql_str())
    }
}

impl SqlSafeStr for &Statement {
    /// Shares the text, does not copy it.
    fn into_sql_str(self) -> SqlStr {
        self.0.clone()
    }
}
