//! A pipe in place of each of the catalogue's files: it is damaged as any other, and nothing waits for who would write to it.

use super::tests::{hall, rules};
use super::*;
use crate::cold::tests::file_of;
use std::collections::BTreeSet;
use std::fs;
use std::sync::mpsc;
use std::time::Duration;

const CLUSTER: u128 = 0x1234;

/// Puts a pipe in the place of what is there.
pub(crate) fn pipe(path: &Path) {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let _ = fs::remove_file(path);
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// What `look` says, on a thread of its own: one that waited for good would have the test wait.
pub(crate) fn in_time<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(look()));
    told.recv_timeout(Duration::from_secs(60)).expect("it does not wait for what is no file")
}

/// With an archive, although the event is on sale.
fn made() -> (tempfile::TempDir, Arc<Catalogue>) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::open(folder.path()).unwrap();
    catalogue.create("Gala", &hall(), rules(), 1).unwrap();
    fs::write(catalogue.archive_path(1), file_of(CLUSTER, 1)).unwrap();
    (folder, Arc::new(catalogue))
}

#[test]
fn a_head_and_a_map_are_written_anew_and_the_pipe_is_kept_aside() {
    for name in ["1.json", "1.map.json"] {
        let (folder, catalogue) = made();
        let path = catalogue.folder().join(name);
        let good = fs::read(&path).unwrap();
        let keeper = Arc::new(Keeper::new(Arc::clone(&catalogue)));
        pipe(&path);
        // Where the new one is written first.
        let unfinished = catalogue.folder().join(format!("{name}.new"));
        pipe(&unfinished);
        let of = Arc::clone(&keeper);
        assert_eq!((in_time(move || of.look()), keeper.mended()), (None, 1), "{name}");
        assert!(fs::read(&path).unwrap() == good && !unfinished.exists());
        let kept = folder.path().join(format!("damaged/events/{name}-0001"));
        assert!(!fs::symlink_metadata(kept).unwrap().is_file());
    }
}

#[test]
fn a_plan_is_told_of_until_it_is_put_back() {
    let (_folder, catalogue) = made();
    let plan = catalogue.folder().join("1.plan.json");
    let good = fs::read(&plan).unwrap();
    let keeper = Arc::new(Keeper::new(Arc::clone(&catalogue)));
    pipe(&plan);
    let of = Arc::clone(&keeper);
    let why = in_time(move || of.look()).unwrap();
    let name = plan.display().to_string();
    assert!(why.starts_with(&name) && why.contains("it is no file, but a pipe"), "{why}");
    assert_eq!(why.matches(&name).count(), 1, "{why}");
    fs::remove_file(&plan).unwrap();
    fs::write(&plan, good).unwrap();
    assert_eq!((keeper.look(), keeper.mended()), (None, 0));
}

#[test]
fn a_start_refuses_it_by_name_but_for_what_it_does_not_read() {
    for name in ["1.json", "1.plan.json", "1.map.json"] {
        let (folder, catalogue) = made();
        let path = catalogue.folder().join(name);
        pipe(&path);
        let data = folder.path().to_path_buf();
        let refused =
            in_time(move || [Catalogue::check(&data, [1].into_iter()).err(), Catalogue::open(&data).err()]);
        for refused in refused {
            let LoadErrors(errors) = refused.unwrap();
            let why = "it is no file, but a pipe";
            let is_named = |error: &CatalogueError| matches!(error, CatalogueError::Damaged { path: at, why: told } if *at == path && told == why);
            assert!(errors.len() == 1 && is_named(&errors[0]), "{errors:?}");
        }
    }
    let (folder, catalogue) = made();
    for name in ["1.archive", "1.json.new", "1.map.json.new", "../HEADS"] {
        pipe(&catalogue.folder().join(name));
    }
    let data = folder.path().to_path_buf();
    let opened = in_time(move || Catalogue::open(&data)).unwrap();
    assert!(opened.get(1).is_some() && !catalogue.folder().join("1.json.new").exists());
}

#[test]
fn whoever_verifies_is_told_of_each_by_name() {
    for name in ["1.json", "1.plan.json", "1.map.json", "1.archive"] {
        let (folder, catalogue) = made();
        let path = catalogue.folder().join(name);
        pipe(&path);
        let data = folder.path().to_path_buf();
        let findings = in_time(move || verify(&data, CLUSTER, &BTreeSet::from([1])));
        let bad: Vec<_> = findings.iter().filter(|it| it.is_bad).collect();
        assert!(bad.len() == 1 && bad[0].path == path, "{findings:?}");
        assert!(bad[0].text.contains("it is no file, but a pipe"), "{findings:?}");
        assert!(bad[0].text.contains("put it back"), "{findings:?}");
    }
}
