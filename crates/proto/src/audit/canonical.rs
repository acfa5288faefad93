//! One spelling of an event: the bytes that the tree is made of.
//!
//! RFC 8785 for what events hold: objects with sorted names, no blanks, strings as UTF-8 with the shortest escapes.
//! Numbers are whole; anything else is refused, because two programs may spell it differently.

use serde_json::Value;

use super::merkle::{Hash, leaf_hash};

/// The value holds a number that is not whole: it has no spelling on which all verifiers agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number that is not whole")]
pub struct NotCanonical;

/// The one spelling of a JSON value.
///
/// # Errors
/// [`NotCanonical`].
pub fn canonical(value: &Value) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write(value, &mut text)?;
    Ok(text)
}

/// The leaf of an event (RFC 6962 section 2.1).
///
/// # Errors
/// [`NotCanonical`].
pub fn leaf_hash_of(event: &Value) -> Result<Hash, NotCanonical> {
    Ok(leaf_hash(canonical(event)?.as_bytes()))
}

fn write(value: &Value, text: &mut String) -> Result<(), NotCanonical> {
    match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => text.push_str(&number.to_string()),
        Value::Number(_) => return Err(NotCanonical),
        // Strings, true, false, null: serde_json escapes exactly what RFC 8785 section 3.2.2.2 says.
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        Value::Object(members) => {
            // Sorted here, whatever the map's own order is. All names are ASCII, of which every order is the same.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write(value, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}
