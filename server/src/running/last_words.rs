//! What a primary says that must not answer any more, and how it ends: at once, on whatever thread it came to be known.

/// What a server whose epoch is over must not do: go on.
#[allow(
    clippy::exit,
    reason = "another node may be answering for the same seats, and no thread may answer here"
)]
pub(super) fn superseded(epoch: u32, elected: bool, known_from: &str) {
    tracing::error!(epoch, known_from, "stopping: another node of this cluster has opened a newer epoch");
    let again = if elected {
        "`frontrow serve`: it follows whoever is"
    } else {
        "`frontrow backup --primary NEW:PORT --data DIR`"
    };
    eprintln!(
        "frontrow: another node of this cluster has opened epoch {epoch} (known from {known_from}): this one is not the primary any \
         more, and stops. Start it again with {again}."
    );
    std::process::exit(76)
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
