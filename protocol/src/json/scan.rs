//! One pass over the text: an object becomes a table of known keys, without allocating.

use super::problem::{JsonProblem, shortened};
use crate::limits::MAX_BATCH;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Most places a list of seats can have and still be one claim.
const MAX_PLACES: usize = 64;

macro_rules! keys {
    ($($name:ident $text:literal,)*) => {
        /// Every key that some message has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Key { $($name,)* }

        impl Key {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

keys! {
    Type "type",
    Id "id",
    Event "event",
    Section "section",
    Row "row",
    Seats "seats",
    Count "count",
    Adjacency "adjacency",
    Accessible "accessible",
    Category "category",
    OrJoin "or_join",
    Token "token",
    Features "features",
}

/// A value as far as any message needs it.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(u64),
    /// Negative, a fraction, or beyond 64 bits.
    OtherNumber,
    Text(Cow<'a, str>),
    /// A list of whole numbers from 0 to 255, no more of them than a claim can have.
    Places(Places),
    /// Any other list.
    List,
    Object,
}

impl Value<'_> {
    pub(super) const fn found(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::OtherNumber => "a negative, broken or huge number",
            Self::Text(_) => "a text",
            Self::Places(_) | Self::List => "another list",
            Self::Object => "an object",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    len: u8,
    items: [u8; MAX_PLACES],
}

impl Places {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.items[..self.len as usize]
    }
}

/// An object's values by key.
pub(super) struct Fields<'a> {
    values: [Option<Value<'a>>; Key::ALL.len()],
    /// What was wrong with the keys themselves.
    pub(super) problem: Option<JsonProblem>,
}

impl<'a> Fields<'a> {
    pub(super) const fn take(&mut self, key: Key) -> Option<Value<'a>> {
        self.values[key as usize].take()
    }

    pub(super) const fn peek(&self, key: Key) -> Option<&Value<'a>> {
        self.values[key as usize].as_ref()
    }

    /// A key that nobody has taken.
    pub(super) fn left(&self) -> Option<Key> {
        Key::ALL.iter().copied().find(|&key| self.peek(key).is_some())
    }
}

/// What a text or an element of an array turned out to be.
#[allow(clippy::large_enum_variant, reason = "short-lived, on the stack; a box would allocate per message")]
pub(super) enum Scanned<'a> {
    Object(Fields<'a>),
    /// The first messages of an array, one more than a batch may have at most.
    Array(Vec<Scanned<'a>>),
    Other(&'static str),
}

/// Reads the whole text.
pub(super) fn scan(text: &str) -> Result<Scanned<'_>, JsonProblem> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let scanned = MessageSeed { in_array: false }.deserialize(&mut parser);
    scanned
        .and_then(|scanned| parser.end().map(|()| scanned))
        .map_err(|error| JsonProblem::Syntax { reason: shortened(&error.to_string()) })
}

struct MessageSeed {
    in_array: bool,
}

impl<'de> DeserializeSeed<'de> for MessageSeed {
    type Value = Scanned<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed {
    type Value = Scanned<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scanned::Other("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scanned::Other("true or false"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Scanned::Other("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Scanned::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scanned::Other("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Scanned::Other("a text"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        if self.in_array {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Scanned::Other("a list"));
        }
        let mut items = Vec::new();
        while items.len() <= MAX_BATCH as usize {
            match seq.next_element_seed(MessageSeed { in_array: true })? {
                Some(item) => items.push(item),
                None => return Ok(Scanned::Array(items)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scanned::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields { values: [const { None }; Key::ALL.len()], problem: None };
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = map.next_value_seed(ValueSeed)?;
            let problem = match key {
                Ok(key) => {
                    let twice = fields.values[key as usize].replace(value).is_some();
                    twice.then_some(JsonProblem::RepeatedKey { key: key.name() })
                }
                Err(key) => Some(JsonProblem::UnknownKey { key }),
            };
            fields.problem = fields.problem.or(problem);
        }
        Ok(Scanned::Object(fields))
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Result<Key, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Result<Key, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Key::from_name(name).ok_or_else(|| shortened(name)))
    }
}

struct ValueSeed;

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut places = Places { len: 0, items: [0; MAX_PLACES] };
        while let Some(value) = seq.next_element_seed(ValueSeed)? {
            let place = if let Value::Number(number) = value { u8::try_from(number).ok() } else { None };
            let slot = places.items.get_mut(places.len as usize);
            let (Some(place), Some(slot)) = (place, slot) else {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Value::List);
            };
            *slot = place;
            places.len += 1;
        }
        Ok(Value::Places(places))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }
}
