//! Peers, side by side: the same claims on Frontrow, on Redis and on PostgreSQL, in one run.
//!
//! `frontrow-loadgen peers` (`make bench-peers`) measures as [`crate::table`] does, with the same load, the
//! same seats, the same checks, and prints the ratios that Frontrow is judged by, each beside its target.
//! What is needed: `apt-get install redis-server postgresql`. Nothing of theirs is touched: both run as
//! children, each on a free port, with its data in a folder that is removed.
//!
//! # What is compared
//! - **The work.** One named seat, at random, of a stadium: if it is free, or its hold has expired, it is
//!   held for an owner, with a fence and an expiry; else the claim is refused. When a connection runs out of
//!   seats it releases half of its holds with owner and fence. Frontrow does more: it remembers requests, so
//!   that a repetition gets the first answer, knows rows, neighbours and queues, and says the log position.
//! - **Redis** does it in a Function (`loadgen/peers/claim.lua`): a key for each held seat, which Redis forgets
//!   by itself, and a counter of fences. `redis` writes nothing to disk; `redis-always` has `appendonly yes`
//!   and `appendfsync always`, and never rewrites its log.
//! - **PostgreSQL** does it in one prepared statement (`loadgen/peers/*.sql`), each in its own transaction, with
//!   `fsync` and `synchronous_commit` on. `postgres-id` names the seat; `postgres-skip-locked` takes any free
//!   seat of a section; `postgres-hot` names one of thirty, which everybody wants and gives back at once.
//!   Beside it stands `durable-hot`: the same on Frontrow.
//! - **Pipelined.** All are asked over loopback TCP by the same engine and the same code, from the same core,
//!   with the same number of connections and of requests in flight on each. The protocols are written and
//!   read by small codecs: the client is not the limit.
//! - **One core.** Every server, with all its threads and processes, has the server's core and nothing else,
//!   Frontrow's threads that write its log excepted: those go where the system puts them, as does the
//!   kernel's work for the other servers' `fsync`.
//! - **WebSocket** is the server of `memory`, reached through its HTTP port. Requests that go out together are one
//!   binary message, as the protocol has it, and so are answers.
//! - **Checked.** Every reply, as in [`crate::table`]. After each load the server's own view is compared with
//!   the clients': Frontrow's and PostgreSQL's seat by seat, Redis's by the number of keys and by the owner
//!   and fence of each when it is released.
//! - **Processor time** per request is that of all threads and processes of the server. Their ratio hardly depends
//!   on what else runs on the machine, which rates do.
//! - **TigerBeetle** is in no Debian release. Frontrow with 100 and with 1000 claims in flight on one connection
//!   stands against the figure its makers published, taken on another machine.
//! - **The core loop alone** is `make bench-shard`; it runs in no server and so is not part of a round.

mod options;
mod pgwire;
mod postgres;
mod ratio;
mod redis;
mod report;
mod resp;
mod run;
mod sql;

pub use options::PeersOptions;
pub use ratio::Ratio;
pub use report::PeersReport;
pub use run::run;
