//! The first table: closed-loop claims beside a bare echo, and what is counted how.
//!
//! `frontrow-loadgen table` prints the first table: claims per second and the 50th, 99th and 99.9th
//! percentile of their latency at several depths (requests in flight per connection), in memory and
//! durable, each beside a bare echo server on the same engine in the same run.
//!
//! # How the numbers are made
//! - **Subjects.** One Frontrow server that keeps its log in memory, one that makes it durable on the disk
//!   under `--data`, and an echo server that has nothing to decide. All are pinned to `--server-core`, all
//!   are loaded over loopback TCP from one thread pinned to `--load-core`; only one is loaded at a time.
//!   The idle ones stay up: each wakes 200 times a second and finds nothing to do. With `--backup` there is one
//!   more, which waits until a standby has everything on disk, too: a process of its own on the same machine,
//!   pinned to nothing, with the same disk. With `--kafka` there is one that tells every change to a Kafka
//!   which is started for it; before another subject's turn it is waited for until it has told everything.
//! - **Engine.** Servers, echo and load client run on the same engine, the one `frontrow_engine` chooses.
//! - **Echo.** It reads frames as long as a claim ([`CLAIM_BYTES`]) and sends frames as long as an answer
//!   ([`ANSWER_BYTES`]), all complete frames of a receive in one send. It copies a sequence number, nothing
//!   else, and so shows what sockets and engine allow.
//! - **Load.** `--connections` connections, each its own user, each with `depth` requests in flight. For
//!   each answer that comes in one request goes out; what one receive answered goes out in one send.
//!   This is closed-loop load: a slow server is asked less often, and latency under it is not what an
//!   open-loop crowd would see.
//! - **Claims.** Every request claims one named seat, drawn from the connection's own random share of a
//!   generated stadium: rows are met in random order, so caches do not help. When a connection runs out of
//!   seats it releases half of its holds, with their fences, and claims on. Claims and releases are counted
//!   apart. Holds last an hour: nothing expires meanwhile.
//! - **Rounds.** Echo, memory and durable take turns, `--rounds` times at every depth, each time with new
//!   connections. What happens in the first fifth of `--duration` more is warm-up and not counted; a reply
//!   counts if it arrives inside the window. The table shows medians over the rounds. The ratio to the echo
//!   is made round by round, then its median is taken; it compares requests with echoed messages.
//! - **Latency** is from just before the send that carries a request to just after the receive that brings
//!   its answer, both as the load client sees them.
//! - **Verified.** Every request is answered exactly once, under its id; a grant is for the seat asked; no
//!   seat is granted while it is held; after each run the server's own view of every seat is compared
//!   with what the clients hold. One mismatch fails the whole run, and no table is printed.
//! - **Processor time per request** is what the kernel booked on the serving thread (`core ns`) and on the
//!   threads of its log (`log ns`), divided by all requests of the run. It says what a core of its own would
//!   hold, on a machine where others take turns on the same CPUs.
//!
//! What other processes took of the CPUs meanwhile is measured and stands in the report (`others_cpu`): on
//! a machine that is not idle the numbers are lower bounds, and the ratios are what to look at.

pub(crate) mod claims;
pub(crate) mod dialect;
pub(crate) mod drive;
pub(crate) mod echo;
pub(crate) mod followed;
pub(crate) mod frontrow;
pub(crate) mod hall;
pub(crate) mod meter;
mod options;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod subject;
pub(crate) mod told;
pub(crate) mod websocket;

pub use claims::{ANSWER_BYTES, CLAIM_BYTES};
pub use options::TableOptions;
pub use report::{Depth, Report, Row, Run, Subject};
pub use run::run;
