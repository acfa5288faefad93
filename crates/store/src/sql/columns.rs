//! Reading a row: typed columns, each of which says which one is corrupt if it cannot be read.
//!
//! The first selected column names the row in an error: select the key first.

use std::str::FromStr;

use countersign_core::{digest::Digest, ports::StoreError};
use countersign_proto::{ids::Id, timestamp::Timestamp};
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use uuid::Uuid;

use super::{Db, Row};

/// A row, mostly of `table`.
pub(super) struct Columns<'r> {
    row: &'r Row,
    table: &'static str,
}

impl<'r> Columns<'r> {
    /// To read `row`.
    pub(super) fn new(table: &'static str, row: &'r Row) -> Self {
        Self { row, table }
    }

    /// Whatever sqlx can read: `i64`, `String`, `Option<Vec<u8>>` …
    pub(super) fn get<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, Db> + sqlx::Type<Db>,
    {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    /// An id.
    pub(super) fn id<K>(&self, column: &'static str) -> Result<Id<K>, StoreError> {
        self.get(column).map(Id::from_uuid)
    }

    /// An id that may be NULL.
    pub(super) fn optional_id<K>(&self, column: &'static str) -> Result<Option<Id<K>>, StoreError> {
        Ok(self.get::<Option<Uuid>>(column)?.map(Id::from_uuid))
    }

    /// Text.
    pub(super) fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.get(column)
    }

    /// Text that may be NULL.
    pub(super) fn optional_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    /// A number.
    pub(super) fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        self.get(column)
    }

    /// A number that is never negative.
    pub(super) fn count(&self, column: &'static str) -> Result<u32, StoreError> {
        self.integer(column)?.try_into().map_err(|_| self.corrupt(column))
    }

    /// 0 or 1.
    pub(super) fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        match self.integer(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt(column)),
        }
    }

    /// A time.
    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_millis)
    }

    /// A time that may be NULL.
    pub(super) fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }

    /// A SHA-256 digest.
    pub(super) fn digest(&self, column: &'static str) -> Result<Digest, StoreError> {
        Digest::from_slice(&self.get::<Vec<u8>>(column)?).ok_or_else(|| self.corrupt(column))
    }

    /// Text with a form: a status, a thumbprint, scopes.
    pub(super) fn word<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| self.corrupt(column))
    }

    /// Such text that may be NULL.
    pub(super) fn optional_word<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text = self.optional_text(column)?;
        text.map(|text| text.parse().map_err(|_| self.corrupt(column))).transpose()
    }

    /// JSON text.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(column)?).map_err(|_| self.corrupt(column))
    }

    /// The error for a value that this server never writes.
    pub(super) fn corrupt(&self, column: &'static str) -> StoreError {
        let row = match self.row.try_get::<Uuid, _>(0) {
            Ok(id) => id.to_string(),
            Err(_) => self.row.try_get(0).unwrap_or_default(),
        };
        StoreError::Corrupt { table: self.table, column, row }
    }
}
