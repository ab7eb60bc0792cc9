//! What a client says, as JSON.

use super::problem::{JsonError, JsonProblem, shortened};
use super::scan::{Fields, Key, Scanned, Value, scan};
use super::write::Object;
use crate::client::{ClientMessage, Hello, batch_of};
use crate::ids::parse_id;
use crate::limits::{MAX_BATCH, MAX_TOKEN};
use crate::token::{parse_token, token_room, token_text};
use frontrow_shard::{
    ANY_CATEGORY, Adjacency, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Command, Join, Leave, NO_ROW,
    Proof, RequestId, RowRef, Seats, SeatsError,
};
use std::borrow::Cow;

const ID: &str = "an id of 32 hexadecimal digits or a UUID, as a text";
const EVENT: &str = "a whole number from 0 to 4294967295";
const SECTION: &str = "a whole number from 0 to 65535";
const ROW: &str = "a whole number from 0 to 65534";
const COUNT: &str = "a whole number from 0 to 255";
const CATEGORY: &str = "a whole number from 0 to 254, or null for any";
const SEATS: &str = "a list of at most 64 places, whole numbers from 0 to 255";
const ADJACENCY: &str = "\"required\", \"preferred\" or \"any\"";
const ADJACENCY_IN_ROW: &str = "\"required\" where a row is named";
const FLAG: &str = "true or false";
const TOKEN: &str = "the token of an answer, as a text";
const JWT: &str = "a text of at most 4096 bytes";
const TYPE: &str = "the name of a message, as a text";

/// The message in a text from a client: an object, or an array of them for a batch.
pub fn decode_client_json(text: &str) -> Result<ClientMessage<'_>, JsonError> {
    let fail = |problem| JsonError { id: 0, index: None, problem };
    match scan(text).map_err(fail)? {
        Scanned::Object(fields) => decode_object(fields),
        Scanned::Other(found) => Err(fail(JsonProblem::NotAnObject { found })),
        Scanned::Array(items) => {
            if items.len() > MAX_BATCH as usize {
                return Err(fail(JsonProblem::Batch(crate::BatchError::TooMany)));
            }
            let mut messages = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                let message = match item {
                    Scanned::Object(fields) => decode_object(fields),
                    Scanned::Other(found) => Err(fail(JsonProblem::NotAnObject { found })),
                    Scanned::Array(_) => Err(fail(JsonProblem::NotAnObject { found: "a list" })),
                };
                messages.push(message.map_err(|error| JsonError { index: Some(index), ..error })?);
            }
            batch_of(messages).map(ClientMessage::Batch).map_err(|error| fail(error.into()))
        }
    }
}

fn decode_object(mut fields: Fields<'_>) -> Result<ClientMessage<'_>, JsonError> {
    // The id first, so that whatever else is wrong can be told to the right request.
    let id = match fields.peek(Key::Id) {
        Some(Value::Text(text)) => parse_id(text).unwrap_or(0),
        _ => 0,
    };
    let fail = |problem| JsonError { id, index: None, problem };
    if let Some(problem) = fields.problem.take() {
        return Err(fail(problem));
    }
    decode_fields(fields).map_err(fail)
}

/// Takes the values out of an object, one by one; what is left in the end does not belong there.
struct Taker<'a> {
    of: &'static str,
    fields: Fields<'a>,
}

type Taken<T> = Result<T, JsonProblem>;

impl<'a> Taker<'a> {
    /// The value of `key`; `null` counts as absent.
    fn optional(&mut self, key: Key) -> Option<Value<'a>> {
        self.fields.take(key).filter(|value| !matches!(value, Value::Null))
    }

    fn missing<T>(&self, key: Key, expected: &'static str) -> Taken<T> {
        Err(JsonProblem::MissingKey { of: self.of, key: key.name(), expected })
    }

    fn optional_number(&mut self, key: Key, max: u64, expected: &'static str) -> Taken<Option<u64>> {
        match self.optional(key) {
            None => Ok(None),
            Some(Value::Number(number)) if number <= max => Ok(Some(number)),
            Some(Value::Number(_)) => unfit(key, "a number out of range", expected),
            Some(value) => wrong(key, &value, expected),
        }
    }

    fn number(&mut self, key: Key, max: u64, expected: &'static str) -> Taken<u64> {
        let number = self.optional_number(key, max, expected)?;
        number.map_or_else(|| self.missing(key, expected), Ok)
    }

    fn flag(&mut self, key: Key) -> Taken<bool> {
        match self.optional(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(value) => wrong(key, &value, FLAG),
        }
    }

    fn text(&mut self, key: Key, expected: &'static str) -> Taken<Option<Cow<'a, str>>> {
        match self.optional(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(value) => wrong(key, &value, expected),
        }
    }

    fn id(&mut self) -> Taken<RequestId> {
        let Some(text) = self.text(Key::Id, ID)? else { return self.missing(Key::Id, ID) };
        parse_id(&text).or_else(|_| unfit(Key::Id, "another text", ID))
    }

    /// The id of a message that is not a request, and may go without.
    fn optional_id(&mut self) -> Taken<RequestId> {
        if self.fields.peek(Key::Id).is_none() { Ok(0) } else { self.id() }
    }

    fn section(&mut self) -> Taken<RowRef> {
        let event = self.number(Key::Event, u64::from(u32::MAX), EVENT)? as u32;
        let section = self.number(Key::Section, u64::from(u16::MAX), SECTION)? as u16;
        Ok(RowRef::new(event, section, RowRef::SECTION))
    }

    /// A row, or, without `row`, a section.
    fn place(&mut self) -> Taken<RowRef> {
        let section = self.section()?;
        let row = self.optional_number(Key::Row, u64::from(RowRef::SECTION - 1), ROW)?;
        Ok(row.map_or(section, |row| RowRef { row: row as u16, ..section }))
    }

    fn count(&mut self) -> Taken<u8> {
        self.number(Key::Count, 255, COUNT).map(|count| count as u8)
    }

    fn category(&mut self) -> Taken<u8> {
        let category = self.optional_number(Key::Category, 254, CATEGORY)?;
        Ok(category.map_or(ANY_CATEGORY, |category| category as u8))
    }

    fn adjacency(&mut self) -> Taken<Adjacency> {
        match self.text(Key::Adjacency, ADJACENCY)?.as_deref() {
            None | Some("required") => Ok(Adjacency::Required),
            Some("preferred") => Ok(Adjacency::Preferred),
            Some("any") => Ok(Adjacency::Any),
            Some(_) => unfit(Key::Adjacency, "another text", ADJACENCY),
        }
    }

    fn seats(&mut self) -> Taken<Seats> {
        match self.optional(Key::Seats) {
            None => self.missing(Key::Seats, SEATS),
            Some(Value::Places(places)) => match Seats::from_places(places.as_slice()) {
                // How many seats one may ask for is the state machine's business, none at all included.
                Err(SeatsError::Empty) => Ok(Seats::NONE),
                seats => seats.map_err(JsonProblem::Seats),
            },
            Some(value) => wrong(Key::Seats, &value, SEATS),
        }
    }

    fn proof(&mut self) -> Taken<Proof> {
        let Some(text) = self.text(Key::Token, TOKEN)? else { return self.missing(Key::Token, TOKEN) };
        Ok(parse_token(&text)?)
    }

    fn finish<T>(self, message: T) -> Taken<T> {
        match self.fields.left() {
            None => Ok(message),
            Some(key) => Err(JsonProblem::StrayKey { of: self.of, key: key.name() }),
        }
    }
}

fn wrong<T>(key: Key, value: &Value<'_>, expected: &'static str) -> Taken<T> {
    Err(JsonProblem::WrongValue { key: key.name(), found: value.found(), expected })
}

/// The value has the right type, but it is not one of those allowed.
fn unfit<T>(key: Key, found: &'static str, expected: &'static str) -> Taken<T> {
    Err(JsonProblem::WrongValue { key: key.name(), found, expected })
}

/// The types of messages a client can send.
const TYPES: &[&str] = &[
    "hello",
    "ping",
    "topology",
    "status",
    "watch",
    "unwatch",
    "claim",
    "claim_best",
    "extend",
    "begin_payment",
    "book",
    "release",
    "cancel",
    "join",
    "leave",
];

fn decode_fields(mut fields: Fields<'_>) -> Taken<ClientMessage<'_>> {
    let of = match fields.take(Key::Type) {
        Some(Value::Text(name)) => *TYPES
            .iter()
            .find(|&&known| known == name)
            .ok_or_else(|| JsonProblem::UnknownType { name: shortened(&name) })?,
        Some(value) => return wrong(Key::Type, &value, TYPE),
        None => {
            let key = Key::Type.name();
            return Err(JsonProblem::MissingKey { of: "message", key, expected: TYPE });
        }
    };
    let mut taker = Taker { of, fields };
    let message = match of {
        "hello" => ClientMessage::Hello(take_hello(&mut taker)?),
        "ping" => ClientMessage::Ping { id: taker.optional_id()? },
        "topology" => ClientMessage::Topology { id: taker.optional_id()? },
        "status" => ClientMessage::Status { id: taker.optional_id()?, place: taker.place()? },
        "watch" => ClientMessage::Watch { id: taker.optional_id()?, section: taker.section()? },
        "unwatch" => ClientMessage::Unwatch { id: taker.optional_id()?, section: taker.section()? },
        _ => ClientMessage::Request { id: taker.id()?, command: take_command(of, &mut taker)? },
    };
    taker.finish(message)
}

fn take_hello<'a>(taker: &mut Taker<'a>) -> Taken<Hello<'a>> {
    let token = taker.text(Key::Token, JWT)?.unwrap_or_default();
    if token.len() > MAX_TOKEN {
        return unfit(Key::Token, "a longer text", JWT);
    }
    let features = taker.optional_number(Key::Features, u64::from(u32::MAX), EVENT)?.unwrap_or(0) as u32;
    Ok(Hello { token, features })
}

fn take_command(of: &'static str, taker: &mut Taker<'_>) -> Taken<Command> {
    Ok(match of {
        "claim" => {
            let row = taker.place()?;
            if row.is_section() {
                return taker.missing(Key::Row, ROW);
            }
            Command::ClaimSeats(ClaimSeats { row, seats: taker.seats()? })
        }
        "claim_best" => take_claim_best(taker)?,
        "join" => Command::Join(Join {
            place: taker.place()?,
            count: taker.count()?,
            adjacency: taker.adjacency()?,
            accessible: taker.flag(Key::Accessible)?,
        }),
        "leave" => Command::Leave(Leave { place: taker.place()? }),
        "extend" => Command::Extend(taker.proof()?),
        "begin_payment" => Command::BeginPayment(taker.proof()?),
        "book" => Command::Book(taker.proof()?),
        "release" => Command::Release(taker.proof()?),
        "cancel" => Command::Cancel(taker.proof()?),
        other => return Err(JsonProblem::UnknownType { name: other.to_owned() }),
    })
}

fn take_claim_best(taker: &mut Taker<'_>) -> Taken<Command> {
    let (place, count, category) = (taker.place()?, taker.count()?, taker.category()?);
    let (adjacency, accessible) = (taker.adjacency()?, taker.flag(Key::Accessible)?);
    let or_join = taker.flag(Key::OrJoin)?;
    if place.is_section() {
        return Ok(Command::ClaimSection(ClaimSection {
            section: place,
            count,
            category,
            adjacency,
            accessible,
            or_join,
            hopeless: false,
            candidates: [NO_ROW; CANDIDATES],
        }));
    }
    if adjacency != Adjacency::Required {
        return unfit(Key::Adjacency, "another text", ADJACENCY_IN_ROW);
    }
    Ok(Command::ClaimBest(ClaimBest { row: place, count, category, accessible, or_join }))
}

/// Appends `message` as one JSON object (an array for a batch) to `out`.
pub fn encode_client_json(message: &ClientMessage<'_>, out: &mut Vec<u8>) {
    match message {
        ClientMessage::Hello(hello) => {
            let mut object = Object::open("hello", out);
            object.text("token", &hello.token);
            object.number("features", u64::from(hello.features));
            object.close();
        }
        ClientMessage::Request { id, command } => write_command(*id, command, out),
        ClientMessage::Status { id, place } => write_placed("status", *id, *place, out).close(),
        ClientMessage::Watch { id, section } => write_placed("watch", *id, section.section_of(), out).close(),
        ClientMessage::Unwatch { id, section } => {
            write_placed("unwatch", *id, section.section_of(), out).close();
        }
        ClientMessage::Topology { id } => write_bare("topology", *id, out).close(),
        ClientMessage::Ping { id } => write_bare("ping", *id, out).close(),
        ClientMessage::Batch(batch) => {
            for (index, message) in batch.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                encode_client_json(&message, out);
            }
            out.push(b']');
        }
    }
}

fn write_bare<'o>(name: &str, id: RequestId, out: &'o mut Vec<u8>) -> Object<'o> {
    let mut object = Object::open(name, out);
    object.id("id", id);
    object
}

fn write_placed<'o>(name: &str, id: RequestId, place: RowRef, out: &'o mut Vec<u8>) -> Object<'o> {
    let mut object = write_bare(name, id, out);
    object.number("event", u64::from(place.event));
    object.number("section", u64::from(place.section));
    if !place.is_section() {
        object.number("row", u64::from(place.row));
    }
    object
}

const fn adjacency_name(adjacency: Adjacency) -> &'static str {
    match adjacency {
        Adjacency::Required => "required",
        Adjacency::Preferred => "preferred",
        Adjacency::Any => "any",
    }
}

fn write_command(id: RequestId, command: &Command, out: &mut Vec<u8>) {
    let placed = |name, out| write_placed(name, id, command.place(), out);
    let object = match command {
        Command::ClaimSeats(claim) => {
            let mut object = placed("claim", out);
            object.places("seats", claim.seats);
            object
        }
        Command::ClaimBest(claim) => {
            let mut object = placed("claim_best", out);
            object.number("count", u64::from(claim.count));
            write_wish(&mut object, claim.category, claim.accessible, claim.or_join);
            object
        }
        Command::ClaimSection(claim) => {
            let mut object = placed("claim_best", out);
            object.number("count", u64::from(claim.count));
            object.text("adjacency", adjacency_name(claim.adjacency));
            write_wish(&mut object, claim.category, claim.accessible, claim.or_join);
            object
        }
        Command::Join(join) => {
            let mut object = placed("join", out);
            object.number("count", u64::from(join.count));
            object.text("adjacency", adjacency_name(join.adjacency));
            object.flag("accessible", join.accessible);
            object
        }
        Command::Leave(_) => placed("leave", out),
        Command::Extend(proof) => write_proof("extend", id, proof, out),
        Command::BeginPayment(proof) => write_proof("begin_payment", id, proof, out),
        Command::Book(proof) => write_proof("book", id, proof, out),
        Command::Release(proof) => write_proof("release", id, proof, out),
        Command::Cancel(proof) => write_proof("cancel", id, proof, out),
    };
    object.close();
}

fn write_wish(object: &mut Object<'_>, category: u8, accessible: bool, or_join: bool) {
    if category != ANY_CATEGORY {
        object.number("category", u64::from(category));
    }
    object.flag("accessible", accessible);
    object.flag("or_join", or_join);
}

fn write_proof<'o>(name: &str, id: RequestId, proof: &Proof, out: &'o mut Vec<u8>) -> Object<'o> {
    let mut object = write_bare(name, id, out);
    object.text("token", token_text(proof, &mut token_room()));
    object
}
