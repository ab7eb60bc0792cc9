//! A standby's connection to its primary.

use super::{FollowError, LOOK};
use crate::replication::dial;
use crate::replication::fitness::Fitness;
use crate::replication::primary::SILENCE;
use crate::replication::status::Shared;
use frontrow_engine::Clock;
use frontrow_wal::stream::{Hello, Received, Receiver, StreamError};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const HEARTBEAT_NS: u64 = 500_000_000;

/// One connection to the primary.
pub(super) struct Wire {
    primary: String,
    socket: TcpStream,
    buffer: Vec<u8>,
    heard_ns: u64,
    beat_ns: u64,
    /// What was said last of whether this node could take over.
    said: Option<u64>,
}

impl Wire {
    pub(super) fn open(primary: &str, patience: Duration, shared: &Shared) -> Result<Self, FollowError> {
        let failed = |source| FollowError::Socket { primary: primary.to_owned(), source };
        let socket = dial::connect(primary, patience).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_read_timeout(Some(LOOK)).map_err(failed)?;
        socket.set_write_timeout(Some(SILENCE)).map_err(failed)?;
        if !shared.keep(&socket).map_err(failed)? {
            return Err(failed(io::ErrorKind::ConnectionAborted.into()));
        }
        let (primary, buffer) = (primary.to_owned(), vec![0; 256 << 10]);
        Ok(Self { primary, socket, buffer, heard_ns: Clock::monotonic_ns(), beat_ns: 0, said: None })
    }

    /// The first word of the primary.
    pub(super) fn hello(&mut self, receiver: &mut Receiver) -> Result<Hello, FollowError> {
        loop {
            self.send(receiver)?;
            match receiver.receive() {
                Ok(Some(Received::Hello(hello))) => return Ok(hello),
                Ok(Some(_)) => return Err(StreamError::Unexpected("its first word is not its hello").into()),
                Ok(None) => {}
                Err(error) => {
                    // The primary is told why.
                    let _ = self.send(receiver);
                    return Err(error.into());
                }
            }
            if !self.read_into(receiver)? {
                return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads what has come, waiting for a moment. `false` once the connection is over.
    pub(super) fn read_into(&mut self, receiver: &mut Receiver) -> Result<bool, FollowError> {
        match self.socket.read(&mut self.buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                receiver.push(&self.buffer[..n]);
                self.heard_ns = Clock::monotonic_ns();
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if Clock::monotonic_ns() - self.heard_ns > SILENCE.as_nanos() as u64 {
                    return Err(self.failed(io::ErrorKind::TimedOut.into()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(self.failed(error)),
        }
        Ok(true)
    }

    pub(super) fn send(&mut self, receiver: &mut Receiver) -> Result<(), FollowError> {
        let out = receiver.take_out();
        if out.is_empty() {
            return Ok(());
        }
        self.socket.write_all(&out).map_err(|error| self.failed(error))
    }

    /// Now and then a word that we live, on a stream's connection.
    pub(super) fn beat(&mut self, receiver: &mut Receiver, (epoch, position): (u32, u64)) {
        if self.is_time() {
            receiver.heartbeat(0, epoch, position);
        }
    }

    /// The same on the control connection, where it says whether this node could take over.
    pub(super) fn report(&mut self, receiver: &mut Receiver, shared: &Shared) {
        let word = Fitness::of(&shared.lock()).word();
        let is_news = self.said.replace(word) != Some(word);
        if self.is_time() || is_news {
            receiver.heartbeat(word, 0, 0);
        }
    }

    fn is_time(&mut self) -> bool {
        let now = Clock::monotonic_ns();
        let is_time = now - self.beat_ns > HEARTBEAT_NS;
        if is_time {
            self.beat_ns = now;
        }
        is_time
    }

    pub(super) fn failed(&self, source: io::Error) -> FollowError {
        FollowError::Socket { primary: self.primary.clone(), source }
    }
}
