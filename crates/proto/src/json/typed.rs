//! Reads a parsed value as a type, strictly, and says where it does not fit.

use std::fmt;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::{Map, Value};

/// What is wrong with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is required and absent.
    Missing,
    /// It has another JSON type (null included).
    Type,
    /// Its type is right, its value is not one of those allowed.
    Value,
    /// The type that it belongs to knows no such member.
    Unknown,
}

/// The first member that does not fit. Never repeats what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct WrongShape {
    /// Where: a JSON Pointer (RFC 6901), empty for the whole.
    pub pointer: String,
    /// What.
    pub fault: Fault,
    /// What is due, in words that may be shown to the sender.
    pub detail: String,
}

impl WrongShape {
    fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { pointer: String::new(), fault, detail: detail.into() }
    }

    fn must_be(expected: &str) -> Self {
        Self::new(Fault::Type, format!("must be {expected}"))
    }

    /// The same fault, seen from the object or array above.
    fn under(mut self, token: &str) -> Self {
        self.pointer = format!("/{}{}", token.replace('~', "~0").replace('/', "~1"), self.pointer);
        self
    }
}

impl de::Error for WrongShape {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Fault::Value, message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::must_be(&expected.to_string())
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match unexpected {
            // JSON has one type of number; ours is the part of it that a member holds.
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => {
                Self::new(Fault::Type, "is out of range")
            }
            _ => Self::new(Fault::Value, format!("must be {expected}")),
        }
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(Fault::Value, format!("must be {expected}"))
    }

    fn unknown_variant(_: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(Fault::Value, format!("must be one of: {}", allowed.join(", ")))
    }

    fn unknown_field(name: &str, _: &'static [&'static str]) -> Self {
        Self::new(Fault::Unknown, "is not a known member").under(name)
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Fault::Missing, "is required").under(name)
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Fault::Value, "is named twice").under(name)
    }
}

/// A serde reader of a value that takes each JSON type for itself only.
pub(super) struct Typed<'v>(pub(super) &'v Value);

impl<'v> Typed<'v> {
    fn string(self) -> Result<&'v str, WrongShape> {
        self.0.as_str().ok_or_else(|| WrongShape::must_be("a string"))
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        if let Some(number) = self.0.as_u64() {
            visitor.visit_u64(number)
        } else if let Some(number) = self.0.as_i64() {
            visitor.visit_i64(number)
        } else {
            Err(WrongShape::must_be("an integer"))
        }
    }

    fn object<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Members::of(members)),
            _ => Err(WrongShape::must_be("an object")),
        }
    }

    fn array<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            _ => Err(WrongShape::must_be("an array")),
        }
    }
}

impl<'de> Deserializer<'de> for Typed<'_> {
    type Error = WrongShape;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => visitor.visit_f64(float),
                _ => self.integer(visitor),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(_) => self.array(visitor),
            Value::Object(_) => self.object(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        match self.0 {
            Value::Null => Err(WrongShape::new(Fault::Type, "must be absent rather than null")),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongShape> {
        self.object(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        self.object(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        self.array(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, WrongShape> {
        self.array(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongShape> {
        let word: StrDeserializer<'_, WrongShape> = self.string()?.into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, WrongShape> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        visitor.visit_bool(self.0.as_bool().ok_or_else(|| WrongShape::must_be("true or false"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        visitor.visit_str(self.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        visitor.visit_str(self.string()?)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        visitor.visit_unit()
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        self.integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongShape> {
        self.integer(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct identifier
    }
}

struct Members<'v> {
    members: serde_json::map::Iter<'v>,
    current: Option<(&'v str, &'v Value)>,
}

impl<'v> Members<'v> {
    fn of(members: &'v Map<String, Value>) -> Self {
        Self { members: members.iter(), current: None }
    }
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = WrongShape;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, WrongShape> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        self.current = Some((name, value));
        let name: StrDeserializer<'_, WrongShape> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, WrongShape> {
        // Serde asks for a value only after its name; an error is still better than a panic.
        let (name, value) = self.current.take().ok_or_else(|| WrongShape::must_be("an object"))?;
        seed.deserialize(Typed(value)).map_err(|error| error.under(name))
    }
}

struct Items<'v> {
    items: std::slice::Iter<'v, Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = WrongShape;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, WrongShape> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index = index.saturating_add(1);
        seed.deserialize(Typed(item)).map(Some).map_err(|error| error.under(&index.to_string()))
    }
}
