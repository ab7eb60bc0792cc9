//! What a primary says that must not answer any more, and how it ends: at once, on whatever thread it came to be known.

use crate::replication::Behind;
use frontrow_wal::DataDir;

/// What is known of this node when it comes to that.
#[derive(Clone)]
pub(super) struct LastWords {
    pub(super) dir: DataDir,
    /// Whether etcd says who is primary.
    pub(super) elected: bool,
}

impl LastWords {
    /// What a server whose epoch is over must not do: go on. Nor is it begun again as a primary by whoever restarts it; in a cluster
    /// etcd sees to that.
    #[allow(
        clippy::exit,
        reason = "another node may be answering for the same seats, and no thread may answer here"
    )]
    pub(super) fn superseded(&self, epoch: u32, known_from: &str) {
        tracing::error!(epoch, known_from, "stopping: another node of this cluster has opened a newer epoch");
        // In this order: a standby that does not know what it lacks could be promoted.
        let down = || Behind::Later(epoch).note(&self.dir).and_then(|()| self.dir.step_down());
        let noted = if self.elected { Ok(()) } else { down() };
        if let Err(error) = noted {
            tracing::error!(%error, "that this is no primary any more is not written down: do not start it with `frontrow serve`");
        }
        let again = if self.elected {
            "`frontrow serve`: it follows whoever is"
        } else {
            "`frontrow backup --primary NEW:PORT --data DIR`"
        };
        eprintln!(
            "frontrow: another node of this cluster has opened epoch {epoch} (known from {known_from}): this one is not the primary \
             any more, and stops. Start it again with {again}."
        );
        std::process::exit(76)
    }
}

/// What a server that has lost what its standby still has must not do: go on.
#[allow(
    clippy::exit,
    reason = "what was acknowledged is missing here, and no thread may answer as if it never was"
)]
pub(super) fn lacking(why: &str) {
    tracing::error!(why, "stopping: acknowledged records are missing here");
    eprintln!("frontrow: {why}. Nothing more is answered here.");
    std::process::exit(76)
}
