//! A server that sells seats twice: what it says is true, but for a grant of seats that it has granted before.

use frontrow_protocol::{ServerMessage, decode_server, encode_server, split};
use frontrow_shard::{Code, RowRef, Seats};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The first grant of each row and size; every later one becomes the same seats.
pub(crate) type Sold = Arc<Mutex<HashMap<(RowRef, u8), Seats>>>;

/// One WebSocket's bytes from server to client, made into lies message by message.
pub(crate) struct Liar {
    sold: Sold,
    /// Whether the HTTP answer that begins a WebSocket has passed.
    upgraded: bool,
    held: Vec<u8>,
}

impl Liar {
    pub(crate) fn new(sold: &Sold) -> Self {
        Self { sold: Arc::clone(sold), upgraded: false, held: Vec::new() }
    }

    /// Takes what came from the server, gives what the client is told. What is not whole is kept.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut told = Vec::new();
        if !self.upgraded {
            let end = self.held.windows(4).position(|it| it == b"\r\n\r\n");
            let Some(end) = end else { return told };
            told.extend(self.held.drain(..end + 4));
            self.upgraded = true;
        }
        while let Some((head, len)) = message(&self.held) {
            let whole: Vec<u8> = self.held.drain(..head + len).collect();
            told.extend_from_slice(&whole[..head]);
            let body = &whole[head..];
            let lie = self.lie(body);
            assert_eq!(lie.len(), len, "a lie is as long as the truth");
            told.extend(lie);
        }
        told
    }

    fn lie(&self, body: &[u8]) -> Vec<u8> {
        let (mut rest, mut told) = (body, Vec::new());
        while let Ok(Some((frame, behind))) = split(rest, u32::MAX) {
            let truth = &rest[..rest.len() - behind.len()];
            rest = behind;
            match decode_server(frame) {
                Ok(ServerMessage::Answer(mut reply)) if reply.answer.code == Code::Granted => {
                    let mut sold = self.sold.lock().unwrap_or_else(PoisonError::into_inner);
                    let seats = reply.answer.seats;
                    reply.answer.seats = *sold.entry((reply.place, seats.count())).or_insert(seats);
                    encode_server(&ServerMessage::Answer(reply), &mut told);
                }
                _ => told.extend_from_slice(truth),
            }
        }
        told.extend_from_slice(rest);
        told
    }
}

/// Length of the first message's header and of its body, if it is there whole. A server does not mask.
fn message(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, len) = match *bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= head + len).then_some((head, len))
}
