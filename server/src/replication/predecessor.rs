//! Whoever was primary before this node was promoted is told of the epoch that was opened then.
//!
//! Without etcd nobody ends a primary but its operator. One that is halted, cut off, or started again by mistake sells on until
//! it hears of the newer epoch, so it is called where it was followed (`followed`), by every process that serves this data. One that is halted
//! finds the word in its socket when it wakes, and stops. What it answers before it has read it cannot be helped: for that there is
//! `[cluster]`. Whoever is called and is in a later epoch says so, and then it is the caller that stops.

use super::dial::{self, Met as Reached};
use frontrow_engine::Clock;
use frontrow_wal::NodeId;
use frontrow_wal::stream::{CLAIM, Receiver, Refusal, RefusalCode, StreamError};
use serde::Serialize;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
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
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for who only asks whether a primary is there.
const GLANCE: Duration = Duration::from_secs(2);
/// Whom a node followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Predecessor {
    /// Where standbys connect to it.
    pub address: String,
    /// Its name.
    pub node: NodeId,
}

impl Predecessor {
    /// What speaks for it that it, or who has its address now, still is the primary of `cluster`: then nobody is promoted beside it
    /// without being told to. Blocks for some seconds at most.
    fn lives(&self, cluster: u128) -> Option<Doubt> {
        let address = &self.address;
        let claim = Claim { cluster, node: 0, epoch: 0 };
        let socket = match dial::connect(address, GLANCE) {
            Ok(socket) => socket,
            Err(error) => match Reached::failed(&error) {
                Reached::Nobody => return None,
                Reached::Silence => {
                    return Some(Doubt::Silent(format!("{address} cannot be reached: {error}")));
                }
                Reached::Somebody => {
                    return Some(Doubt::Lives(format!("{address} ends connections at once: {error}")));
                }
            },
        };
        let what = match talk(socket, &claim, GLANCE, &|| false) {
            Ok(Met::Later(epoch)) => format!("answers, and is primary in epoch {epoch}"),
            Ok(Met::Other | Met::Earlier) => "answers, and is a primary".to_owned(),
            Err(error) if is_another_cluster(&error) => return None,
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                "takes connections and does not answer: it may be halted, and wake".to_owned()
            }
            // A primary with all it can take, or a tunnel or a proxy whose other end is not known.
            Err(error) => format!("takes connections, and ends them ({error})"),
        };
        Some(Doubt::Lives(format!("{address} {what}")))
    }
}

/// Why a primary is not known to be dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Somebody is there.
    Lives(String),
    /// Nothing comes back: it may be off, and as well only out of this node's reach.
    Silent(String),
}

/// What speaks for it that one of them still is the primary: that somebody is there says more than that nothing comes back.
pub(crate) fn any_lives(all: &[Predecessor], cluster: u128) -> Option<Doubt> {
    let mut doubts: Vec<Doubt> = all.iter().filter_map(|of| of.lives(cluster)).collect();
    doubts.sort_by_key(|doubt| matches!(doubt, Doubt::Silent(_)));
    doubts.into_iter().next()
}

/// What is known of the primary that this node took over from without a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PredecessorStatus {
    /// Where this node followed it.
    address: String,
    /// How long ago one was last met there that took itself for the primary of an earlier epoch, in milliseconds. It was told
    /// of this one, and stops then. Nothing if none was met since this process took over.
    told_ms: Option<u64>,
    /// Why the last call came to nothing, if it did and nobody was told before: nobody answers there.
    trouble: Option<String>,
}

#[derive(Default)]
struct State {
    told_ns: Option<u64>,
    trouble: Option<String>,
}

/// Calls until it is dropped. Its thread is not waited for: it ends by itself, within the time that a call takes.
pub(crate) struct Calling {
    of: Predecessor,
    state: Arc<Mutex<State>>,
    _stop: Sender<()>,
}

/// Who calls: an epoch that it has opened, or 0 for who only asks.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) cluster: u128,
    pub(crate) node: NodeId,
    pub(crate) epoch: u32,
}

/// Who was met.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    /// A primary of an earlier epoch, or of the same one, which has the word now, and ends.
    Earlier,
    /// Whose epoch is the one that counts: this one, and not the caller's.
    Later(u32),
    /// Nobody who had to be told.
    Other,
}

impl Calling {
    /// Tells `of` about `claim`. `deposed` is called with an epoch and who says so, if it is this node that has to end.
    pub(crate) fn begin(
        of: Predecessor,
        claim: Claim,
        deposed: impl Fn(u32, &str) + Send + 'static,
    ) -> io::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let (stop, stopped) = channel();
        let (address, seen) = (of.address.clone(), Arc::clone(&state));
        let call = move || call_all(&address, &claim, (&seen, &stopped), &deposed);
        std::thread::Builder::new().name("repl-previous".into()).spawn(call)?;
        Ok(Self { of, state, _stop: stop })
    }

    /// The name of who is called.
    pub(crate) fn node(&self) -> NodeId {
        self.of.node
    }

    /// How it stands at this monotonic time.
    pub(crate) fn status(&self, now_ns: u64) -> PredecessorStatus {
        let state = lock(&self.state);
        PredecessorStatus {
            address: self.of.address.clone(),
            told_ms: state.told_ns.map(|then| now_ns.saturating_sub(then) / 1_000_000),
            trouble: state.trouble.clone().filter(|_| state.told_ns.is_none()),
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

fn call_all(
    address: &str,
    claim: &Claim,
    (seen, stopped): (&Mutex<State>, &Ear<()>),
    deposed: &impl Fn(u32, &str),
) {
    loop {
        let met = call(address, claim, PATIENCE, &|| is_over(stopped, Duration::ZERO));
        if let Ok(Met::Later(epoch)) = met {
            deposed(epoch, address);
        }
        let mut state = lock(seen);
        match met {
            Ok(Met::Earlier) => {
                let epoch = claim.epoch;
                tracing::warn!(%address, epoch, "the node that was primary before was still one: it is told of this epoch, and stops");
                *state = State { told_ns: Some(Clock::monotonic_ns()), trouble: None };
            }
            Ok(Met::Later(_) | Met::Other) => state.trouble = None,
            Err(error) => state.trouble = Some(error.to_string()),
        }
        drop(state);
        if is_over(stopped, AGAIN) {
            return;
        }
    }
}

/// One call, until it is answered. Errors: nobody is there; [`ErrorKind::TimedOut`] if somebody is who says nothing.
fn call(address: &str, claim: &Claim, patience: Duration, ends: &dyn Fn() -> bool) -> io::Result<Met> {
    talk(dial::connect(address, patience.min(CONNECT))?, claim, patience, ends)
}

/// The same, once there is a connection.
fn talk(
    mut socket: TcpStream,
    claim: &Claim,
    patience: Duration,
    ends: &dyn Fn() -> bool,
) -> io::Result<Met> {
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(CONNECT))?;
    let mut receiver = Receiver::new(CLAIM, claim.cluster, claim.node, claim.epoch);
    socket.write_all(&receiver.take_out())?;
    let (begun_ns, mut buffer) = (Clock::monotonic_ns(), [0; 4096]);
    loop {
        match receiver.receive() {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(Met::Other),
            Err(StreamError::Refused(refusal)) => return met(&refusal, claim),
            Err(error) => return Err(io::Error::other(error)),
        }
        match socket.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => receiver.push(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let is_late = Clock::monotonic_ns() - begun_ns > patience.as_nanos() as u64;
                if is_late || ends() {
                    return Err(io::Error::new(ErrorKind::TimedOut, "it takes calls, and does not answer"));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Who refuses a claim so. A node of another cluster has the address by now, and none of this is its business.
fn met(refusal: &Refusal, claim: &Claim) -> io::Result<Met> {
    let later = |detail: u64| u32::try_from(detail).ok().filter(|epoch| *epoch > claim.epoch);
    match refusal.code {
        _ if refusal.cluster != claim.cluster => Err(io::Error::other(StreamError::Refused(*refusal))),
        RefusalCode::EpochOver => Ok(later(refusal.detail).map_or(Met::Earlier, Met::Later)),
        RefusalCode::Taken => Ok(Met::Later(claim.epoch)),
        RefusalCode::NoSuchStream => Ok(Met::Other),
        _ => Err(io::Error::other(StreamError::Refused(*refusal))),
    }
}

/// Whether a node of another cluster has the address by now.
fn is_another_cluster(error: &io::Error) -> bool {
    match error.get_ref().and_then(|error| error.downcast_ref::<StreamError>()) {
        Some(StreamError::Refused(refusal)) => refusal.code == RefusalCode::OtherCluster,
        Some(StreamError::OtherCluster { .. }) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_wal::stream::{Heard, Sender as Primary};
    use std::net::TcpListener;

    type Answered = Result<Option<Heard>, StreamError>;

    /// Who answers a call as a node of this cluster and epoch, with this refusal if it is heard out; what both make of it.
    fn meets((cluster, epoch): (u128, u32), refusal: (RefusalCode, u64)) -> (io::Result<Met>, Answered) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
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
                primary.refuse(refusal.0, refusal.1);
            }
            socket.write_all(&primary.take_out()).unwrap();
            heard
        });
        let claim = Claim { cluster: 9, node: 7, epoch: 5 };
        let met = call(&address, &claim, PATIENCE, &|| false);
        (met, answer.join().unwrap())
    }

    #[test]
    fn a_primary_of_an_earlier_epoch_is_told_and_a_later_one_tells() {
        let (met, heard) = meets((9, 4), (RefusalCode::NoSuchStream, 2));
        assert_eq!(met.unwrap(), Met::Earlier);
        assert!(matches!(heard, Err(StreamError::Superseded { newer: 5, ours: 4 })), "{heard:?}");
        for (epoch, refusal, wanted) in [
            (5, (RefusalCode::NoSuchStream, 2), Met::Other),
            (5, (RefusalCode::EpochOver, 5), Met::Earlier),
            (5, (RefusalCode::Taken, 5), Met::Later(5)),
            (6, (RefusalCode::EpochOver, 6), Met::Later(6)),
        ] {
            let (met, heard) = meets((9, epoch), refusal);
            assert_eq!(met.unwrap(), wanted, "{refusal:?}");
            assert_eq!(heard.unwrap(), Some(Heard::Claim { epoch: 5, node: 7 }));
        }
        let (met, heard) = meets((8, 4), (RefusalCode::NoSuchStream, 2));
        assert!(met.is_err(), "{met:?}");
        assert!(matches!(heard, Err(StreamError::OtherCluster { .. })), "another one's primary goes on");
    }

    #[test]
    fn nobody_there_is_said_and_tried_again_until_it_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let of = Predecessor { address: address.clone(), node: 7 };
        // Nobody answers, yet.
        let lives = |of: &Predecessor| match of.lives(9) {
            Some(Doubt::Lives(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(lives(&of).contains("may be halted"));
        // One that has all it can take.
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let crowded = Predecessor { address: busy.local_addr().unwrap().to_string(), node: 7 };
        let closes = std::thread::spawn(move || drop(busy.accept()));
        assert!(lives(&crowded).contains("ends them"));
        closes.join().unwrap();
        drop(listener);
        assert_eq!(of.lives(9), None);
        let unknown = Predecessor { address: "name.invalid:1".into(), node: 7 };
        assert!(matches!(unknown.lives(9), Some(Doubt::Silent(_))), "it may be anywhere");
        let claim = Claim { cluster: 9, node: 7, epoch: 5 };
        let calling = Calling::begin(of, claim, |_, _| {}).unwrap();
        while calling.status(0).trouble.is_none() {
            std::thread::yield_now();
        }
        let status = calling.status(0);
        assert_eq!((status.address, status.told_ms), (address, None));
    }
}
