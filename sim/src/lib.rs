//! Simulation: the server's real code on one thread, under a seed.
//!
//! [`Sim`] is the third engine behind `frontrow_engine`'s seam. A [`World`] holds nodes of several cores and
//! the network between them; it polls one task at a time in an order that the seed decides, and lets virtual
//! time jump to whatever comes next. The same seed gives the same steps, which [`World::trace`] proves.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `world` | the loop, nodes, crashes, pauses |
//! | `tasks` | tasks and wakes |
//! | `clocks` | drift and steps |
//! | `net/` | TCP as a program sees it, and its faults |
//! | `disk` | the disk under the log, and its faults |
//! | `unsynced` | what a power loss takes back: names and contents that were not synced |
//! | `engine` | `Engine` on top of these |
//! | `replica` | replication's connections, of both ends |
//! | `pair` | faults of two nodes: links cut, standbys lost and promoted, old primaries that come back |
//! | `server` | a node with the server's real cores |
//! | `line`, `people` | clients: one connection; somebody who asks for everything |
//! | `history` | what clients were told, and whether it can be true |
//! | `scenario` | what a seed plays |
//! | `run` | a scenario under a seed, and the questions at its end |
//! | `campaign` | many seeds on several threads, and planted bugs |
//! | `rng`, `trace` | chance, one stream a concern; the proof of repetition |
//!
//! What is simulated is the outside: time, sockets, threads' order. What runs inside is not changed for it.

mod campaign;
mod clocks;
mod disk;
mod engine;
mod history;
mod line;
mod net;
mod pair;
mod people;
mod replica;
mod rng;
mod run;
mod scenario;
mod server;
mod tasks;
mod trace;
mod unsynced;
mod world;

#[cfg(feature = "plant")]
pub use campaign::{Hunt, hunt};
pub use campaign::{Totals, campaign};
pub use disk::{DiskOptions, LogFile, SimDisk};
pub use engine::{Listener, Reader, Sim, Writer};
pub use history::History;
pub use net::NetOptions;
pub use rng::{Concern, Rng};
pub use run::{Outcome, run};
pub use scenario::{Acknowledge, Scenario};
pub use server::{Hall, Server};
pub use world::{Crash, Ended, NodeId, Options, ProcessEnded, World};
