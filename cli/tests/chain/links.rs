//! The four programs, each of which can be killed and started again.

use crate::common::Server;
use frontrow_client::Http;
use frontrow_services::kafka::Kafka;
use frontrow_services::postgres::Postgres;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Server,
    Service,
    /// A further service of the same group, which stays away once it was killed.
    Second,
    Broker,
    Table,
}

pub(crate) struct Links {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    server: Option<Server>,
    service: Option<Service>,
    second: Option<Service>,
}

const DATABASE: &str = "tickets";

impl Links {
    pub(crate) fn start(kafka: Kafka, postgres: Postgres) -> Self {
        Self::start_with(kafka, postgres, &[])
    }

    /// The same with these settings besides, which win.
    pub(crate) fn start_with(kafka: Kafka, postgres: Postgres, more: &[(&'static str, &str)]) -> Self {
        let url = postgres.database(DATABASE).expect("a database");
        let text = |text: &str| text.to_owned();
        let mut settings = vec![
            ("FRONTROW_SERVER__CORES", text("2")),
            ("FRONTROW_PARTITIONS__COUNT", text("8")),
            ("FRONTROW_LOG__SEGMENT", text("1MiB")),
            ("FRONTROW_LOG__SNAPSHOT_EVERY", text("4MiB")),
            (
                "FRONTROW_LOG_OUTPUT__LEVEL",
                std::env::var("FRONTROW_LOG_OUTPUT__LEVEL").unwrap_or_else(|_| text("error")),
            ),
            ("FRONTROW_KAFKA__BROKERS", kafka.brokers()),
            ("FRONTROW_KAFKA__PARTITIONS", text("4")),
            ("FRONTROW_SERVICE__POSTGRES", url),
            ("FRONTROW_SERVICE__HTTP", text("127.0.0.1:0")),
        ];
        settings.extend(more.iter().map(|(name, value)| (*name, text(value))));
        let folder = tempfile::tempdir().expect("a folder");
        let mut links = Self { folder, settings, kafka, postgres, server: None, service: None, second: None };
        links.start_again(Link::Server);
        links.start_again(Link::Service);
        links
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// What all of them are told.
    pub(crate) fn settings(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Another server, on data of its own, is the primary from now on: the one before, with its data.
    pub(crate) fn is_served_by(
        &mut self,
        server: Server,
        folder: tempfile::TempDir,
    ) -> (Server, tempfile::TempDir) {
        let before = self.server.replace(server).expect("it runs");
        (before, std::mem::replace(&mut self.folder, folder))
    }

    pub(crate) fn operator(&self) -> Http {
        self.server().operator(self.folder.path())
    }

    /// The service, asked over HTTP.
    pub(crate) fn service(&self) -> Http {
        Http::new(&self.service.as_ref().expect("it runs").url).expect("a good address")
    }

    /// The data directory of server and service.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Where it is.
    pub(crate) fn service_url(&self) -> String {
        self.service.as_ref().expect("it runs").url.clone()
    }

    pub(crate) fn kill(&mut self, link: Link) {
        match link {
            Link::Server => self.server.take().expect("it runs").kill(),
            Link::Service => self.service = None,
            Link::Second => drop(self.second.take().expect("it runs")),
            Link::Broker => self.kafka.kill(),
            Link::Table => self.postgres.kill().expect("it runs"),
        }
    }

    pub(crate) fn start_again(&mut self, link: Link) {
        let settings = self.settings();
        match link {
            Link::Server => {
                let server = Server::start(self.folder.path(), &settings);
                self.server = Some(server);
            }
            Link::Service => {
                let service = Service::start(&self.data(), &settings);
                self.service = Some(service);
            }
            Link::Second => {}
            Link::Broker => self.kafka.start_again().expect("it starts again"),
            Link::Table => self.postgres.start_again().expect("it starts again"),
        }
    }

    /// SIGTERM for the service, and how it ended.
    pub(crate) async fn terminate_service(&mut self) -> ExitStatus {
        let mut service = self.service.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&service.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        loop {
            if let Some(status) = service.child.try_wait().expect("it is ours") {
                return status;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A second service beside the first.
    pub(crate) fn start_second(&mut self) {
        let second = Service::start(&self.data(), &self.settings());
        self.second = Some(second);
    }

    /// How many partitions of the topic each service has.
    pub(crate) fn shares(&self) -> Vec<u64> {
        let services = self.service.iter().chain(&self.second);
        services.map(|it| it.consumers().iter().filter_map(|one| one["partitions"].as_u64()).sum()).collect()
    }

    /// How many records the service is behind; none while it does not know, of whichever of its consumers.
    pub(crate) fn lag(&self) -> Option<u64> {
        let consumers = self.service.as_ref().expect("it runs").consumers();
        // One may have nothing to do.
        consumers.iter().filter(|one| one["partitions"] != 0).map(|one| one["lag_records"].as_u64()).sum()
    }

    /// What keeps each consumer of the service from going on; empty where nothing does.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let consumers = self.service.as_ref().expect("it runs").consumers();
        consumers.iter().map(|one| one["trouble"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What the table has, in psql's words.
    pub(crate) fn sql(&self, statement: &str) -> Option<String> {
        self.postgres.sql(DATABASE, statement).ok()
    }

    /// How many records the service could do nothing with.
    pub(crate) fn set_aside(&self) -> u64 {
        let metrics = get(&self.service.as_ref().expect("it runs").url, "/metrics");
        let line = metrics.lines().find(|line| line.starts_with("frontrow_service_set_aside_total"));
        let number = line.and_then(|line| line.split(' ').nth(1)).expect("it counts them");
        number.parse().expect("a number")
    }
}

fn get(url: &str, path: &str) -> String {
    let at = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(at).expect("it answers");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

/// A running `frontrow bookings serve`; dropped, it is killed.
pub(crate) struct Service {
    child: Child,
    pub(crate) url: String,
}

impl Service {
    pub(crate) fn start(data: &std::path::Path, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_frontrow"))
            .args(["--json", "bookings", "serve"])
            .envs(settings.iter().copied())
            .env("FRONTROW_SERVER__DATA", data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary is built with this test");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        lines.read_line(&mut line).expect("it says where it is");
        let said: serde_json::Value = serde_json::from_str(&line).expect("it started");
        let url = format!("http://{}", said["http"].as_str().unwrap_or_default());
        Self { child, url }
    }

    /// What its status says of each consumer.
    fn consumers(&self) -> Vec<serde_json::Value> {
        let answer = get(&self.url, "/v1/status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status: serde_json::Value = serde_json::from_str(body).expect("a status");
        status["consumers"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
