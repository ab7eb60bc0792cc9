//! Redis 7, where a claim is a Function: see `loadgen/peers/claim.lua`.

use crate::LoadError;
use crate::child::{Child, Spec, find, free_address};
use crate::machine::Watched;
use crate::peers::resp::{self, Reply};
use crate::table::TableOptions;
use crate::table::claims::{self, Aim, Outcome, Target};
use crate::table::dialect::{Dialect, Halves, Verdict};
use crate::table::echo::Load;
use crate::table::hall::{Books, Hall, SeatNumber};
use frontrow_engine::Engine;
use rustix::process::Signal;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The Functions.
const FUNCTIONS: &str = include_str!("../../peers/claim.lua");
/// How long holds last, in milliseconds: none expires in a run.
const HOLD_MS: &[u8] = b"3600000";
/// The key that fences are counted in.
const FENCES: &[u8] = b"fences";
/// How long an answer to a single question may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Redis and the load's books about it.
pub(crate) struct Redis {
    // The connection goes before the server.
    control: Control,
    child: Child,
    addr: SocketAddr,
    connections: usize,
    books: Option<Books<u64>>,
    pub(crate) version: String,
}

impl Redis {
    /// Starts one with its data in `folder`. `durable`: every change is on disk before its answer.
    pub(crate) fn start(
        folder: &Path,
        options: &TableOptions,
        durable: bool,
        hall: &Arc<Hall>,
    ) -> Result<Self, LoadError> {
        let program = installed()?;
        std::fs::create_dir_all(folder)
            .map_err(|source| LoadError::File { path: folder.to_owned(), source })?;
        let addr = free_address()?;
        let port = addr.port().to_string();
        let append = if durable { "yes" } else { "no" };
        let words = [
            ["--bind", "127.0.0.1"],
            ["--port", &port],
            ["--save", ""],
            ["--appendonly", append],
            ["--appendfsync", "always"],
            ["--auto-aof-rewrite-percentage", "0"],
        ];
        let mut args: Vec<_> = words.iter().flatten().map(Into::into).collect();
        args.extend(["--dir".into(), folder.into()]);
        let spec = Spec { program, args, cpu: options.server_cpu(), user: None, log: folder.join("log") };
        let (child, mut control) = spec.start(Signal::TERM, || Control::connect(addr).ok())?;
        control.ask(&[b"FUNCTION", b"LOAD", FUNCTIONS.as_bytes()])?;
        control.ask(&[b"SET", FENCES, b"0"])?;
        let version = control.version()?;
        let books = Some(Books::deal(Arc::clone(hall), options.connections, options.seed));
        Ok(Self { control, child, addr, connections: options.connections, books, version })
    }

    /// What runs: for its processor time.
    pub(crate) fn watched(&self) -> Watched {
        Watched::Process(self.child.pid())
    }

    /// Puts `load` on the server, counts its holds, and gives all seats back, each with its owner and fence.
    pub(crate) fn load<E: Engine>(&mut self, load: Load) -> Result<Outcome, LoadError> {
        let books = self.books.take().ok_or(LoadError::Panicked)?;
        let logins = (1..=self.connections as u64).collect();
        let target = Target { addr: self.addr, logins, watched: self.watched() };
        let (books, outcome) = claims::run::<E, Claims>(target.clone(), books, load, Aim::Claim)?;
        self.compare(books.held())?;
        let (books, _) = claims::run::<E, Claims>(target, books, load.fast(), Aim::Release)?;
        books.all_back()?;
        self.compare(0)?;
        self.books = Some(books);
        Ok(outcome)
    }

    /// Winners are seats: there is a key for each seat that a client holds, and no other but the counter's.
    fn compare(&mut self, held: u64) -> Result<(), LoadError> {
        let keys = self.control.number(&[b"DBSIZE"])?;
        if keys == held.cast_signed() + 1 {
            return Ok(());
        }
        Err(LoadError::Wrong(format!("Redis has {} seats held, the clients {held}", keys - 1)))
    }
}

/// Its program.
pub(crate) fn installed() -> Result<PathBuf, LoadError> {
    find("redis-server", &[])
}

/// A connection for questions in between.
#[derive(Debug)]
struct Control {
    stream: TcpStream,
}

impl Control {
    fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// The text of an answer. An error of Redis is an error.
    fn ask(&mut self, words: &[&[u8]]) -> Result<String, LoadError> {
        let mut out = Vec::new();
        resp::command(words, &mut out);
        self.stream.write_all(&out).map_err(LoadError::connection("to Redis"))?;
        let mut received = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some((reply, _)) = resp::reply(&received)? {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                return match reply {
                    Reply::Error(error) => Err(LoadError::Wrong(format!("Redis says {}", text(error)))),
                    Reply::Simple(bytes) => Ok(text(bytes)),
                    Reply::Integer(number) => Ok(number.to_string()),
                    Reply::Bulk(bytes) => Ok(text(bytes.unwrap_or_default())),
                };
            }
            match self.stream.read(&mut chunk).map_err(LoadError::connection("to Redis"))? {
                0 => return Err(LoadError::Wrong("Redis closed the connection".to_owned())),
                count => received.extend_from_slice(&chunk[..count]),
            }
        }
    }

    fn number(&mut self, words: &[&[u8]]) -> Result<i64, LoadError> {
        let text = self.ask(words)?;
        text.parse().map_err(|_| LoadError::Wrong(format!("Redis answered {text:?} instead of a number")))
    }

    fn version(&mut self) -> Result<String, LoadError> {
        let info = self.ask(&[b"INFO", b"server"])?;
        let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(line.unwrap_or("unknown").to_owned())
    }
}

/// What the next reply answers.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Claim(SeatNumber),
    Release,
}

/// One user's claims, pipelined.
pub(crate) struct Claims {
    owner: Vec<u8>,
    /// Replies come in the order of requests.
    asked: VecDeque<(u16, Asked)>,
}

impl Dialect for Claims {
    type Login = u64;
    type Fence = u64;

    async fn enter<E: Engine>(
        addr: SocketAddr,
        owner: &u64,
        _hall: Arc<Hall>,
        depth: usize,
    ) -> Result<(Halves<E>, Self), LoadError> {
        let halves = E::connect(addr).await.map_err(LoadError::connection("to Redis"))?;
        let owner = owner.to_string().into_bytes();
        Ok((halves, Self { owner, asked: VecDeque::with_capacity(depth) }))
    }

    fn claim(&mut self, slot: u16, seat: SeatNumber, out: &mut Vec<u8>) {
        let key = format!("s:{seat}");
        resp::command(&[b"FCALL", b"claim", b"2", key.as_bytes(), FENCES, &self.owner, HOLD_MS], out);
        self.asked.push_back((slot, Asked::Claim(seat)));
    }

    fn release(&mut self, slot: u16, seat: SeatNumber, fence: u64, out: &mut Vec<u8>) {
        let (key, fence) = (format!("s:{seat}"), fence.to_string());
        resp::command(&[b"FCALL", b"release", b"1", key.as_bytes(), &self.owner, fence.as_bytes()], out);
        self.asked.push_back((slot, Asked::Release));
    }

    fn take(
        &mut self,
        received: &mut Vec<u8>,
        mut each: impl FnMut(u16, Verdict<u64>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let mut rest = received.as_slice();
        while let Some((reply, behind)) = resp::reply(rest)? {
            let Some((slot, asked)) = self.asked.pop_front() else {
                return Err(LoadError::Wrong(format!("Redis answers what nobody asked: {reply:?}")));
            };
            let verdict = match (asked, reply) {
                (Asked::Claim(_), Reply::Integer(0)) => Verdict::Refused("held"),
                (Asked::Claim(seat), Reply::Integer(fence @ 1..)) => Verdict::Granted(seat, fence as u64),
                (Asked::Release, Reply::Integer(0)) => Verdict::Refused("not_held"),
                (Asked::Release, Reply::Integer(1)) => Verdict::Released,
                (asked, reply) => {
                    return Err(LoadError::Wrong(format!("Redis answers {asked:?} with {reply:?}")));
                }
            };
            each(slot, verdict)?;
            rest = behind;
        }
        let used = received.len() - rest.len();
        received.drain(..used);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(asked: Asked, reply: &[u8]) -> Result<Vec<Verdict<u64>>, LoadError> {
        let mut claims = Claims { owner: b"7".to_vec(), asked: VecDeque::from([(0, asked)]) };
        let (mut received, mut seen) = (reply.to_vec(), Vec::new());
        claims.take(&mut received, |slot, verdict| {
            assert_eq!(slot, 0);
            seen.push(verdict);
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn replies_become_verdicts() {
        let claim = Asked::Claim(3);
        assert_eq!(take(claim, b":12\r\n").expect("a fence"), [Verdict::Granted(3, 12)]);
        assert_eq!(take(claim, b":0\r\n").expect("refused"), [Verdict::Refused("held")]);
        assert_eq!(take(Asked::Release, b":1\r\n").expect("done"), [Verdict::Released]);
        assert_eq!(take(Asked::Release, b":0\r\n").expect("refused"), [Verdict::Refused("not_held")]);
        assert_eq!(take(claim, b":1").expect("not whole"), []);
    }

    #[test]
    fn replies_that_cannot_be_fail() {
        for reply in [&b":-1\r\n"[..], b"+OK\r\n", b"-ERR no such function\r\n", b":1\r\n:1\r\n"] {
            assert!(take(Asked::Claim(3), reply).is_err(), "{reply:?}");
        }
        assert!(take(Asked::Release, b":2\r\n").is_err());
    }
}
