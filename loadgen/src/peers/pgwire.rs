//! PostgreSQL's protocol, version 3, as far as a load needs it. Messages are written and read by
//! `postgres-protocol`; what is here is their order.
//! <https://www.postgresql.org/docs/15/protocol-flow.html>

use crate::LoadError;
use bytes::{BufMut, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use std::io;

/// A text of SQL in the server's numbering of types: `int4`, `int8`.
pub(crate) const INT4: u32 = 23;
pub(crate) const INT8: u32 = 20;
/// Parameters and results are binary.
const BINARY: i16 = 1;

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Int4(i32),
    Int8(i64),
}

pub(crate) fn wrong(what: impl std::fmt::Display) -> LoadError {
    LoadError::Wrong(format!("PostgreSQL: {what}"))
}

/// The first message of a connection; the server trusts whoever comes over loopback.
pub(crate) fn startup(user: &str, out: &mut BytesMut) -> Result<(), LoadError> {
    frontend::startup_message([("user", user), ("database", "postgres")], out).map_err(wrong)
}

/// Names a statement.
pub(crate) fn prepare(name: &str, text: &str, types: &[u32], out: &mut BytesMut) -> Result<(), LoadError> {
    frontend::parse(name, text, types.iter().copied(), out).map_err(wrong)?;
    frontend::sync(out);
    Ok(())
}

/// Runs a named statement in a transaction of its own.
pub(crate) fn execute(name: &str, values: &[Value], out: &mut BytesMut) {
    let put = |value: Value, out: &mut BytesMut| {
        match value {
            Value::Int4(number) => out.put_i32(number),
            Value::Int8(number) => out.put_i64(number),
        }
        Ok(IsNull::No)
    };
    // Names without a zero byte and a few numbers always fit a message.
    let _ = frontend::bind("", name, [BINARY], values.iter().copied(), put, [BINARY], out);
    let _ = frontend::execute("", 0, out);
    frontend::sync(out);
}

/// Runs a text of SQL, answers as text.
pub(crate) fn query(text: &str, out: &mut BytesMut) -> Result<(), LoadError> {
    frontend::query(text, out).map_err(wrong)
}

/// What the load has to know of what came.
pub(crate) enum News {
    Row(DataRowBody),
    /// The request is over, one way or the other.
    Ready,
}

/// The next of them, as soon as it is whole. What the server calls an error is one.
pub(crate) fn next(received: &mut BytesMut) -> Result<Option<News>, LoadError> {
    loop {
        match Message::parse(received).map_err(wrong)? {
            None => return Ok(None),
            Some(Message::DataRow(row)) => return Ok(Some(News::Row(row))),
            Some(Message::ReadyForQuery(_)) => return Ok(Some(News::Ready)),
            Some(Message::ErrorResponse(error)) => return Err(wrong(text_of(&error))),
            Some(
                Message::AuthenticationCleartextPassword
                | Message::AuthenticationMd5Password(_)
                | Message::AuthenticationSasl(_),
            ) => return Err(wrong("it asks for a password, though it was told to trust us")),
            Some(_) => {}
        }
    }
}

fn text_of(error: &ErrorResponseBody) -> String {
    let mut fields = error.fields();
    while let Ok(Some(field)) = fields.next() {
        if field.type_() == b'M' {
            return String::from_utf8_lossy(field.value_bytes()).into_owned();
        }
    }
    "an error without a message".to_owned()
}

/// The fields of a row, as bytes.
pub(crate) fn fields(row: &DataRowBody) -> Result<Vec<&[u8]>, LoadError> {
    let ranges = row.ranges().map(|range| {
        let range = range.ok_or_else(|| io::Error::other("an empty field"))?;
        row.buffer().get(range).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    });
    ranges.collect().map_err(wrong)
}

/// The seat and the fence of a row that a claim or a release returns.
pub(crate) fn seat_and_fence(row: &DataRowBody) -> Result<(u32, i64), LoadError> {
    let fields = fields(row)?;
    let [seat, fence] = fields.as_slice() else { return Err(wrong("a row without seat and fence")) };
    match ((*seat).try_into(), (*fence).try_into()) {
        (Ok(seat), Ok(fence)) => Ok((u32::from_be_bytes(seat), i64::from_be_bytes(fence))),
        _ => Err(wrong("a row whose seat and fence are no numbers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[&[u8]]) -> Vec<u8> {
        let mut body = (fields.len() as u16).to_be_bytes().to_vec();
        for field in fields {
            body.extend((field.len() as u32).to_be_bytes());
            body.extend_from_slice(field);
        }
        message(b'D', &body)
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    #[test]
    fn answers_are_read_at_every_cut() {
        let stream = [
            message(b'2', b""),
            row(&[&7_u32.to_be_bytes(), &9_i64.to_be_bytes()]),
            message(b'C', b"UPDATE 1\0"),
            message(b'Z', b"I"),
        ]
        .concat();
        for cut in 0..=stream.len() {
            let mut received = BytesMut::from(&stream[..cut]);
            let mut seen = Vec::new();
            while let Some(news) = next(&mut received).expect("news") {
                seen.push(match news {
                    News::Row(row) => Some(seat_and_fence(&row).expect("numbers")),
                    News::Ready => None,
                });
            }
            assert_eq!(seen, [Some((7, 9)), None][..seen.len()], "cut at {cut}");
            assert_eq!(seen.len() == 2, cut == stream.len(), "cut at {cut}");
        }
    }

    #[test]
    fn what_the_server_calls_an_error_is_one() {
        let error = message(b'E', b"SERROR\0C42P01\0Mno such table\0\0");
        let error = next(&mut BytesMut::from(&error[..])).err().expect("an error").to_string();
        assert!(error.contains("no such table"), "{error}");
        let bad = row(&[b"x"]);
        let Ok(Some(News::Row(bad))) = next(&mut BytesMut::from(&bad[..])) else { panic!("a row") };
        assert!(seat_and_fence(&bad).is_err());
    }

    #[test]
    fn a_request_is_bind_execute_sync() {
        let mut out = BytesMut::new();
        execute("claim", &[Value::Int4(5), Value::Int8(6)], &mut out);
        let mut tags = Vec::new();
        while !out.is_empty() {
            let length = u32::from_be_bytes(out[1..5].try_into().expect("four bytes")) as usize;
            tags.push(out[0]);
            let _ = out.split_to(1 + length);
        }
        assert_eq!(tags, b"BES");
    }
}
