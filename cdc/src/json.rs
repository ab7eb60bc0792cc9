//! A change as JSON, written by hand: the same bytes as serde writes, in a fraction of the time. Every record of the log goes
//! this way when it is told to Kafka.

use crate::change::{Change, state};
use std::io::Write;

/// Digits of a number.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    text: [u8; 20],
    from: usize,
}

impl Digits {
    /// Of this number.
    pub fn of(mut number: u64) -> Self {
        let (mut text, mut from) = ([b'0'; 20], 19);
        loop {
            text[from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { text, from };
            }
            from -= 1;
        }
    }

    /// As text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.from..]
    }
}

fn number(out: &mut Vec<u8>, name: &str, number: impl Into<u64>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(Digits::of(number.into()).as_bytes());
}

fn text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn list(out: &mut Vec<u8>, name: &str, numbers: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    for (n, &one) in numbers.iter().enumerate() {
        number(out, if n == 0 { "" } else { "," }, one);
    }
    out.push(b']');
}

/// Adds a change. Its texts are names of ours, which need no escapes.
pub(crate) fn write(change: &Change, out: &mut Vec<u8>) {
    number(out, "{\"partition\":", change.position.partition);
    number(out, ",\"epoch\":", change.position.epoch);
    number(out, ",\"lsn\":", change.position.lsn);
    number(out, ",\"n\":", change.position.n);
    text(out, ",\"type\":\"", change.kind.name());
    number(out, ",\"time_ms\":", change.time_ms);
    number(out, ",\"event\":", change.event);
    if let Some(section) = change.section {
        number(out, ",\"section\":", section);
    }
    if let Some(row) = change.row {
        number(out, ",\"row\":", row);
    }
    if !change.seats.is_empty() {
        list(out, ",\"seats\":[", &change.seats);
    }
    for (n, part) in change.parts.iter().enumerate() {
        number(out, if n == 0 { ",\"parts\":[{\"row\":" } else { ",{\"row\":" }, part.row);
        list(out, ",\"seats\":[", &part.seats);
        out.push(b'}');
    }
    if !change.parts.is_empty() {
        out.push(b']');
    }
    if let Some(user) = change.user {
        number(out, ",\"user\":", user);
    }
    if let Some(request) = change.request {
        // Writing into memory cannot fail.
        let _ = write!(out, ",\"request\":\"{:016x}{:016x}\"", (request >> 64) as u64, request as u64);
    }
    if let Some(hold) = change.hold {
        number(out, ",\"hold\":{\"epoch\":", hold.epoch);
        number(out, ",\"lsn\":", hold.lsn);
        number(out, ",\"slot\":", hold.slot);
        out.push(b'}');
    }
    if let Some(expires_ms) = change.expires_ms {
        number(out, ",\"expires_ms\":", expires_ms);
    }
    if let Some(why) = change.why {
        text(out, ",\"why\":\"", why.name());
    }
    if let Some(state) = change.state {
        text(out, ",\"state\":\"", state::name(state));
    }
    if let Some(others) = change.others {
        number(out, ",\"others\":", others);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Hold, Kind, Position, RowSeats, Why};
    use frontrow_shard::EventState;

    fn same(change: &Change) {
        let (mut own, serde) = (Vec::new(), serde_json::to_vec(change).unwrap());
        write(change, &mut own);
        assert_eq!(String::from_utf8(own).unwrap(), String::from_utf8(serde).unwrap());
    }

    #[test]
    fn it_is_what_serde_writes() {
        let position = Position { partition: u16::MAX, epoch: u32::MAX, lsn: u64::MAX, n: 10 };
        let least = Change::of_event(position, 0, Kind::EventCreated, 0);
        same(&least);
        let hold = Some(Hold { epoch: 1, lsn: 100, slot: u32::MAX });
        let whys = [None, Some(Why::Unfillable), Some(Why::Closed), Some(Why::HoldCap)];
        let states = [
            None,
            Some(EventState::Draft),
            Some(EventState::Open),
            Some(EventState::Paused),
            Some(EventState::Closed),
            Some(EventState::Archiving),
            Some(EventState::Archived),
        ];
        let parts = vec![RowSeats { row: 1, seats: vec![0, 255] }, RowSeats { row: 9, seats: Vec::new() }];
        for (why, state) in whys.into_iter().flat_map(|why| states.map(|state| (why, state))) {
            let seats = vec![0, 9, 10, 99, 100, 255];
            let (section, row, user) = (Some(u16::MAX), Some(0), Some(u64::MAX));
            let full = Change { section, row, seats, user, hold, why, state, ..least.clone() };
            same(&full);
            let (expires_ms, others) = (Some(1_795_671_356_000), Some(0));
            for request in [None, Some(0), Some(0xfeed), Some(u128::MAX)] {
                same(&Change { request, expires_ms, others, parts: parts.clone(), ..full.clone() });
            }
        }
    }
}
