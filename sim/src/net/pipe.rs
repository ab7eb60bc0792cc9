//! One direction of a connection: what is under way, what has arrived, and how it ends.

use std::collections::VecDeque;
use std::task::Waker;

/// What travels.
#[derive(Debug)]
pub(crate) enum Parcel {
    Bytes(Vec<u8>),
    /// The sender has said all it will.
    End,
}

/// Bytes from one end to the other.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Under way, with the time of arrival.
    pub(crate) flight: VecDeque<(u64, Parcel)>,
    /// Arrived and not yet read.
    pub(crate) arrived: VecDeque<u8>,
    /// The end has arrived.
    pub(crate) ended: bool,
    /// The sender sends no more.
    pub(crate) closed: bool,
    /// Bytes given to the pipe, and bytes that the sender knows to have been taken out of it.
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// Bytes taken out.
    pub(crate) taken: u64,
    /// Since when the other side has given no sign.
    pub(crate) silent_since_ns: Option<u64>,
    /// Who waits for bytes, and who for room.
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

impl Pipe {
    /// Bytes there is room for.
    pub(crate) fn room(&self, window: usize) -> usize {
        window.saturating_sub((self.sent - self.acknowledged) as usize)
    }

    /// When the last parcel under way arrives.
    pub(crate) fn last_arrival_ns(&self) -> u64 {
        self.flight.back().map_or(0, |(at, _)| *at)
    }

    pub(crate) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(crate) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Whatever is under way or unread is gone.
    pub(crate) fn clear(&mut self) {
        self.flight.clear();
        self.arrived.clear();
    }
}
