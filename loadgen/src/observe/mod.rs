//! What is looked at once a second while a load runs: the load's own counts, the server's metrics, its
//! process if it is on this machine, and who else uses the CPUs.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `metrics` | the server's counters in Prometheus' text format, and what two readings say together |
//! | `process` | the process that listens on a port of this machine: memory, CPU, its serving threads |
//! | `cpu` | CPU time of this process and of the whole machine |
//! | `observer` | all of it put together into [`Sample`](crate::report::model::Sample)s |
//! | `series` | samples of a long run, never more than a page can show |
//! | `progress` | the same for somebody who watches |

pub mod cpu;
pub mod metrics;
pub mod observer;
pub mod process;
pub mod progress;
pub mod series;
