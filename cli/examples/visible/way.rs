//! The programs that a booking goes through until it can be seen.

use crate::child::{Outcome, Server};
use frontrow_client::Http;
use frontrow_services::kafka::{Kafka, Size};
use frontrow_services::postgres::{self, Postgres};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) const EMBEDDED: &str = "embedded";
pub(crate) const FULL: &str = "Kafka and PostgreSQL";

pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    /// Where bookings are asked for.
    pub(crate) api: Http,
    // Ended in this order.
    _service: Option<Service>,
    _postgres: Option<Postgres>,
    _kafka: Option<Kafka>,
}

const CORES: [(&str, &str); 2] = [("SERVER__CORES", "1"), ("SERVER__PIN", "false")];

impl Way {
    /// The server alone: its own table.
    pub(crate) fn embedded(folder: &Path) -> Outcome<Self> {
        let server = Server::start(&folder.join("data"), &CORES)?;
        let api = server.http.clone();
        Ok(Self { name: EMBEDDED, server, api, _service: None, _postgres: None, _kafka: None })
    }

    /// Kafka, the bookings service, PostgreSQL with its writes synced.
    pub(crate) fn full(folder: &Path) -> Outcome<Self> {
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let kafka = Kafka::start_of(Size::Large)?;
        let place = Some(folder.join("postgres"));
        let postgres =
            Postgres::start_with(postgres::Settings { folder: place, fsync: true, ..Default::default() })?;
        let (brokers, table) = (kafka.brokers(), postgres.database("visible")?);
        let settings = [
            CORES[0],
            CORES[1],
            ("KAFKA__BROKERS", brokers.as_str()),
            ("SERVICE__POSTGRES", table.as_str()),
            ("SERVICE__HTTP", "127.0.0.1:0"),
            // The service has it.
            ("BOOKINGS__TABLE", "off"),
        ];
        let server = Server::start(&folder.join("data"), &settings)?;
        let service = Service::start(&folder.join("data"), &settings)?;
        let api = Http::new(&service.url)?;
        Ok(Self {
            name: FULL,
            server,
            api,
            _service: Some(service),
            _postgres: Some(postgres),
            _kafka: Some(kafka),
        })
    }
}

/// The bookings service as a process of its own: this program, called with `service`.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(data: &Path, settings: &[(&str, &str)]) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("service")
            .envs(settings.iter().map(|(key, value)| (format!("FRONTROW_{key}"), value)))
            .env("FRONTROW_SERVER__DATA", data)
            .env("FRONTROW_LOG_OUTPUT__LEVEL", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { child, url: format!("http://{}", line.trim()) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What that process does.
pub(crate) fn service() -> Outcome<()> {
    let running = frontrow_service::start(&frontrow_server::config::load(None)?)?;
    println!("{}", running.http);
    frontrow_server::signals::until_told(std::future::pending())?;
    running.stop();
    Ok(())
}
