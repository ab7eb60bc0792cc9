//! The checks: each looks at one side of the machine.

mod clock;
mod disk;
mod engine;
mod irq;
mod limits;
mod load;
mod memory;
mod network;
mod placement;
mod power;

use crate::{Finding, Host, ReadError, Report, Root, Severity, Step, Topology};

/// Looks at everything.
pub fn check(host: &Host) -> Report {
    let mut found = Vec::new();
    engine::check(host, &mut found);
    limits::check(host, &mut found);
    memory::check(host, &mut found);
    load::check(host, &mut found);
    match Topology::read(&host.root) {
        Ok(topology) => {
            power::check(host, &topology, &mut found);
            placement::check(host, &topology, &mut found);
            irq::check(host, &topology, &mut found);
        }
        Err(error) => found.push(Finding::unknown("topology", &error)),
    }
    clock::check(host, &mut found);
    disk::check(host, &mut found);
    network::check(host, &mut found);
    Report::new(found)
}

/// The finding of a check that may have failed to read something.
fn or_unknown(id: &'static str, found: Result<Finding, ReadError>) -> Finding {
    found.unwrap_or_else(|error| Finding::unknown(id, &error))
}

/// A setting of the kernel's held against what it should be.
struct Setting {
    id: &'static str,
    path: &'static str,
    severity: Severity,
    why: &'static str,
}

impl Setting {
    /// A number that should be at least `least`.
    fn at_least(&self, root: &Root, least: u64) -> Finding {
        or_unknown(self.id, root.number(self.path).map(|value| self.judge(value, least, value >= least)))
    }

    /// A number that should be `best`.
    fn exactly(&self, root: &Root, best: u64) -> Finding {
        or_unknown(self.id, root.number(self.path).map(|value| self.judge(value, best, value == best)))
    }

    fn judge(&self, value: u64, best: u64, good: bool) -> Finding {
        let name = self.path.trim_start_matches("/proc/sys/").replace('/', ".");
        let finding = Finding::ok(self.id, format!("{name} is {value}"), self.path);
        if good {
            return finding;
        }
        finding.because(self.severity, self.why).by_writing(vec![Step::new(self.path, best)])
    }
}
