//! The server under test: a whole Frontrow in this process, with one shard core and one event on sale.

use crate::LoadError;
use crate::machine::Watched;
use crate::table::TableOptions;
use crate::table::claims::{self, Aim, Outcome, Target};
use crate::table::echo::Load;
use crate::table::frontrow::{Frontrow, Login};
use crate::table::hall::{Books, Hall};
use crate::table::websocket::WebSocket;
use frontrow_engine::{Clock, Engine};
use frontrow_server::config::{self, Config, Machine};
use frontrow_server::http::Sales;
use frontrow_server::identity::{Expected, Minter};
use frontrow_server::{Running, catalogue};
use frontrow_shard::{EventId, EventRules, EventState, OrphanRule};
use frontrow_venue::Plan;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The event that the table is about.
const EVENT: EventId = 1;
/// The event whose few seats everybody wants.
const HOT_EVENT: EventId = 2;
/// How long holds last: long enough that none expires in a run.
const HOLD_MS: u32 = 3_600_000;
/// The secret that users' tokens are signed with.
const SECRET: &str = "a secret of the load generator, for servers on loopback that live for one run";
/// How long the users' tokens are good for, in seconds.
const TOKEN_LASTS_S: u64 = 24 * 3600;
/// Tiny partitions for `--quick`.
const QUICK: [(&str, &str); 4] = [
    ("PARTITIONS__COUNT", "4"),
    ("PARTITIONS__REQUESTS_REMEMBERED", "16384"),
    ("PARTITIONS__WAITING", "64"),
    ("LOG__SEGMENT", "1MiB"),
];

/// A running server and the load's books about it.
pub(crate) struct Server {
    running: Running,
    partitions: u16,
    target: Target<Login>,
    books: Option<Books>,
    hot: Option<Books>,
}

/// How a load reaches a server, and which seats it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Raw TCP, everybody has seats of their own.
    Tcp,
    /// WebSocket, everybody has seats of their own.
    WebSocket,
    /// Raw TCP, everybody wants the same few seats, see [`Server::open_hot`].
    Hot,
}

impl Server {
    /// Starts a server whose log is `durability`, with its data under `data`, and opens the sale of `plan`.
    pub(crate) fn start(
        options: &TableOptions,
        durability: &str,
        data: &Path,
        plan: &Plan,
    ) -> Result<Self, LoadError> {
        let config = configure(options, durability, data, &[])?;
        let running = frontrow_server::start(&config, false)?;
        Self::sell(options, &config, running, plan)
    }

    /// The same with a table of bookings beside its log.
    pub(crate) fn start_fed(options: &TableOptions, data: &Path, plan: &Plan) -> Result<Self, LoadError> {
        let config = configure(options, &options.durability, data, &[("BOOKINGS__TABLE", "embedded")])?;
        let running = frontrow_server::start(&config, false)?;
        Self::sell(options, &config, running, plan)
    }

    /// The same with everything told to Kafka.
    pub(crate) fn start_told(
        options: &TableOptions,
        data: &Path,
        plan: &Plan,
        brokers: &str,
    ) -> Result<Self, LoadError> {
        let config = configure(options, &options.durability, data, &[("KAFKA__BROKERS", brokers)])?;
        let running = frontrow_server::start(&config, false)?;
        Self::sell(options, &config, running, plan)
    }

    /// The same with answers that wait for a standby. `follow` starts one, told where to connect; returns when it
    /// has everything.
    pub(crate) fn start_followed<T>(
        options: &TableOptions,
        data: &Path,
        plan: &Plan,
        follow: impl FnOnce(SocketAddr, &Running) -> Result<T, LoadError>,
    ) -> Result<(Self, T), LoadError> {
        let replication = [("REPLICATION__LISTEN", "127.0.0.1:0"), ("REPLICATION__ACKNOWLEDGE", "backup")];
        let config = configure(options, &options.durability, data, &replication)?;
        let running = frontrow_server::start(&config, false)?;
        let at = running.replication().ok_or(LoadError::Panicked)?;
        let standby = follow(at, &running)?;
        Ok((Self::sell(options, &config, running, plan)?, standby))
    }

    fn sell(
        options: &TableOptions,
        config: &Config,
        running: Running,
        plan: &Plan,
    ) -> Result<Self, LoadError> {
        let minter = Minter::new(SECRET.as_bytes(), &Expected::default());
        let now_s = Clock::wall_ms() / 1000;
        let user = |number: usize| {
            let user = number as u64 + 1;
            (user, minter.mint(user, now_s, TOKEN_LASTS_S))
        };
        let logins = (0..options.connections).map(user).collect();
        let target = Target { addr: running.core_tcp[0], logins, watched: Watched::Own };
        let partitions = config.partitions.count;
        let mut server = Self { running, partitions, target, books: None, hot: None };
        let hall = server.open(EVENT, plan)?;
        server.books = Some(Books::deal(hall, options.connections, options.seed));
        Ok(server)
    }

    /// Puts the few seats of `plan` on sale as well, all of them wanted by every connection.
    pub(crate) fn open_hot(&mut self, options: &TableOptions, plan: &Plan) -> Result<(), LoadError> {
        let hall = self.open(HOT_EVENT, plan)?;
        let deepest = options.depths.iter().copied().max().unwrap_or(1);
        self.hot = Some(Books::crowd(hall, options.connections, deepest, options.seed));
        Ok(())
    }

    fn open(&self, event: EventId, plan: &Plan) -> Result<Arc<Hall>, LoadError> {
        let rules = EventRules {
            hold_ms: HOLD_MS,
            max_per_user: 0,
            orphans: OrphanRule::Off,
            ..EventRules::default()
        };
        let specs = catalogue::specs(event, plan, &rules, self.partitions)
            .map_err(|error| LoadError::Event(error.to_string()))?;
        let handle = self.running.handle();
        wait_for(async {
            handle.create_event(specs).await?;
            handle.set_state(event, EventState::Open).await
        })?
        .map_err(|code| LoadError::Event(code.name().to_owned()))?;
        Ok(Arc::new(Hall::new(event, plan)))
    }

    /// Puts `load` on the server, compares its view of the seats with the clients', and gives all seats back.
    pub(crate) fn load<E: Engine>(&mut self, way: Way, load: Load) -> Result<Outcome, LoadError> {
        let books = if way == Way::Hot { self.hot.take() } else { self.books.take() };
        let books = books.ok_or(LoadError::Panicked)?;
        let aim = if way == Way::Hot { Aim::Churn } else { Aim::Claim };
        let target = self.target.clone();
        let (books, outcome) = if way == Way::WebSocket {
            let target = Target { addr: self.running.http, ..target };
            claims::run::<E, WebSocket>(target, books, load, aim)?
        } else {
            claims::run::<E, Frontrow>(target, books, load, aim)?
        };
        self.compare(&books)?;
        let (books, _) = claims::run::<E, Frontrow>(self.target.clone(), books, load.fast(), Aim::Release)?;
        books.all_back()?;
        self.compare(&books)?;
        *(if way == Way::Hot { &mut self.hot } else { &mut self.books }) = Some(books);
        Ok(outcome)
    }

    /// Winners are seats: what is free at the server is what no client holds, seat by seat.
    fn compare(&self, books: &Books) -> Result<(), LoadError> {
        let (hall, mut seats) = (&books.hall, 0..);
        for section in 0..hall.sections {
            let rows = wait_for(self.running.handle().section_state(hall.event, section))?
                .map_err(|code| LoadError::Event(code.name().to_owned()))?;
            for row in rows {
                for place in 0..row.state.seats {
                    let Some(seat) = seats.next() else { break };
                    let spot = hall.spots.get(seat as usize).copied();
                    let here = spot.is_some_and(|spot| {
                        (spot.section, spot.row, u16::from(spot.place)) == (section, row.row, place)
                    });
                    let free = row.state.free[usize::from(place) / 64] >> (place % 64) & 1 == 1;
                    if !here || free == books.taken.contains(seat) {
                        let what = format!(
                            "seat {seat} ({spot:?}): the server says free is {free}, the clients not"
                        );
                        return Err(LoadError::Wrong(what));
                    }
                }
            }
        }
        match seats.next() {
            Some(count) if count as usize == hall.spots.len() => Ok(()),
            count => {
                Err(LoadError::Wrong(format!("the server shows {count:?} of {} seats", hall.spots.len())))
            }
        }
    }

    /// Where its HTTP side is.
    pub(crate) fn http(&self) -> SocketAddr {
        self.running.http
    }

    /// What runs it.
    pub(crate) fn engine(&self) -> &str {
        &self.running.engine
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        self.running.stop();
    }
}

fn configure(
    options: &TableOptions,
    durability: &str,
    data: &Path,
    more: &[(&str, &str)],
) -> Result<Config, LoadError> {
    let cpu = options.server_cpu().unwrap_or_default();
    let data = data.to_str().ok_or_else(|| LoadError::Option("--data must be UTF-8".to_owned()))?;
    let (cores, engine) = (format!("[{cpu}]"), options.engine.to_string());
    let settings = [
        ("SERVER__TCP", "127.0.0.1:0"),
        ("SERVER__HTTP", "127.0.0.1:0"),
        ("SERVER__CORE_PORTS", "0"),
        ("SERVER__DATA", data),
        ("SERVER__ENGINE", &engine),
        ("SERVER__CORES", if options.no_pin { "1" } else { &cores }),
        ("SERVER__PIN", if options.no_pin { "false" } else { "true" }),
        ("LOG__DURABILITY", durability),
        // What it costs is a subject of its own.
        ("BOOKINGS__TABLE", "off"),
        ("IDENTITY__HS256_SECRET", SECRET),
    ];
    let quick: &[_] = if options.quick { &QUICK } else { &[] };
    let all = settings.iter().chain(quick).chain(more);
    let env = all.map(|(key, value)| (format!("{}{key}", config::ENV_PREFIX), (*value).to_owned()));
    let wished = options.settings.iter().map(|(key, value)| {
        let key = key.to_ascii_uppercase().replace('.', "__");
        (format!("{}{key}", config::ENV_PREFIX), value.clone())
    });
    Ok(config::read(None, env.chain(wished), &Machine::probe()).into_result()?)
}

/// Waits for an answer of the server on a thread that has nothing else to do.
fn wait_for<T>(future: impl Future<Output = T>) -> Result<T, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(LoadError::connection("waiting for the server"))?;
    Ok(runtime.block_on(future))
}
