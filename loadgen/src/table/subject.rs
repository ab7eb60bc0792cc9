//! The server under test: a whole Frontrow in this process, with one shard core and one event on sale.

use crate::LoadError;
use crate::table::TableOptions;
use crate::table::claims::{self, Aim, Outcome, Target};
use crate::table::echo::Load;
use crate::table::hall::{Books, Hall};
use frontrow_engine::{Clock, Engine};
use frontrow_server::config::{self, Config, Machine};
use frontrow_server::http::Sales;
use frontrow_server::identity::{Expected, Minter};
use frontrow_server::{Running, catalogue};
use frontrow_shard::{EventId, EventRules, EventState, OrphanRule};
use frontrow_venue::Plan;
use std::path::Path;
use std::sync::Arc;

/// The event's number: the only one.
const EVENT: EventId = 1;
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
    target: Target,
    books: Option<Books>,
}

impl Server {
    /// Starts a server whose log is `durability`, with its data under `data`, and opens the sale of `plan`.
    pub(crate) fn start(
        options: &TableOptions,
        durability: &str,
        data: &Path,
        plan: &Plan,
    ) -> Result<Self, LoadError> {
        let config = configure(options, durability, data)?;
        let running = frontrow_server::start(&config, false)?;
        let rules = EventRules {
            hold_ms: HOLD_MS,
            max_per_user: 0,
            orphans: OrphanRule::Off,
            ..EventRules::default()
        };
        let specs = catalogue::specs(EVENT, plan, &rules, config.partitions.count)
            .map_err(|error| LoadError::Event(error.to_string()))?;
        wait_for(async {
            running.handle().create_event(specs).await?;
            running.handle().set_state(EVENT, EventState::Open).await
        })?
        .map_err(|code| LoadError::Event(code.name().to_owned()))?;
        let minter = Minter::new(SECRET.as_bytes(), &Expected::default());
        let now_s = Clock::wall_ms() / 1000;
        let user = |number: usize| {
            let user = number as u64 + 1;
            (user, minter.mint(user, now_s, TOKEN_LASTS_S))
        };
        let target =
            Target { addr: running.core_tcp[0], users: (0..options.connections).map(user).collect() };
        let hall = Arc::new(Hall::new(EVENT, plan));
        let books = Some(Books::deal(hall, options.connections, options.seed));
        Ok(Self { running, target, books })
    }

    /// Puts `load` on the server, compares its view of the seats with the clients', and gives all seats back.
    pub(crate) fn load<E: Engine>(&mut self, load: Load) -> Result<Outcome, LoadError> {
        let books = self.books.take().ok_or(LoadError::Panicked)?;
        let (books, outcome) = claims::run::<E>(self.target.clone(), books, load, Aim::Claim)?;
        self.compare(&books)?;
        let fast = Load { depth: 64, ..load };
        let (books, _) = claims::run::<E>(self.target.clone(), books, fast, Aim::Release)?;
        if books.held() != 0 {
            return Err(LoadError::Wrong(format!(
                "{} holds were left after all were released",
                books.held()
            )));
        }
        self.compare(&books)?;
        self.books = Some(books);
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

    /// What runs it.
    pub(crate) fn engine(&self) -> &str {
        &self.running.engine
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        self.running.stop();
    }
}

fn configure(options: &TableOptions, durability: &str, data: &Path) -> Result<Config, LoadError> {
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
        ("IDENTITY__HS256_SECRET", SECRET),
    ];
    let quick: &[_] = if options.quick { &QUICK } else { &[] };
    let all = settings.iter().chain(quick);
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
