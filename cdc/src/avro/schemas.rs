//! Reading what is of this schema, and of others.

use super::flat::Flat;
use super::{FRAME, SCHEMA, SCHEMA_NAME, SCHEMA_VERSION, id};
use crate::message::{Message, NoMessage};
use crate::source::Record;
use serde::Deserialize;
use serde_avro_fast::Schema;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState, read::SliceRead};
use std::collections::BTreeMap;
use std::io::BufRead;

/// The longest list that is believed: none of the log's is nearly so long.
const LIST_MAX: usize = 1 << 20;

/// A schema that is later than this program, by its id at the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownSchema(pub u32);

/// The schemas that are known: Frontrow's own, and others as the registry has explained them.
pub struct Schemas {
    own: Schema,
    /// By the registry's id; why there is none, if there is none.
    others: BTreeMap<u32, Result<Schema, String>>,
}

impl Default for Schemas {
    fn default() -> Self {
        let own = SCHEMA.parse().expect("the schema is one: a test reads it");
        Self { own, others: BTreeMap::new() }
    }
}

/// How a record is written.
enum Written {
    /// As JSON, if it is anything.
    Json,
    /// By the schema that is known here, whatever id the registry has given it.
    Own,
    /// By a later one, with this id.
    Later(u32),
    /// As Avro, and not by Frontrow: its writers say which schema it is.
    Odd,
}

impl Written {
    fn of(record: &Record) -> Self {
        let Some(id) = id(&record.value) else { return Self::Json };
        let number = record.header("schema").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        match number {
            Some(SCHEMA_VERSION) => Self::Own,
            Some(later) if later > SCHEMA_VERSION => Self::Later(id),
            _ => Self::Odd,
        }
    }
}

impl Schemas {
    /// The schema that must be asked for before this record can be read; none if it is JSON, or known.
    pub fn missing(&self, record: &Record) -> Option<UnknownSchema> {
        match Written::of(record) {
            Written::Later(id) if !self.others.contains_key(&id) => Some(UnknownSchema(id)),
            _ => None,
        }
    }

    /// Takes what the registry says of a schema; `None` if it knows of none. What it says stays so, for ids are never given
    /// twice.
    pub fn learn(&mut self, UnknownSchema(id): UnknownSchema, said: Option<&str>) {
        let parsed = match said {
            None => Err(format!("the registry knows of no schema {id}")),
            Some(text) if name(text).as_deref() != Some(SCHEMA_NAME) => {
                Err(format!("schema {id} of the registry is not {SCHEMA_NAME}"))
            }
            Some(text) => text.parse().map_err(|error| format!("schema {id} of the registry: {error}")),
        };
        self.others.insert(id, parsed);
    }

    /// Reads a record, whichever way it is written.
    pub fn read(&self, record: &Record) -> Result<Message, NoMessage> {
        let schema = match Written::of(record) {
            Written::Json => return Message::read(&record.value),
            Written::Own => Ok(&self.own),
            Written::Later(id) => match self.others.get(&id) {
                Some(known) => known.as_ref().map_err(Clone::clone),
                None => Err(format!("of schema {id} nothing is known")),
            },
            Written::Odd => Err("it has no header 'schema' that is a number of one".to_owned()),
        };
        let schema = schema.map_err(NoMessage::Avro)?;
        read(&record.value[FRAME..], schema)
    }
}

/// Reads what Avro says, to its last byte.
fn read(bytes: &[u8], schema: &Schema) -> Result<Message, NoMessage> {
    let mut config = DeserializerConfig::new(schema);
    config.max_seq_size = LIST_MAX;
    let mut state = DeserializerState::with_config(SliceRead::new(bytes), config);
    let flat = Flat::deserialize(state.deserializer()).map_err(|error| NoMessage::Avro(error.to_string()))?;
    if state.into_reader().fill_buf().is_ok_and(|rest| !rest.is_empty()) {
        return Err(NoMessage::Avro("there is more than the schema says".to_owned()));
    }
    flat.into_message()
}

/// A schema's full name.
fn name(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
        namespace: Option<String>,
    }
    let Named { name, namespace } = serde_json::from_str(text).ok()?;
    Some(match namespace {
        Some(namespace) if !name.contains('.') => format!("{namespace}.{name}"),
        _ => name,
    })
}
