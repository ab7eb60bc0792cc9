//! What is left out on the command line, settled by scenario, server and machine.

use crate::LoadError;
use crate::crowd::{Scenario, Think};
use crate::drive::Transport;
use crate::options::{LoadOptions, TransportWord};
use crate::report::model::Load;
use crate::report::words::{count, plural, seconds};
use crate::runs::limits;
use crate::runs::site::Site;
use std::path::Path;
use std::time::Duration;

/// Seats that a visit may use up, with room to spare.
const SEATS_PER_VISIT: f64 = 3.0;
/// The largest hall made for a step of a search.
const MOST_SEATS: u32 = 200_000;

/// How a scenario is put on a server.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) connections: u32,
    pub(crate) depth: u32,
    pub(crate) transport: TransportWord,
    pub(crate) routed: bool,
    /// One per load thread.
    pub(crate) cpus: Vec<Option<usize>>,
    pub(crate) patience: Duration,
    pub(crate) seed: u64,
    /// An event that is there, or how many seats to make one with.
    pub(crate) event: Result<u32, u32>,
    /// How long people may take to end what they are at, after the last has come.
    pub(crate) grace: Duration,
    pub(crate) quick: bool,
    /// What `--quick` made smaller, in words.
    pub(crate) shrunk: Vec<String>,
}

/// A scenario by name, or from a file.
pub(crate) fn scenario(name: &str) -> Result<Scenario, LoadError> {
    if Scenario::names().any(|known| known == name) || !name.contains(['.', '/']) {
        return Ok(Scenario::named(name)?);
    }
    from_file(Path::new(name))
}

/// A scenario from a file.
pub(crate) fn from_file(path: &Path) -> Result<Scenario, LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| LoadError::NoScenario { path: path.to_owned(), source })?;
    Scenario::parse(&text).map_err(|source| LoadError::ScenarioFile { path: path.to_owned(), source })
}

impl Plan {
    /// Settles everything, and says no to what cannot be.
    pub(crate) fn settle(
        options: &LoadOptions,
        mut scenario: Scenario,
        site: &Site,
    ) -> Result<Self, LoadError> {
        options.check()?;
        if let Some(people) = options.people {
            scenario = scenario.with_people(people).ok_or_else(|| {
                LoadError::Option(format!(
                    "the people of `{}` come at a rate, not as a crowd of a size: leave --people out, and give --rate \
                     with visits per second and --for with how long",
                    scenario.name
                ))
            })?;
        }
        let whole = scenario.clone();
        if options.quick {
            tiny(&mut scenario);
        }
        let lasts_s = options.lasts.map_or(scenario.duration_s, |it| it.as_secs_f64());
        if options.quick && options.lasts.is_some() {
            stretch(&mut scenario, lasts_s);
        }
        if let Some(rate) = options.rate {
            scenario = scenario.at_rate(rate, lasts_s);
        }
        scenario.duration_s = lasts_s;
        let connections = options.connections.unwrap_or(scenario.connections);
        limits::check(site, connections)?;
        let most = site.welcome.limits.max_in_flight;
        if options.depth > most {
            return Err(LoadError::Option(format!(
                "--depth {} is more than the server lets a connection have in flight; give at most {most}",
                options.depth
            )));
        }
        if options.routed && !site.routes(options.transport) {
            return Err(LoadError::Option(
                "--routed needs a port of its own for each core, and this server's WebSockets have one for all; \
                 leave --routed out, or use --transport tcp"
                    .to_owned(),
            ));
        }
        let grace = if options.quick { Duration::from_secs(2) } else { Duration::from_secs(20) };
        Ok(Self {
            connections,
            depth: options.depth,
            transport: options.transport,
            routed: options.routed,
            cpus: options.cpus(),
            patience: options.patience,
            seed: options.seed,
            event: options.event.ok_or_else(|| options.seats.unwrap_or(scenario.hall.seats)),
            shrunk: if options.quick { shrunk(&whole, &scenario, options) } else { Vec::new() },
            scenario,
            grace,
            quick: options.quick,
        })
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.transport {
            TransportWord::Tcp => Transport::Tcp,
            TransportWord::Websocket => Transport::WebSocket,
        }
    }

    /// Seats of an event made for the scenario as it is.
    pub(crate) fn seats(&self) -> u32 {
        self.event.err().unwrap_or(self.scenario.hall.seats)
    }

    /// Seats for the scenario at another rate: enough that they do not run out.
    pub(crate) fn seats_for(&self, scenario: &Scenario) -> u32 {
        let wanted = (scenario.visits() * SEATS_PER_VISIT) as u32;
        wanted.clamp(self.seats(), MOST_SEATS.max(self.seats()))
    }

    /// For the report.
    pub(crate) fn load(&self, rate_per_s: f64) -> Load {
        Load {
            transport: self.transport.name().to_owned(),
            connections: self.connections,
            threads: self.cpus.len() as u16,
            depth: self.depth,
            routed: self.routed,
            rate_per_s,
        }
    }
}

/// A scenario that is over in about a second, with the same kinds of people.
fn tiny(scenario: &mut Scenario) {
    let shrink = scenario.duration_s;
    scenario.duration_s = 1.0;
    scenario.connections = scenario.connections.min(20);
    scenario.hall.seats = scenario.hall.seats.min(600);
    for group in &mut scenario.groups {
        let arrivals = &mut group.arrivals;
        arrivals.rate_per_s = arrivals.rate_per_s.map(|rate| rate.min(200.0));
        arrivals.people = arrivals.people.map(|people| people.min(300));
        arrivals.half_life_s = arrivals.half_life_s.map(|it| (it / shrink).max(0.1));
        arrivals.start_s /= shrink;
        arrivals.end_s = arrivals.end_s.map(|it| it / shrink);
        let behaviour = &mut group.behaviour;
        for think in [
            &mut behaviour.hesitate,
            &mut behaviour.payment,
            &mut behaviour.regret,
            &mut behaviour.retry,
            &mut behaviour.patience,
            &mut behaviour.away,
            &mut behaviour.offline,
        ] {
            *think = Think { min_ms: think.min_ms.min(10.0), mean_ms: think.mean_ms.min(50.0) };
        }
    }
    for storm in &mut scenario.storms {
        storm.at_s /= shrink;
        storm.offline = Think { min_ms: 10.0, mean_ms: 50.0 };
    }
}

/// A tiny scenario that is to last for so long after all: its people come over that time, not in the first second.
fn stretch(scenario: &mut Scenario, lasts_s: f64) {
    let longer = lasts_s / scenario.duration_s;
    for arrivals in scenario.groups.iter_mut().map(|group| &mut group.arrivals) {
        arrivals.half_life_s = arrivals.half_life_s.map(|it| it * longer);
        arrivals.start_s *= longer;
        arrivals.end_s = arrivals.end_s.map(|it| it * longer);
    }
    scenario.storms.iter_mut().for_each(|storm| storm.at_s *= longer);
    scenario.duration_s = lasts_s;
}

/// What was made smaller, in words.
fn shrunk(whole: &Scenario, tiny: &Scenario, options: &LoadOptions) -> Vec<String> {
    let people = |it: &Scenario| it.visits().round() as u64;
    let seats = (options.seats.is_none() && options.event.is_none()).then(|| {
        format!("{} instead of {}", plural(tiny.hall.seats.into(), "seat"), count(whole.hall.seats.into()))
    });
    let (came, comes) = (seconds(whole.duration_s), seconds(tiny.duration_s));
    [
        Some(format!("{} people instead of {}", count(people(tiny)), count(people(whole)))),
        seats,
        Some(format!("people come for {comes} instead of {came}")),
        Some("nobody thinks for longer than a fraction of a second".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tiny_scenario_is_one() {
        for name in Scenario::names() {
            let mut scenario = scenario(name).expect(name);
            tiny(&mut scenario);
            scenario.check_itself().expect(name);
            let (half, visits) = (scenario.come_by(0.5), scenario.visits());
            stretch(&mut scenario, 20.0);
            scenario.check_itself().expect(name);
            let again = scenario.come_by(10.0) / scenario.visits();
            assert!((again - half / visits).abs() < 1e-9, "{name} comes in the same way, only for longer");
        }
    }

    #[test]
    fn a_scenario_that_is_none_is_refused() {
        let error = scenario("concert").expect_err("no such name").to_string();
        assert!(error.contains("onsale"), "{error}");
        let error = scenario("./no/such.toml").expect_err("no such file").to_string();
        assert!(error.contains("such.toml"), "{error}");
    }
}
