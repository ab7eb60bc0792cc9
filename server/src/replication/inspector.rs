//! Whether the events on sale could be served from the files here: asked by the HTTP side, by the thread that follows, and in
//! a cluster before this node stands for primary.

use super::status::Shared;
use crate::catalogue;
use crate::catalogue::sound::Shelf;
use frontrow_engine::Clock;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Within this time one look serves all who ask.
const GLANCE_NS: u64 = 250_000_000;

/// Looks at the catalogue's files. One that has not changed is not read again.
pub(super) struct Inspector {
    data: PathBuf,
    shared: Arc<Shared>,
    desk: Mutex<Desk>,
}

struct Desk {
    shelf: Shelf,
    /// When everything was looked at, in monotonic nanoseconds; 0: not yet.
    looked_ns: u64,
}

impl Inspector {
    pub(super) fn new(data: PathBuf, shared: Arc<Shared>) -> Self {
        // Archives, which alone name their cluster, are not looked at.
        let desk = Desk { shelf: Shelf::new(0), looked_ns: 0 };
        Self { data, shared, desk: Mutex::new(desk) }
    }

    /// What is wrong, if anything is. Blocks on the disk.
    pub(super) fn look(&self) -> Option<String> {
        self.look_since(Clock::monotonic_ns())
    }

    /// The same as it was a moment ago, for who may ask as often as they like.
    pub(super) fn glance(&self) {
        self.look_since(Clock::monotonic_ns().saturating_sub(GLANCE_NS));
    }

    fn look_since(&self, since_ns: u64) -> Option<String> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if desk.looked_ns > since_ns {
            return self.shared.lock().catalogue.clone();
        }
        desk.looked_ns = Clock::monotonic_ns();
        let logged = self.shared.lock().logged();
        let mut look = || catalogue::damage(&mut desk.shelf, &self.data, logged.iter().copied());
        // A session may be giving a file its name: what is bad is looked at twice.
        let damage = catalogue::in_words(&look()).and_then(|_| catalogue::in_words(&look()));
        let before = self.shared.lock().catalogue.clone();
        match &damage {
            Some(why) if before.is_none() => {
                tracing::error!(
                    %why,
                    "this node does not take over before that is mended; a primary sends its own when it is followed anew"
                );
            }
            None if before.is_some() => tracing::warn!("the events' files are good again"),
            _ => {}
        }
        self.shared.change(|state| {
            state.looked_ns = Some(desk.looked_ns);
            state.catalogue.clone_from(&damage);
        });
        damage
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
        let inspector = Inspector::new(folder.path().to_path_buf(), Arc::clone(&shared));
        assert_eq!(inspector.look(), None);
        let head = folder.path().join("events/1.json");
        let good = std::fs::read(&head).unwrap();
        std::fs::remove_file(&head).unwrap();
        assert_eq!(inspector.look(), None, "nobody says that there is such an event");
        shared.change(|state| state.events_at_rest = [1].into());
        let found = inspector.look().unwrap_or_default();
        assert!(found.contains("the log has event 1, and"), "{found}");
        assert_eq!(shared.lock().catalogue, Some(found));
        std::fs::write(&head, good).unwrap();
        inspector.glance();
        assert!(shared.lock().catalogue.is_some(), "it was looked at a moment ago");
        assert_eq!(inspector.look(), None);
        assert_eq!(shared.lock().catalogue, None);
    }

    #[test]
    fn a_pipe_in_place_of_a_file_is_named_and_not_waited_for() {
        for name in ["1.json", "1.plan.json", "1.map.json"] {
            let folder = tempfile::tempdir().unwrap();
            let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
            Catalogue::open(folder.path()).unwrap().create("Gala", &plan, rules(), 1).unwrap();
            let shared = Arc::<Shared>::default();
            let inspector = Arc::new(Inspector::new(folder.path().to_path_buf(), Arc::clone(&shared)));
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
        let inspector = Inspector::new(folder.path().to_path_buf(), Arc::clone(&shared));
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
