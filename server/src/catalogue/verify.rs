//! What `frontrow wal verify` says of the catalogue's files. Reads only, beside a running server too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use frontrow_shard::EventId;

use super::files::{archive_name, head_name, map_name, plan_name};
use super::head::Standing;
use super::sound::{Found, Part, REMEDY, Said, Shelf, Verdict, part_of};

/// A file of the catalogue, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Damaged, missing or foreign: [`super::Catalogue::open`] or whoever asks for the event's seats stumbles over it.
    pub is_bad: bool,
    /// Nothing counts on it: an event's creation was cut off.
    pub is_leftover: bool,
    /// Nothing here says what it should be.
    pub is_doubtful: bool,
    /// In words; of what is bad, with the remedy.
    pub text: String,
}

/// Looks at all files in `data`/events. `logged` are events that the log knows, so that their heads must be there.
pub fn verify(data: &Path, cluster: u128, logged: &BTreeSet<EventId>) -> Vec<Finding> {
    let folder = data.join("events");
    let bad = |path: PathBuf, text: String| Finding {
        path,
        is_bad: true,
        is_leftover: false,
        is_doubtful: false,
        text,
    };
    let found = match Shelf::new(cluster).list(&folder) {
        Ok(found) => found,
        Err(error) => return vec![bad(folder, format!("{error}; check the disk"))],
    };
    let heads: BTreeMap<EventId, Option<Said>> =
        found.iter().filter(|it| it.place.1 == Part::Head).map(|it| (it.place.0, it.said)).collect();
    let mut findings: Vec<Finding> = found.iter().map(|it| finding(&folder, it, &heads, logged)).collect();
    for missing in missing(&found, &heads, logged) {
        findings.push(bad(folder.join(missing), format!("is missing; {REMEDY}")));
    }
    for path in foreign(&folder) {
        let text = "no file here has such a name; move it out of the data directory";
        findings.push(bad(path, text.to_owned()));
    }
    findings
}

fn finding(
    folder: &Path,
    it: &Found,
    heads: &BTreeMap<EventId, Option<Said>>,
    logged: &BTreeSet<EventId>,
) -> Finding {
    let (event, part) = it.place;
    let has_head = heads.contains_key(&event) || logged.contains(&event);
    let is_leftover = !has_head && matches!(part, Part::Plan | Part::Map);
    let (is_bad, text) = match &it.verdict {
        Verdict::Bad(why) => (true, why.clone()),
        Verdict::Unknown if is_leftover => (false, "of a creation that was cut off".to_owned()),
        Verdict::Unknown => (
            false,
            format!("{} bytes; what they should be is not known without its event's head", it.stamp.0),
        ),
        Verdict::Good => (false, format!("{} bytes", it.stamp.0)),
    };
    let is_doubtful = it.verdict == Verdict::Unknown && !is_leftover;
    Finding { path: folder.join(&it.name), is_bad, is_leftover, is_doubtful, text }
}

/// Names of files that must be there and are not.
fn missing(
    found: &[Found],
    heads: &BTreeMap<EventId, Option<Said>>,
    logged: &BTreeSet<EventId>,
) -> BTreeSet<String> {
    let has = |event, part| found.iter().any(|it| it.place == (event, part));
    let archived = found.iter().filter(|it| it.place.1 == Part::Archive).map(|it| it.place.0);
    let known = archived.chain(logged.iter().copied());
    let mut missing: BTreeSet<String> =
        known.filter(|event| !heads.contains_key(event)).map(head_name).collect();
    for (&event, said) in heads {
        let Some(said) = said.filter(|said| said.standing != Standing::Abandoned) else { continue };
        for (part, name) in [(Part::Plan, plan_name(event)), (Part::Map, map_name(event))] {
            if !has(event, part) {
                missing.insert(name);
            }
        }
        if said.standing == Standing::Archived && !has(event, Part::Archive) {
            missing.insert(archive_name(event));
        }
    }
    missing
}

/// Files that the catalogue has no place for; unfinished ones are cleared away at the next start.
pub(super) fn foreign(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_foreign = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        part_of(name.strip_suffix(".new").unwrap_or(name)).is_none()
    };
    entries.map(|entry| entry.path()).filter(is_foreign).collect()
}
