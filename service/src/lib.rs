//! The bookings service: `frontrow bookings serve`. It takes bookings out of Kafka into PostgreSQL, and answers from there, so
//! that buyers, finance, mail and check-in read them without a word to the servers that sell.
//!
//! Several may run, with the same `service.group`: Kafka divides the topic among them, and each answers for all of it.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `lib` | starting and stopping |
//! | `consumers` | the threads that take bookings over |
//! | `watch` | whether the table follows its topic, whoever takes the bookings over |
//! | `http` | the routes, who may ask, and how the service is doing |

mod consumers;
mod http;
mod watch;

use consumers::Consumers;
use frontrow_bookings::postgres::{self, Postgres, PostgresError};
use frontrow_cdc::source::SourceError;
use frontrow_kafka::{BadSetting, Ticks};
use frontrow_server::config::Config;
use frontrow_server::identity::{Keys, KeysError};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;
use watch::{Watch, Watching};

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Something is not set that must be.
    #[error("{0} is not set: the bookings service reads Kafka and writes PostgreSQL (docs/bookings.md)")]
    Missing(&'static str),
    /// Keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// PostgreSQL's settings.
    #[error("service.postgres, service.replicas: {0}")]
    Postgres(#[from] PostgresError),
    /// Kafka's settings.
    #[error(transparent)]
    Kafka(#[from] BadSetting),
    /// Kafka's client.
    #[error(transparent)]
    Reader(#[from] SourceError),
    /// The address is somebody else's.
    #[error(
        "service.http: cannot listen on {address}: {source}; stop who listens there, or choose another address"
    )]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// The running service.
pub struct Service {
    /// Where it answers.
    pub http: SocketAddr,
    consumers: Consumers,
    watching: Watching,
    serving: http::Serving,
}

/// Starts it. Kafka and PostgreSQL need not be there yet: it goes on by itself once they are.
#[allow(
    clippy::disallowed_methods,
    reason = "the age of a connection to a replica, and of what is known of the table: no booking is decided by it"
)]
pub fn start(config: &Config) -> Result<Service, ServiceError> {
    let primary = config.service.postgres.clone().ok_or(ServiceError::Missing("service.postgres"))?;
    // Whose changes it has is told by what is there.
    let kafka = config.kafka.client(0).ok_or(ServiceError::Missing("kafka.brokers"))?;
    kafka.check()?;
    let settings =
        postgres::Settings { replicas: config.service.replicas.clone(), ..postgres::Settings::of(primary) };
    let keys = Keys::open(config)?;
    let address = config.service.http;
    let listener = TcpListener::bind(address).map_err(|source| ServiceError::Http { address, source })?;
    let at = listener.local_addr().map_err(|source| ServiceError::Http { address, source })?;
    let begun = Instant::now();
    let clock = move || begun.elapsed().as_millis() as u64;
    let table = Arc::new(Postgres::open(&settings, clock)?);
    let ticks = Ticks::new(kafka.clone(), &config.service.group);
    let consumers = Consumers::start(config, &kafka, &settings)?;
    let watch = Arc::new(Watch::new(consumers.progress(), Box::new(clock)));
    let watching =
        Watching::start(Arc::clone(&watch), Arc::clone(&table), ticks).map_err(ServiceError::Thread)?;
    let routes = http::routes(config, &keys, table, watch);
    let serving = http::Serving::start(listener, routes).map_err(ServiceError::Thread)?;
    Ok(Service { http: at, consumers, watching, serving })
}

impl Service {
    /// No new connections, and nothing more is taken over; what was under way is ended, unless it takes more than some seconds.
    pub fn stop(self) {
        let ending = self.consumers.stop();
        self.watching.stop();
        self.serving.stop();
        ending.wait();
    }
}
