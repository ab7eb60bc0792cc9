//! Whoever was primary before this node was promoted is told of the epoch that was opened then.
//!
//! Without etcd nobody ends a primary but its operator. One that is halted, cut off, or started again by mistake sells on until
//! it hears of the newer epoch, so it is called where it was followed, for as long as this process lives. One that is halted finds
//! the word in its socket when it wakes, and stops. What it answers before it has read it cannot be helped: for that there is
//! `[cluster]`.

use frontrow_engine::Clock;
use frontrow_wal::NodeId;
use frontrow_wal::stream::{CONTROL, Receiver, RefusalCode, StreamError};
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver as Ear, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use utoipa::ToSchema;

/// Between two calls.
const AGAIN: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(3);
/// How often a call that nobody answers looks whether it is over.
const LOOK: Duration = Duration::from_millis(250);
/// How long a call waits for an answer: what is halted has it as long as that, and then again. Not for ever, for another machine
/// may have the address by then.
const PATIENCE_NS: u64 = 30_000_000_000;
/// No node has so many streams. Who asks for it is heard out, and refused without taking any follower's place.
const NO_STREAM: u16 = CONTROL - 1;

/// Whom a standby followed until it was promoted.
pub struct Predecessor {
    /// Where standbys connect to it.
    pub address: String,
    /// The name of the node that was promoted.
    pub node: NodeId,
}

/// What is known of the primary that this node took over from without a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PredecessorStatus {
    /// Where this node followed it.
    address: String,
    /// How long ago one was last met there that took itself for the primary of an earlier epoch, in milliseconds. It was told
    /// of this one, and stops then. Nothing if none was met since this process took over.
    told_ms: Option<u64>,
    /// Why the last call came to nothing, if it did: nobody answers there.
    trouble: Option<String>,
}

#[derive(Default)]
struct State {
    told_ns: Option<u64>,
    trouble: Option<String>,
}

/// Calls until it is dropped. Its thread is not waited for: it ends by itself, within the time that a call takes.
pub(crate) struct Calling {
    address: String,
    state: Arc<Mutex<State>>,
    _stop: Sender<()>,
}

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    /// A primary of an earlier epoch, which has the word now.
    Earlier,
    /// Nobody who had to be told.
    Other,
}

impl Calling {
    /// Tells `of`, which may be a node of `cluster` in an earlier epoch, about `epoch`.
    pub(crate) fn begin(of: Predecessor, cluster: u128, epoch: u32) -> io::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let (stop, stopped) = channel();
        let address = of.address.clone();
        let seen = Arc::clone(&state);
        let call = move || call_all(&of, (cluster, epoch), &seen, &stopped);
        std::thread::Builder::new().name("repl-previous".into()).spawn(call)?;
        Ok(Self { address, state, _stop: stop })
    }

    /// How it stands at this monotonic time.
    pub(crate) fn status(&self, now_ns: u64) -> PredecessorStatus {
        let state = lock(&self.state);
        PredecessorStatus {
            address: self.address.clone(),
            told_ms: state.told_ns.map(|then| now_ns.saturating_sub(then) / 1_000_000),
            trouble: state.trouble.clone(),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the end has come within this time.
fn is_over(stopped: &Ear<()>, time: Duration) -> bool {
    stopped.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
}

fn call_all(of: &Predecessor, (cluster, epoch): (u128, u32), seen: &Mutex<State>, stopped: &Ear<()>) {
    let address = &of.address;
    loop {
        let met = call(of, (cluster, epoch), stopped);
        let mut state = lock(seen);
        match met {
            Ok(Met::Earlier) => {
                tracing::warn!(%address, epoch, "the node that was primary before was still one: it is told of this epoch, and stops");
                *state = State { told_ns: Some(Clock::monotonic_ns()), trouble: None };
            }
            Ok(Met::Other) => state.trouble = None,
            Err(error) => state.trouble = Some(error.to_string()),
        }
        drop(state);
        if is_over(stopped, AGAIN) {
            return;
        }
    }
}

/// One call, until it is answered.
fn call(of: &Predecessor, (cluster, epoch): (u128, u32), stopped: &Ear<()>) -> io::Result<Met> {
    let mut socket = connect(&of.address)?;
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(CONNECT))?;
    let mut receiver = Receiver::new(NO_STREAM, cluster, of.node, epoch);
    socket.write_all(&receiver.take_out())?;
    let (begun_ns, mut buffer) = (Clock::monotonic_ns(), [0; 4096]);
    loop {
        match receiver.receive() {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(Met::Other),
            Err(StreamError::Refused(refusal)) if refusal.code == RefusalCode::EpochOver => {
                return Ok(Met::Earlier);
            }
            Err(StreamError::Refused(refusal)) if refusal.code == RefusalCode::NoSuchStream => {
                return Ok(Met::Other);
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        match socket.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => receiver.push(&buffer[..n]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                let is_late = Clock::monotonic_ns() - begun_ns > PATIENCE_NS;
                if is_late || is_over(stopped, Duration::ZERO) {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "it takes calls, and does not answer",
                    ));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_wal::stream::{Heard, Sender as Primary};
    use std::net::TcpListener;

    /// Who answers a call as a node of this cluster and epoch, and what it makes of it.
    fn meets(cluster: u128, epoch: u32) -> (io::Result<Met>, Result<Option<Heard>, StreamError>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let of = Predecessor { address: listener.local_addr().unwrap().to_string(), node: 7 };
        let answer = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let (mut primary, mut buffer) = (Primary::new(cluster, epoch), [0; 512]);
            let heard = loop {
                match primary.hear() {
                    Ok(None) => {
                        let n = socket.read(&mut buffer).unwrap();
                        primary.push(&buffer[..n]);
                    }
                    heard => break heard,
                }
            };
            if heard.is_ok() {
                primary.refuse(RefusalCode::NoSuchStream, 2);
            }
            socket.write_all(&primary.take_out()).unwrap();
            heard
        });
        let (_stop, stopped) = channel();
        let met = call(&of, (9, 5), &stopped);
        (met, answer.join().unwrap())
    }

    #[test]
    fn a_primary_of_an_earlier_epoch_is_told_and_nobody_else_is_harmed() {
        let (met, heard) = meets(9, 4);
        assert_eq!(met.unwrap(), Met::Earlier);
        assert!(matches!(heard, Err(StreamError::Superseded { newer: 5, ours: 4 })), "{heard:?}");
        for epoch in [5, 6] {
            let (met, heard) = meets(9, epoch);
            assert_eq!(met.unwrap(), Met::Other, "epoch {epoch}");
            assert_eq!(heard.unwrap(), Some(Heard::Follow { stream: NO_STREAM, node: 7 }));
        }
        let (met, heard) = meets(8, 4);
        assert!(met.unwrap_err().to_string().contains("cluster"));
        assert!(matches!(heard, Err(StreamError::OtherCluster { .. })), "another one's primary goes on");
    }

    #[test]
    fn nobody_there_is_said_and_tried_again_until_it_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let calling = Calling::begin(Predecessor { address: address.clone(), node: 7 }, 9, 5).unwrap();
        while calling.status(0).trouble.is_none() {
            std::thread::yield_now();
        }
        let status = calling.status(0);
        assert_eq!((status.address, status.told_ms), (address, None));
    }
}
