//! PostgreSQL 15: a cluster of its own, and claims in SQL.

use crate::LoadError;
use crate::child::{Child, Spec, find, free_address};
use crate::machine::Watched;
use crate::peers::pgwire::{self, INT4, INT8, News, Value, fields, wrong};
use crate::peers::sql::{self, Manner};
use crate::table::claims::{self, Aim, Outcome, Target};
use crate::table::dialect::{Dialect, Halves, Verdict, receive};
use crate::table::echo::Load;
use crate::table::hall::{Books, Hall, SeatNumber};
use crate::table::{Subject, TableOptions};
use bytes::BytesMut;
use frontrow_engine::Engine;
use frontrow_venue::Plan;
use rustix::process::Signal;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The cluster's superuser.
const USER: &str = "postgres";
/// How long an answer to a single question may take: filling a table takes a while.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is not a default: room for a million seats in memory, and no checkpoint in the middle of a run.
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "shared_buffers=512MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
    "fsync=on",
    "synchronous_commit=on",
    "jit=off",
];

/// A running PostgreSQL and the load's books about it, for each manner.
pub(crate) struct Postgres {
    // The connection goes before the server.
    control: Control,
    child: Child,
    addr: SocketAddr,
    connections: usize,
    books: [Option<Books<i64>>; 3],
    pub(crate) version: String,
}

impl Postgres {
    /// Starts one with its data in `folder`, with the seats of `hall`, and those of `hot` for everybody.
    pub(crate) fn start(
        folder: &Path,
        options: &TableOptions,
        hall: &Arc<Hall>,
        hot: &Plan,
    ) -> Result<Self, LoadError> {
        let failed = |source| LoadError::File { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let user = unprivileged();
        if let Some((user, group)) = user {
            // Its parent must let it through; the folder itself becomes its own.
            chown(folder, Some(user), Some(group)).map_err(failed)?;
            let above = folder.parent().unwrap_or(folder);
            chown(above, Some(user), Some(group)).map_err(failed)?;
        }
        let [initdb, postgres] = installed()?;
        let data = folder.join("data");
        let mut args: Vec<OsString> = vec!["--pgdata".into(), data.clone().into()];
        args.extend(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"].map(Into::into));
        Spec { program: initdb, args, cpu: None, user, log: folder.with_extension("initdb.log") }.run()?;
        let addr = free_address()?;
        let mut args: Vec<OsString> = vec!["-D".into(), data.into()];
        let port = format!("port={}", addr.port());
        let most = format!("max_connections={}", options.connections + 8);
        for setting in SETTINGS.into_iter().chain([port.as_str(), most.as_str()]) {
            args.extend(["-c".into(), setting.into()]);
        }
        let spec = Spec {
            program: postgres,
            args,
            cpu: options.server_cpu(),
            user,
            log: folder.with_extension("log"),
        };
        let (child, mut control) = spec.start(Signal::INT, || Control::connect(addr).ok())?;
        let hot = Arc::new(Hall::new(2, hot));
        control.ask(sql::SCHEMA)?;
        for manner in Manner::ALL {
            let sections = sections(if manner == Manner::Hot { &hot } else { hall });
            control.ask(&sql::fill(manner.table(), &sections))?;
            control.ask(&format!("VACUUM ANALYZE {}", manner.table()))?;
        }
        control.ask("CHECKPOINT")?;
        let version = control.ask("SHOW server_version")?.concat().concat();
        let deepest = options.depths.iter().copied().max().unwrap_or(1);
        let (connections, seed) = (options.connections, options.seed);
        let books = Manner::ALL.map(|manner| {
            Some(match manner {
                Manner::Hot => Books::crowd(Arc::clone(&hot), connections, deepest, seed),
                _ => Books::deal(Arc::clone(hall), connections, seed),
            })
        });
        Ok(Self { control, child, addr, connections, books, version })
    }

    /// What runs: for its processor time.
    pub(crate) fn watched(&self) -> Watched {
        Watched::Process(self.child.pid())
    }

    /// Puts `load` on the server, compares its holds with the clients', and gives all seats back.
    pub(crate) fn load<E: Engine>(&mut self, subject: Subject, load: Load) -> Result<Outcome, LoadError> {
        let manner = Manner::of(subject).ok_or(LoadError::Panicked)?;
        let books = self.books[manner as usize].take().ok_or(LoadError::Panicked)?;
        let aim = if manner == Manner::Hot { Aim::Churn } else { Aim::Claim };
        let logins = (1..).take(self.connections).map(|owner| (owner, manner)).collect();
        let target = Target { addr: self.addr, logins, watched: self.watched() };
        let (books, outcome) = claims::run::<E, Claims>(target.clone(), books, load, aim)?;
        self.compare(manner, &books)?;
        let (books, _) = claims::run::<E, Claims>(target, books, load.fast(), Aim::Release)?;
        books.all_back()?;
        self.compare(manner, &books)?;
        self.books[manner as usize] = Some(books);
        Ok(outcome)
    }

    /// Winners are seats: what is held there is what the clients hold, with owner and fence.
    fn compare(&mut self, manner: Manner, books: &Books<i64>) -> Result<(), LoadError> {
        let mut ours = HashMap::new();
        for (owner, purse) in (1_i64..).zip(&books.purses) {
            for (seat, fence) in &purse.held {
                ours.insert(i64::from(*seat), (owner, *fence));
            }
        }
        let rows = self.control.ask(&manner.held())?;
        for row in &rows {
            let numbers: Vec<i64> = row.iter().filter_map(|field| field.parse().ok()).collect();
            let [seat, owner, fence] = numbers.as_slice() else {
                return Err(wrong(format!("a hold that is none: {row:?}")));
            };
            if ours.get(seat) != Some(&(*owner, *fence)) {
                return Err(wrong(format!(
                    "seat {seat} is held by {owner} with {fence}, not by the clients"
                )));
            }
        }
        if rows.len() == ours.len() {
            return Ok(());
        }
        Err(wrong(format!("{} seats are held there, {} by the clients", rows.len(), ours.len())))
    }
}

/// Its programs, `initdb` and `postgres`: of the search path, or else where Debian puts them.
pub(crate) fn installed() -> Result<[PathBuf; 2], LoadError> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    let bins: Vec<PathBuf> = versions.into_iter().map(|(_, folder)| folder).collect();
    Ok([find("initdb", &bins)?, find("postgres", &bins)?])
}

/// Whom to run it as, since it refuses to run as root: the package's own user, or else nobody.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let mut fields = users
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap_or((65534, 65534)))
}

/// Each section with its first and last seat.
fn sections(hall: &Hall) -> Vec<(u16, u32, u32)> {
    let mut sections: Vec<(u16, u32, u32)> = Vec::new();
    for (seat, spot) in hall.spots.iter().enumerate() {
        match sections.last_mut().filter(|(section, ..)| *section == spot.section) {
            Some((_, _, last)) => *last = seat as u32,
            None => sections.push((spot.section, seat as u32, seat as u32)),
        }
    }
    sections
}

/// A connection for questions in between.
#[derive(Debug)]
struct Control {
    stream: TcpStream,
    received: BytesMut,
}

impl Control {
    /// Connects; an error too while the server is starting.
    fn connect(addr: SocketAddr) -> Result<Self, LoadError> {
        let connected = TcpStream::connect_timeout(&addr, PATIENCE).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let stream = connected.map_err(LoadError::connection("to PostgreSQL"))?;
        let mut control = Self { stream, received: BytesMut::new() };
        let mut out = BytesMut::new();
        pgwire::startup(USER, &mut out)?;
        control.exchange(&out)?;
        Ok(control)
    }

    /// The rows that a text of SQL gives, as text.
    fn ask(&mut self, text: &str) -> Result<Vec<Vec<String>>, LoadError> {
        let mut out = BytesMut::new();
        pgwire::query(text, &mut out)?;
        self.exchange(&out)
    }

    fn exchange(&mut self, out: &[u8]) -> Result<Vec<Vec<String>>, LoadError> {
        self.stream.write_all(out).map_err(LoadError::connection("to PostgreSQL"))?;
        let mut rows = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            while let Some(news) = pgwire::next(&mut self.received)? {
                let News::Row(row) = news else { return Ok(rows) };
                let text = |bytes: &&[u8]| String::from_utf8_lossy(bytes).into_owned();
                rows.push(fields(&row)?.iter().map(text).collect());
            }
            match self.stream.read(&mut chunk).map_err(LoadError::connection("to PostgreSQL"))? {
                0 => return Err(wrong("it closed the connection")),
                count => self.received.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

/// What the next answer is to.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Claim(SeatNumber),
    Release(SeatNumber),
}

/// One user's claims, pipelined, each a transaction.
pub(crate) struct Claims {
    hall: Arc<Hall>,
    owner: i64,
    manner: Manner,
    /// Answers come in the order of requests.
    asked: VecDeque<(u16, Asked)>,
    /// What the first of them has returned so far.
    row: Option<(SeatNumber, i64)>,
    received: BytesMut,
    out: BytesMut,
}

impl Claims {
    fn execute(&mut self, name: &str, values: &[Value], out: &mut Vec<u8>) {
        pgwire::execute(name, values, &mut self.out);
        out.extend_from_slice(&self.out);
        self.out.clear();
    }

    /// What `row` (or none) says about what was asked.
    fn verdict(&self, asked: Asked, row: Option<(SeatNumber, i64)>) -> Result<Verdict<i64>, LoadError> {
        let section = |seat: SeatNumber| self.hall.spots.get(seat as usize).map(|spot| spot.section);
        match (asked, row) {
            (Asked::Claim(_), None) => Ok(Verdict::Refused("held")),
            (Asked::Release(_), None) => Ok(Verdict::Refused("not_held")),
            (Asked::Release(seat), Some((released, _))) if seat == released => Ok(Verdict::Released),
            (Asked::Claim(seat), Some((granted, fence))) => {
                let right = match self.manner {
                    Manner::Section => section(granted) == section(seat),
                    Manner::Named | Manner::Hot => granted == seat,
                };
                if right {
                    return Ok(Verdict::Granted(granted, fence));
                }
                Err(wrong(format!("seat {seat} or its section was asked, granted was {granted}")))
            }
            (asked, row) => Err(wrong(format!("{asked:?} was answered by {row:?}"))),
        }
    }
}

impl Dialect for Claims {
    type Login = (i64, Manner);
    type Fence = i64;

    async fn enter<E: Engine>(
        addr: SocketAddr,
        &(owner, manner): &(i64, Manner),
        hall: Arc<Hall>,
        depth: usize,
    ) -> Result<(Halves<E>, Self), LoadError> {
        let (mut reader, mut writer) =
            E::connect(addr).await.map_err(LoadError::connection("to PostgreSQL"))?;
        let mut out = BytesMut::new();
        pgwire::startup(USER, &mut out)?;
        pgwire::prepare("claim", &manner.claim(), &[INT4, INT8], &mut out)?;
        pgwire::prepare("release", &manner.release(), &[INT4, INT8, INT8], &mut out)?;
        let (sent, _) = E::send_all(&mut writer, out.to_vec()).await;
        sent.map_err(LoadError::connection("to PostgreSQL"))?;
        let (mut bytes, mut received, mut ready) = (Vec::with_capacity(4096), BytesMut::new(), 0);
        while ready < 3 {
            bytes = receive::<E>(&mut reader, bytes, "entering PostgreSQL").await?;
            received.extend_from_slice(&bytes);
            bytes.clear();
            while pgwire::next(&mut received)?.is_some() {
                ready += 1;
            }
        }
        let (asked, out) = (VecDeque::with_capacity(depth), BytesMut::new());
        Ok(((reader, writer), Self { hall, owner, manner, asked, row: None, received, out }))
    }

    fn claim(&mut self, slot: u16, seat: SeatNumber, out: &mut Vec<u8>) {
        let which = match self.manner {
            Manner::Section => i32::from(self.hall.spots[seat as usize].section.cast_signed()),
            Manner::Named | Manner::Hot => seat.cast_signed(),
        };
        self.execute("claim", &[Value::Int4(which), Value::Int8(self.owner)], out);
        self.asked.push_back((slot, Asked::Claim(seat)));
    }

    fn release(&mut self, slot: u16, seat: SeatNumber, fence: i64, out: &mut Vec<u8>) {
        let values = [Value::Int4(seat.cast_signed()), Value::Int8(self.owner), Value::Int8(fence)];
        self.execute("release", &values, out);
        self.asked.push_back((slot, Asked::Release(seat)));
    }

    fn take(
        &mut self,
        received: &mut Vec<u8>,
        mut each: impl FnMut(u16, Verdict<i64>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        self.received.extend_from_slice(received);
        received.clear();
        while let Some(news) = pgwire::next(&mut self.received)? {
            match news {
                News::Row(row) if self.row.is_none() => self.row = Some(pgwire::seat_and_fence(&row)?),
                News::Row(_) => return Err(wrong("two seats for one request")),
                News::Ready => {
                    let Some((slot, asked)) = self.asked.pop_front() else {
                        return Err(wrong("an answer to what nobody asked"));
                    };
                    let row = self.row.take();
                    each(slot, self.verdict(asked, row)?)?;
                }
            }
        }
        Ok(())
    }
}
