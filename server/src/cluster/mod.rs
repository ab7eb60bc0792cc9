//! Who is primary, decided by etcd: a lease and a compare-and-swap. See `docs/replication.md`.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `etcd` | as much of etcd's JSON gateway as is needed |
//! | `record` | what stands in etcd, and who may become primary by it |
//! | `fence` | until when this node may answer |
//! | `pairing` | when answers wait for the standby, and when etcd says so |
//! | `member` | the thread that does all this |
//! | `door` | what a standby says at the ports of a primary: who is |
//!
//! Invariants: nobody becomes primary but by a swap on what was read; etcd never says that a standby has what it may
//! not have; a primary ends before its lease can.

mod door;
mod etcd;
mod fence;
mod member;
mod pairing;
mod record;

pub(crate) use door::{Door, misdirected, not_primary};
pub(crate) use etcd::authority;
pub use fence::Fence;
pub(crate) use member::Change;
pub use member::Member;
pub(crate) use pairing::Seen;
pub(crate) use record::{Addresses, Own};

use frontrow_engine::Clock;
use std::sync::Arc;
use std::time::Duration;

/// What a node that is not primary any more must not do: go on.
#[allow(
    clippy::exit,
    reason = "another node may be answering for the same seats, and no thread may answer here"
)]
pub(crate) fn lost(why: &str) -> ! {
    tracing::error!(why, "stopping: this node is not the primary any more");
    eprintln!(
        "frontrow: this node is not the primary any more ({why}), and stops. Nothing that was answered is lost. Start it \
         again: it follows whoever is."
    );
    std::process::exit(76)
}

/// Ends the process when the fence is over, whatever the other threads are at.
fn watch_over(fence: &Arc<Fence>) {
    let fence = Arc::clone(fence);
    let watch = move || {
        loop {
            let left = fence.left_ns(Clock::monotonic_ns());
            if left == 0 {
                lost("its lease was not renewed in time");
            }
            std::thread::park_timeout(Duration::from_nanos(left));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("cluster-fence".into()).spawn(watch) {
        lost(&format!("it cannot watch over its lease: {error}; raise the limit on processes (ulimit -u)"));
    }
}
