//! What a server says of itself when it begins to serve.

use super::Running;
use crate::config;
use crate::shell::{self, line, quoted};
use frontrow_shard::EventState;
use std::fmt::Write as _;
use std::path::Path;

impl Running {
    /// What is on sale, where to connect, and what to type next: a few lines for the terminal.
    pub fn banner(&self) -> String {
        let mut out = String::new();
        let events = self.catalogue.search("", None);
        let cores = self.core_tcp.len();
        let _ = writeln!(out, "Frontrow is open. {cores} shard core{}, {}.", plural(cores), self.engine);
        if self.replayed > 0 {
            let and = if self.as_left { "; everything is as it was left" } else { "" };
            let _ = writeln!(out, "Replayed {} log records{and}.", self.replayed);
        }
        let _ = writeln!(out);
        for event in events.iter().take(8) {
            let _ = writeln!(
                out,
                "  event {}: {} ({}), {} seats in {} sections",
                event.id(),
                event.name(),
                event.state_name(),
                event.seats(),
                event.sections().len()
            );
        }
        if events.len() > 8 {
            let _ = writeln!(out, "  and {} more", events.len() - 8);
        }
        if events.is_empty() {
            let _ = writeln!(
                out,
                "  Nothing is on sale yet: {} event create PLAN.json --name NAME",
                self.operating()
            );
        }
        let _ = writeln!(out, "\n  HTTP and WebSocket  http://{}  (ws://{}/v1/ws)", self.http, self.http);
        let _ = writeln!(out, "  raw TCP             {}", self.tcp);
        if let Some(listening) = &self.replication {
            let _ = writeln!(out, "  standbys            {}", listening.address);
        }
        if let Some(path) = &self.admin_key_file {
            let _ = writeln!(out, "  operator's key      {}", path.display());
        }
        if self.dev {
            let _ = writeln!(out, "  development mode: anybody on this machine can be any user");
        }
        let sellable: Vec<Sellable> = events
            .iter()
            .map(|event| Sellable {
                event: event.id(),
                state: event.state(),
                section: event.sections().first().map_or("", |section| section.name.as_str()),
            })
            .collect();
        out.push_str(&self.next(&sellable));
        out
    }

    /// This program, as it is told where the server is.
    fn command(&self) -> String {
        let program = shell::program();
        if self.http.port() == config::DEFAULT_HTTP_PORT {
            program
        } else {
            format!("{program} --server {}", quoted(&format!("http://{}", self.http)))
        }
    }

    /// The same for operators.
    fn operating(&self) -> String {
        let key = self.admin_key_file.as_deref().and_then(Path::parent);
        self.command() + &operator(key)
    }

    /// What to type next.
    fn next(&self, events: &[Sellable<'_>]) -> String {
        let steps = steps(events, &self.command(), &self.operating());
        let mut out = String::new();
        // In a cluster the other node comes by itself.
        let alone =
            self.member.is_none() && self.hub.as_ref().is_some_and(|hub| hub.unacknowledged().is_some());
        if let (true, Some(listening)) = (alone, &self.replication) {
            let _ = writeln!(
                out,
                "\nAnswers wait for a standby, and none follows: nothing is acknowledged before one does (frontrow backup \
                 --primary {}, at the other node), or you go on without ({} replication alone).",
                listening.address,
                self.operating()
            );
        }
        if !steps.is_empty() {
            let _ = writeln!(out, "\nNext, in another terminal:\n{steps}");
        }
        out.trim_end().to_owned() + "\n"
    }
}

/// As much of an event as says what can be done with it.
struct Sellable<'a> {
    event: u32,
    state: EventState,
    section: &'a str,
}

/// Where an operator's command finds the key: in the data directory, if the server has put one there.
fn operator(data: Option<&Path>) -> String {
    match data {
        None => " --admin-key KEY".to_owned(),
        // The command looks there by itself.
        Some(data) if data == Path::new("data") => String::new(),
        Some(data) => format!(" --data {}", quoted(&data.display().to_string())),
    }
}

/// Commands that work: an event that is not on sale is put there first, and of one that is over nothing can be claimed.
fn steps(events: &[Sellable<'_>], command: &str, operating: &str) -> String {
    let of = |wanted: &[EventState]| events.iter().find(|it| wanted.contains(&it.state));
    let mut out = String::new();
    let to_open = of(&[EventState::Open]).is_none();
    let Some(it) = of(&[EventState::Open]).or_else(|| of(&[EventState::Draft, EventState::Paused])) else {
        return out;
    };
    let Sellable { event, section, .. } = it;
    if to_open {
        let _ = writeln!(out, "  {operating} event open {event}");
    }
    let place = [&*event.to_string(), section];
    let _ = writeln!(out, "  {command} {}", line("seats", &place, ""));
    let _ = writeln!(out, "  {command} {}", line("claim", &place, "--best 2"));
    out
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventState::{Archived, Closed, Draft, Open, Paused};

    #[test]
    fn what_is_to_be_typed_next_can_be_done() {
        let said = |states: &[EventState]| {
            let of = |(event, &state)| Sellable { event, state, section: "A" };
            let events: Vec<Sellable<'_>> = (1..).zip(states).map(of).collect();
            steps(&events, "frontrow", "frontrow --data /srv")
        };
        let claim = |event: u32| format!("  frontrow seats {event} A\n  frontrow claim {event} A --best 2\n");
        let open = |event: u32| format!("  frontrow --data /srv event open {event}\n");
        assert_eq!(said(&[Open, Draft]), claim(1));
        assert_eq!(said(&[Closed, Draft, Open]), claim(3));
        assert_eq!(said(&[Closed, Draft]), open(2) + &claim(2));
        assert_eq!(said(&[Paused]), open(1) + &claim(1));
        assert_eq!(said(&[Closed, Archived]) + &said(&[]), "");
        let hostile = Sellable { event: 1, state: Open, section: "A$(touch x)" };
        let said = steps(&[hostile], "frontrow", "frontrow");
        assert!(
            said.starts_with("  frontrow seats 1 'A$(touch x)'\n  frontrow claim 1 'A$(touch x)' --"),
            "{said}"
        );
    }

    #[test]
    fn an_operators_command_is_told_where_the_key_is() {
        assert_eq!(operator(Some(Path::new("data"))), "");
        assert_eq!(operator(Some(Path::new("/srv/frontrow"))), " --data /srv/frontrow");
        assert_eq!(operator(Some(Path::new("/srv/front row"))), " --data '/srv/front row'");
        assert_eq!(operator(None), " --admin-key KEY");
    }
}
