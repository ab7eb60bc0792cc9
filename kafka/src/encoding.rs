//! How values are written: as JSON, or as Avro with the schema's id at the registry.

use crate::registry::RegistryError;
use crate::settings::{Format, Settings};
use frontrow_cdc::avro::{self, SCHEMA, TooLarge};
use frontrow_cdc::{Change, Message, SinkError};

/// The number of the schema, in a header.
const NUMBER: &str = "1";
const _: () = assert!(avro::SCHEMA_VERSION == 1, "NUMBER says the same");

/// One of a writer's life.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encoding {
    Json,
    Avro(Ids),
}

/// What the registry calls the schema, for each topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    changes: u32,
    bookings: u32,
}

impl From<RegistryError> for SinkError {
    fn from(error: RegistryError) -> Self {
        Self::Away(error.to_string())
    }
}

impl Encoding {
    /// As the settings say. A registry that is away is none that is needed if the ids are `known` already.
    pub(crate) fn of(settings: &Settings, known: &mut Option<Ids>) -> Result<Self, SinkError> {
        if settings.format == Format::Json {
            return Ok(Self::Json);
        }
        let registry = settings.registry().map_err(|error| SinkError::Unfit(error.to_string()))?;
        let registry = registry.ok_or_else(|| SinkError::Unfit(crate::BadSetting::NoRegistry.to_string()))?;
        let topics = settings.topics();
        let id = |topic: &str| registry.register(&format!("{topic}-value"), SCHEMA);
        match id(&topics.changes).and_then(|changes| Ok(Ids { changes, bookings: id(&topics.bookings)? })) {
            Ok(ids) => {
                *known = Some(ids);
                Ok(Self::Avro(ids))
            }
            Err(error) => match (*known, &error) {
                (Some(ids), RegistryError::Away { .. }) => {
                    tracing::warn!(%error, "the schema's ids are known: it is gone on with them");
                    Ok(Self::Avro(ids))
                }
                _ => Err(error.into()),
            },
        }
    }

    /// The header that says which schema it is.
    pub(crate) fn header(self) -> Option<(&'static str, &'static [u8])> {
        matches!(self, Self::Avro(_)).then_some(("schema", NUMBER.as_bytes()))
    }

    /// A change as a value of `changes`.
    pub(crate) fn change(self, change: &Change, value: &mut Vec<u8>) -> Result<(), SinkError> {
        value.clear();
        match self {
            Self::Json => Message::write_change(change, value),
            Self::Avro(ids) => {
                avro::begin(ids.changes, value);
                avro::write_change(change, value).map_err(too_large)?;
            }
        }
        Ok(())
    }

    /// A message as a value of `changes`.
    pub(crate) fn message(self, message: &Message, value: &mut Vec<u8>) -> Result<(), SinkError> {
        value.clear();
        match self {
            Self::Json => message.write(value),
            Self::Avro(ids) => {
                avro::begin(ids.changes, value);
                avro::write(message, value).map_err(too_large)?;
            }
        }
        Ok(())
    }

    /// Makes a value of `changes` one of `bookings`.
    pub(crate) fn for_bookings(self, value: &mut [u8]) {
        if let Self::Avro(ids) = self {
            avro::set_id(ids.bookings, value);
        }
    }
}

fn too_large(error: TooLarge) -> SinkError {
    SinkError::Unfit(format!("kafka.format = \"avro\": {error}"))
}
