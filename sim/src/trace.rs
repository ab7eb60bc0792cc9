//! What happened, as one number: two runs of a seed that agree in it took the same steps.

/// What kind of event is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A task was polled.
    Poll = 1,
    /// A timer came due.
    Timer,
    /// Bytes were put on a connection, or taken from it.
    Send,
    Receive,
    /// Bytes were sent to a disk.
    Write,
    /// A connection came to be, was refused or ended.
    Connect,
    Close,
    /// A fault was planted.
    Fault,
    /// Something the driver of the simulation wanted noted.
    Note,
}

/// The hash over all events so far.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    hash: u64,
    count: u64,
    aloud: bool,
}

impl Trace {
    pub(crate) fn new(aloud: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, count: 0, aloud }
    }

    /// Adds an event.
    pub(crate) fn note(&mut self, at_ns: u64, event: Event, a: u64, b: u64) {
        self.count += 1;
        for word in [at_ns, event as u64, a, b] {
            self.hash = mix(self.hash, word);
        }
        if self.aloud {
            println!("{at_ns:>14} {event:?} {a:x} {b:x} -> {:016x}", self.hash);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23)
}

/// A number for bytes, to be noted with an event.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut hash = bytes.len() as u64;
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    chunks.remainder().iter().fold(hash, |hash, &byte| mix(hash, u64::from(byte)))
}
