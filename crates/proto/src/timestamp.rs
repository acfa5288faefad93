//! Points in time, in unix milliseconds; on the wire RFC 3339 UTC, whole seconds.
//!
//! This module never reads a clock: `now` is a value that handlers and workers pass in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Unix time in milliseconds. Serialises as RFC 3339 UTC in whole seconds (rounded down).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A time that never comes: a lock that only an administrator ends.
    pub const NEVER: Self = Self(i64::MAX);

    /// From unix milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From unix seconds, as in a JWT's `iat` and `exp`.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Unix milliseconds, as the database stores them.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Unix seconds, rounded down, as in a JWT's `iat` and `exp`.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The start of this second: what `created_at` and `decided_at` say.
    pub const fn floor_to_second(self) -> Self {
        Self::from_seconds(self.as_seconds())
    }

    /// This time plus `seconds` (minus, if negative); saturates.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// This time plus `millis`; saturates.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Seconds from `earlier` to here, for measurements; 0 if `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        std::time::Duration::from_millis(self.millis_since(earlier)).as_secs_f64()
    }

    /// Milliseconds from `earlier` to this time; 0 if it is not later.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        let difference = self.0.saturating_sub(earlier.0);
        if difference > 0 { difference.unsigned_abs() } else { 0 }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years beyond 9999 have no RFC 3339 form: the last second that has one stands for them.
        const LAST: i64 = 253_402_300_799;
        let seconds = self.as_seconds().clamp(0, LAST);
        let text = OffsetDateTime::from_unix_timestamp(seconds)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339)
            .map(|at| Self::from_seconds(at.unix_timestamp()))
            .map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_whole_seconds_in_utc() {
        assert_eq!(Timestamp::from_millis(1_700_000_000_999).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(Timestamp::NEVER.to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_later_time_is_never_negative_millis_away() {
        let early = Timestamp::from_millis(5);
        assert_eq!(early.millis_since(early.plus_millis(7)), 0);
        assert_eq!(early.plus_millis(7).millis_since(early), 7);
    }
}
