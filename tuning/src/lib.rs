//! Is this machine set up right for Frontrow, and if not, how to mend it.
//!
//! [`check()`] reads `/proc` and `/sys` (through a [`Root`], so that tests lay out machines as folders), tries
//! a ring and the disk ([`Live`]), and holds what it finds against a server's configuration. Each [`Finding`]
//! says what was found and where, why it matters and how to mend it. [`script::render`] and [`apply::apply`]
//! carry out what can be done by writing to a file of the kernel's; [`auto::configure`] writes a configuration
//! from the machine's topology; [`preset`] has ready ones.

pub mod apply;
pub mod auto;
mod cgroup;
mod checks;
mod cpus;
mod finding;
mod host;
mod live;
pub mod need;
pub mod preset;
mod report;
mod root;
pub mod script;
mod topology;

pub use checks::check;
pub use finding::{Finding, Mend, Severity, Step};
pub use host::Host;
pub use live::{DiskSpeed, Latency, Live, Load, Space};
pub use report::Report;
pub use root::{ReadError, Root};
pub use topology::{Core, Topology};
