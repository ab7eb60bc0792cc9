//! A server as a process of its own, for examples that measure: the example itself, called with `serve`.

#![allow(dead_code, reason = "each example needs its part of it")]

use frontrow_client::{Http, RowRef};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// The server of the other process; its settings come in the environment.
pub(crate) fn serve() -> Outcome<()> {
    let config = frontrow_server::config::load(None)?;
    let running = frontrow_server::start(&config, false)?;
    println!("{} {}", running.http, running.tcp);
    running.wait_for_signal_and_stop()?;
    Ok(())
}

/// Killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) http: Http,
    pub(crate) tcp: String,
    pub(crate) started_in: Duration,
}

impl Server {
    /// `settings` beside the usual: `LOG__SEGMENT` and its value.
    pub(crate) fn start(data: &Path, settings: &[(&str, &str)]) -> Outcome<Self> {
        let began = now();
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .envs([
                ("FRONTROW_SERVER__TCP", "127.0.0.1:0"),
                ("FRONTROW_SERVER__HTTP", "127.0.0.1:0"),
                ("FRONTROW_SERVER__CORE_PORTS", "0"),
                ("FRONTROW_LOG_OUTPUT__LEVEL", "warn"),
            ])
            .envs(settings.iter().map(|(key, value)| (format!("FRONTROW_{key}"), value)))
            .env("FRONTROW_SERVER__DATA", data)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (http, tcp) = line.trim().split_once(' ').ok_or("the server did not start")?;
        let key = std::fs::read_to_string(data.join("dev-admin.key"))?;
        let (http, tcp) = (Http::new(&format!("http://{http}"))?.with_admin_key(key.trim()), tcp.to_owned());
        Ok(Self { child, http, tcp, started_in: began.elapsed() })
    }

    /// By SIGKILL.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The rows of an event, and how many seats each has.
pub(crate) async fn rows(server: &Server, event: u32) -> Outcome<Vec<(RowRef, usize)>> {
    let mut rows = Vec::new();
    for section in 0..server.http.event(event).await?.section_list.len() as u16 {
        let map = server.http.section_map(event, section).await?;
        rows.extend(map.rows.iter().map(|row| (RowRef::new(event, section, row.row), row.numbers.len())));
    }
    Ok(rows)
}
