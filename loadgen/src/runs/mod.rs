//! Runs: from a command line to a report and an exit code.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `command` | which command does what |
//! | `site`, `tokens`, `limits` | the server, found; its users' tokens; what may be open |
//! | `plan`, `sale` | what the options leave out, settled; the event and its seats |
//! | `play`, `watch` | one crowd on one event, from its first connection to the last seat; who looks on |
//! | `absence` | when the server was away |
//! | `once`, `steps`, `search` | a scenario once; rates in steps; the search for the highest one |
//! | `treadmill`, `scaling` | closed-loop throughput by requests in flight |
//! | `trend`, `doubts`, `verdict` | whether anything grew, whether figures are worth anything, exit codes |
//! | `assemble`, `deliver` | the report put together, shown and written |
//! | `bench`, `expiry`, `hoard`, `figures`, `own_server` | the figures under stress, on a server started for them |
//! | `interrupt` | Ctrl-C |

mod absence;
mod assemble;
mod bench;
mod command;
mod deliver;
mod doubts;
mod expiry;
mod figures;
mod hoard;
mod interrupt;
mod limits;
mod once;
mod own_server;
mod plan;
mod play;
mod sale;
mod scaling;
mod search;
mod site;
mod steps;
mod tokens;
mod treadmill;
mod trend;
mod verdict;
mod watch;

pub use command::run;
pub use interrupt::Interrupt;
pub use verdict::Verdict;
