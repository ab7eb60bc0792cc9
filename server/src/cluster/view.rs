//! What etcd has on record, as this node last read it.

use super::etcd::{Entry, Put};
use super::record::{self, Own, Primary, Reached, Standing, Unfit};

/// A key, and the revision of its last change; 0: it does not exist.
pub(super) type Unchanged = (String, i64);

/// The two keys of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) prefix: String,
}

impl Keys {
    pub(super) fn of(cluster: &str) -> Self {
        Self { prefix: format!("/frontrow/{cluster}/") }
    }

    pub(super) fn primary(&self) -> String {
        format!("{}primary", self.prefix)
    }

    pub(super) fn standing(&self) -> String {
        format!("{}standing", self.prefix)
    }
}

/// What etcd has on record.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) revision: i64,
    /// With the revision and the lease of its key.
    pub(super) primary: Option<(Primary, i64, i64)>,
    pub(super) standing: Option<Standing>,
    /// Of its key, whatever stands there; 0: nothing.
    standing_revision: i64,
    /// Something stands at the primary's key that is none.
    odd_primary: bool,
}

impl View {
    pub(super) fn of(revision: i64, entries: &[Entry], keys: &Keys) -> Self {
        let mut view = Self { revision, ..Self::default() };
        for entry in entries {
            if entry.key == keys.primary() {
                let primary = serde_json::from_slice(&entry.value).ok();
                view.odd_primary = primary.is_none();
                view.primary = primary.map(|primary| (primary, entry.revision, entry.lease));
            } else if entry.key == keys.standing() {
                view.standing = serde_json::from_slice(&entry.value).ok();
                view.standing_revision = entry.revision;
            }
        }
        view
    }

    /// The record, as a transaction that changes it must find it.
    pub(super) fn unchanged_standing(&self, keys: &Keys) -> Unchanged {
        (keys.standing(), self.standing_revision)
    }

    /// What stands at a key and is nothing that a node has written, and what to do about it.
    pub(super) fn odd(&self, keys: &Keys) -> Option<Unfit> {
        if self.odd_primary {
            return Some(Unfit::OddPrimary { key: keys.primary() });
        }
        let odd = self.standing.is_none() && self.standing_revision != 0;
        odd.then(|| Unfit::OddStanding { key: keys.standing() })
    }

    /// Whether a node may become primary now that there is none: the epoch it opens. `waited`: nobody else has come for
    /// the length of a lease. `reached`: how far its log goes.
    pub(super) fn fit(&self, own: &Own, reached: &Reached, waited: bool, keys: &Keys) -> Result<u32, Unfit> {
        if let Some(odd) = self.odd(keys) {
            return Err(odd);
        }
        if let Some(less) = record::less(self.standing.as_ref(), own, reached) {
            return Err(less);
        }
        record::fit(self.standing.as_ref(), own, waited)?;
        record::next_epoch(self.standing.as_ref(), own).ok_or(Unfit::NoEpoch { key: keys.standing() })
    }

    /// For the primary, whose key goes with its lease: if the record is gone, or is not its own, why, and what puts it
    /// back. Nobody else can have written it rightly while that key stands, so this is somebody's mistake; and without the
    /// record there would be no takeover, nor could this node go on alone.
    pub(super) fn restored(&self, local: bool, keys: &Keys) -> Option<(&'static str, Vec<Unchanged>, Put)> {
        let (primary, revision, _) = self.primary.as_ref()?;
        let why = match &self.standing {
            Some(standing) if (&standing.node, standing.epoch) == (&primary.node, primary.epoch) => {
                return None;
            }
            Some(_) => "it is another node's, or another epoch's",
            None if self.standing_revision == 0 => "it is gone",
            None => "something else stands there",
        };
        let (node, epoch) = (primary.node.clone(), primary.epoch);
        // Whoever is in sync is recorded again by the pairing, if it still is.
        let put = Standing { epoch, node, local, in_sync: None, has: Vec::new() }.put(keys.standing());
        Some((why, vec![(keys.primary(), *revision), self.unchanged_standing(keys)], put))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_wal::Role;

    const PRIMARY: &str =
        r#"{"node":"0000000000000001","epoch":7,"serving":true,"tcp":"","http":"","replication":""}"#;

    fn view(entries: &[(&str, &str, i64)]) -> (View, Keys) {
        let keys = Keys::of("t");
        let entry = |&(key, value, revision): &(&str, &str, i64)| Entry {
            key: format!("{}{key}", keys.prefix),
            value: value.as_bytes().to_vec(),
            revision,
            lease: 3,
        };
        let entries: Vec<Entry> = entries.iter().map(entry).collect();
        (View::of(20, &entries, &keys), keys)
    }

    #[test]
    fn a_primary_puts_back_a_record_that_is_gone_or_not_its_own() {
        let own = r#"{"epoch":7,"node":"0000000000000001","local":false,"in_sync":"0000000000000002"}"#;
        let (good, keys) = view(&[("primary", PRIMARY, 9), ("standing", own, 11)]);
        assert!(good.restored(false, &keys).is_none());
        let foreign = r#"{"epoch":4294967295,"node":"x","local":false,"in_sync":null}"#;
        for (standing, revision) in [(None, 0), (Some(foreign), 12), (Some("{}"), 13)] {
            let found = standing.map(|text| ("standing", text, revision));
            let entries: Vec<_> = [("primary", PRIMARY, 9)].into_iter().chain(found).collect();
            let (view, keys) = view(&entries);
            let (_, unchanged, put) = view.restored(false, &keys).expect("it is put back");
            let expected =
                [("/frontrow/t/primary".to_owned(), 9), ("/frontrow/t/standing".to_owned(), revision)];
            assert_eq!(unchanged, expected, "only by the primary, and only over what was seen");
            assert_eq!((put.key.as_str(), put.lease), ("/frontrow/t/standing", 0));
            assert_eq!(put.value, r#"{"epoch":7,"node":"0000000000000001","local":false,"in_sync":null}"#);
        }
        assert!(view(&[]).0.restored(false, &keys).is_none(), "it is not primary");
    }

    #[test]
    fn nonsense_in_a_key_is_named_with_what_to_do() {
        let own = Own { node: 1, role: Some(Role::Primary), epoch: 7, allow_loss: false, marked: false };
        for (key, words) in [("primary", "nobody becomes primary"), ("standing", "cluster found --epoch 7")] {
            let (view, keys) = view(&[(key, "nonsense", 4)]);
            let why = view.fit(&own, &Reached::new(), true, &keys).unwrap_err();
            let text = why.with(&own);
            assert!(
                text.contains(&format!("etcdctl del /frontrow/t/{key}")) && text.contains(words),
                "{text}"
            );
        }
        let last =
            format!(r#"{{"epoch":{},"node":"0000000000000001","local":false,"in_sync":null}}"#, u32::MAX);
        let (view, keys) = view(&[("standing", &last, 4)]);
        assert!(matches!(view.fit(&own, &Reached::new(), true, &keys), Err(Unfit::NoEpoch { .. })));
    }
}
