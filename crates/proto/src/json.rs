//! Strict JSON: what both an artefact's claims and a request body are read with.
//!
//! Two steps. [`parse`] turns bytes into a value and refuses what readers are known to disagree about:
//! duplicate members (at any depth, after unescaping), anything that is not UTF-8, trailing bytes, deep
//! nesting. [`typed`] turns a value into a type and refuses what serde would let pass: `null` for an absent
//! member, an array in place of an object, an object in place of a word. Its refusals say where and what is
//! due, and never repeat what was given.
//!
//! Types read with [`typed`] must not use serde's `untagged`, `flatten` or internal tags: those buffer values
//! and read them loosely again.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

mod typed;

pub use self::typed::{Fault, WrongShape};

/// How many arrays and objects may stand inside each other.
pub const MAX_DEPTH: usize = 16;

/// Why bytes are not the JSON that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, not UTF-8, or followed by something.
    #[error("not JSON")]
    NotJson,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// An object names a member twice: two readers could disagree about its value.
    #[error("a member is named twice")]
    DuplicateMember,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
}

/// Why bytes could not be read as a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not JSON as we accept it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// JSON of another shape.
    #[error(transparent)]
    WrongShape(#[from] WrongShape),
}

/// Parses one JSON value.
///
/// # Errors
/// [`Malformed`], except `NotAnObject`.
pub fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    let fault = Cell::new(Malformed::NotJson);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Tree { levels_left: MAX_DEPTH, fault: &fault }.deserialize(&mut reader).map_err(|_| fault.get())?;
    reader.end().map_err(|_| Malformed::NotJson)?;
    Ok(value)
}

/// Parses one JSON object.
///
/// # Errors
/// [`Malformed`].
pub fn parse_object(bytes: &[u8]) -> Result<Value, Malformed> {
    parse(bytes).and_then(|value| if value.is_object() { Ok(value) } else { Err(Malformed::NotAnObject) })
}

/// Reads a value as a `T`.
///
/// # Errors
/// [`WrongShape`]: the first member that is missing, unknown to a type that refuses unknown ones, of a wrong
/// type, or of a value that its type refuses.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, WrongShape> {
    T::deserialize(typed::Typed(value))
}

/// Parses bytes and reads them as a `T`.
///
/// # Errors
/// [`ReadError`].
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    Ok(typed(&parse(bytes)?)?)
}

/// Builds a [`Value`] while counting levels and refusing duplicate members.
#[derive(Clone, Copy)]
struct Tree<'f> {
    levels_left: usize,
    /// What to answer if building fails; serde's own error cannot carry it.
    fault: &'f Cell<Malformed>,
}

impl Tree<'_> {
    fn one_level_down<E: Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left, ..self }),
            None => Err(self.fail(Malformed::TooDeep)),
        }
    }

    fn fail<E: Error>(self, fault: Malformed) -> E {
        self.fault.set(fault);
        E::custom(fault)
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.fail(Malformed::NotJson))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.one_level_down()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.one_level_down()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            // The name is looked up before its value is read: a bad value must not hide a duplicate.
            if object.contains_key(&name) {
                return Err(self.fail(Malformed::DuplicateMember));
            }
            object.insert(name, members.next_value_seed(below)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests;
