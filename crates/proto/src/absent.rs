//! Optional members are absent, never null.
//!
//! Serde reads `null` into an `Option` as `None`, which would make two ways to say the same thing. Every
//! optional member of a request or a claim carries
//! `#[serde(default, deserialize_with = "crate::absent::not_null", skip_serializing_if = "Option::is_none")]`.
//! [`crate::json::typed`] refuses null by itself; the attribute holds for every other reader too.

use serde::{Deserialize, Deserializer};

/// Reads a member that is there: `null` goes to `T`, which refuses it as a wrong type.
///
/// # Errors
/// Whatever `T` refuses.
pub fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Sample {
        #[serde(default, deserialize_with = "crate::absent::not_null")]
        name: Option<String>,
    }

    #[test]
    fn absent_is_none_and_null_is_refused() {
        assert_eq!(serde_json::from_str::<Sample>("{}").unwrap(), Sample { name: None });
        assert_eq!(serde_json::from_str::<Sample>(r#"{"name":"a"}"#).unwrap(), Sample { name: Some("a".into()) });
        assert!(serde_json::from_str::<Sample>(r#"{"name":null}"#).is_err());
    }
}
