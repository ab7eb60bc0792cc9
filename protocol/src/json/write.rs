//! Writing JSON objects without building them first.

use frontrow_shard::{RequestId, RowRef, Seats};
use std::io::Write;

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

/// Writing to a vector cannot fail, so that the results are of no interest.
macro_rules! put {
    ($out:expr, $($format:tt)*) => { let _ = write!($out, $($format)*); };
}

impl<'o> Object<'o> {
    /// Opens a message of a type.
    pub(super) fn open(name: &str, out: &'o mut Vec<u8>) -> Self {
        let mut object = Self::bare(out);
        object.text("type", name);
        object
    }

    /// Opens an object without a type.
    pub(super) fn bare(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    fn key(&mut self, key: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        put!(self.out, "\"{key}\":");
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        let _ = serde_json::to_writer(&mut *self.out, value);
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        put!(self.out, "{value}");
    }

    /// A 64-bit number as a text, since many readers of JSON keep only 53 bits.
    pub(super) fn wide(&mut self, key: &str, value: u64) {
        self.key(key);
        put!(self.out, "\"{value}\"");
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        put!(self.out, "{value}");
    }

    pub(super) fn id(&mut self, key: &str, id: RequestId) {
        self.key(key);
        put!(self.out, "\"{id:032x}\"");
    }

    pub(super) fn places(&mut self, key: &str, seats: Seats) {
        self.list(key, seats.places(), |place, out| {
            put!(out, "{place}");
        });
    }

    /// A list of whatever `write` makes of each item.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut Vec<u8>),
    ) {
        self.key(key);
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(item, self.out);
        }
        self.out.push(b']');
    }

    /// Event, section and row; the row of a section is `null`.
    pub(super) fn place(&mut self, place: RowRef) {
        self.number("event", u64::from(place.event));
        self.number("section", u64::from(place.section));
        self.key("row");
        if place.is_section() {
            put!(self.out, "null");
        } else {
            put!(self.out, "{}", place.row);
        }
    }

    /// An object inside this one.
    pub(super) fn inner(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut inner = Object::bare(self.out);
        fill(&mut inner);
        inner.close();
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }
}
