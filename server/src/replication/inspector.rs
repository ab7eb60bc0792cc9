//! Whether the events on sale could be served from the files here: looked at now and then, when the HTTP side or the thread that
//! follows asks, and in a cluster before this node stands for primary.

use super::status::Shared;
use crate::catalogue;
use crate::catalogue::sound::Shelf;
use crate::lookout::{Lookout, Now, Sight};
use frontrow_engine::Clock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Looks at the catalogue's files. One that has not changed is not read again.
pub(super) struct Inspector {
    lookout: Lookout,
}

impl Inspector {
    /// What it sees is told to who has `shared`.
    pub(super) fn new(data: PathBuf, shared: &Arc<Shared>) -> Self {
        let sight = Arc::new(Sight::new(data.join("events")));
        shared.change(|state| state.files = Arc::clone(&sight));
        let (of, shared) = (Arc::clone(&sight), Arc::clone(shared));
        // Archives, which alone name their cluster, are not looked at.
        let mut shelf = Shelf::new(0).telling(move || of.comes_on(Clock::monotonic_ns()));
        let mut was_bad = false;
        let now: Now = Arc::new(Clock::monotonic_ns);
        let lookout = Lookout::new(sight, now, move || {
            let found = look(&mut shelf, &data, &shared);
            tell_of_change(found.as_deref(), was_bad);
            was_bad = found.is_some();
            found
        });
        Self { lookout }
    }

    /// What is wrong, if anything is, for who decides something. Waits for the disk, though not for good.
    pub(super) fn look(&self) -> Option<String> {
        self.lookout.look()
    }

    /// Has whoever may ask as often as they like see what is as it was a moment ago, if that is known soon.
    pub(super) fn glance(&self) {
        self.lookout.glance();
    }

    /// Nothing more is looked at: somebody else looks after the files from now on.
    pub(super) fn end(&self) {
        self.lookout.end();
    }
}

fn look(shelf: &mut Shelf, data: &Path, shared: &Shared) -> Option<String> {
    let logged = shared.lock().logged();
    let mut look = || catalogue::in_words(&catalogue::damage(shelf, data, logged.iter().copied()));
    // A session may be giving a file its name: what is bad is looked at twice.
    look().and_then(|_| look())
}

fn tell_of_change(found: Option<&str>, was_bad: bool) {
    match found {
        Some(why) if !was_bad => {
            tracing::error!(
                %why,
                "this node does not take over before that is mended; a primary sends its own when it is followed anew"
            );
        }
        None if was_bad => tracing::warn!("the events' files are good again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::catalogue::no_files::{in_time, pipe};
    use crate::config::{Config, Machine};

    fn rules() -> frontrow_shard::EventRules {
        let machine = Machine { cpus: vec![0, 1], open_files: None, memory: None };
        let config: Config = crate::config::read(None, [], &machine).into_result().unwrap();
        config.events
    }

    #[test]
    fn a_head_that_only_the_log_at_rest_knows_is_missed_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
        Catalogue::open(folder.path()).unwrap().create("Gala", &plan, rules(), 1).unwrap();
        let shared = Arc::<Shared>::default();
        let inspector = Inspector::new(folder.path().to_path_buf(), &shared);
        assert_eq!(inspector.look(), None);
        let head = folder.path().join("events/1.json");
        let good = std::fs::read(&head).unwrap();
        std::fs::remove_file(&head).unwrap();
        assert_eq!(inspector.look(), None, "nobody says that there is such an event");
        shared.change(|state| state.events_at_rest = [1].into());
        let found = inspector.look().unwrap_or_default();
        assert!(found.contains("the log has event 1, and"), "{found}");
        let said = || shared.lock().files.why(Clock::monotonic_ns());
        assert_eq!(said(), Some(found));
        std::fs::write(&head, good).unwrap();
        inspector.glance();
        assert!(said().is_some(), "it was looked at a moment ago");
        assert_eq!(inspector.look(), None);
        assert_eq!(said(), None);
    }

    #[test]
    fn a_pipe_in_place_of_a_file_is_named_and_not_waited_for() {
        for name in ["1.json", "1.plan.json", "1.map.json"] {
            let folder = tempfile::tempdir().unwrap();
            let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
            Catalogue::open(folder.path()).unwrap().create("Gala", &plan, rules(), 1).unwrap();
            let shared = Arc::<Shared>::default();
            let inspector = Arc::new(Inspector::new(folder.path().to_path_buf(), &shared));
            let path = folder.path().join("events").join(name);
            let good = std::fs::read(&path).unwrap();
            pipe(&path);
            let of = Arc::clone(&inspector);
            let why = in_time(move || of.look()).unwrap();
            assert!(why.contains(name) && why.contains("it is no file, but a pipe"), "{why}");
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, good).unwrap();
            assert_eq!(inspector.look(), None);
        }
    }

    #[test]
    fn all_that_is_damaged_is_named_with_how_old_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let shared = Arc::<Shared>::default();
        let inspector = Inspector::new(folder.path().to_path_buf(), &shared);
        let said = shared.lock().json();
        assert!(
            said["catalogue"].is_null() && said["catalogue_age_ms"].is_null(),
            "nobody has looked: {said}"
        );
        for id in 1..=5 {
            catalogue.create("Gala", &plan, rules(), 1).unwrap();
            std::fs::write(folder.path().join(format!("events/{id}.json")), "{}").unwrap();
        }
        inspector.look();
        let said = shared.lock().json();
        let why = said["catalogue"].as_str().unwrap();
        let named = |id: u32| why.contains(&format!("/{id}.json is damaged"));
        assert!(why.starts_with("5 files: ") && (1..=3).all(named) && why.contains("and 2 more"), "{why}");
        assert!(said["catalogue_age_ms"].as_u64().unwrap() < 60_000);
    }
}
