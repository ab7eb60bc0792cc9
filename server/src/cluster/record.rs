//! What stands in etcd, and who may become primary by it.
//!
//! | key | goes with the lease | what it says |
//! | --- | --- | --- |
//! | `…/primary` | yes | who is primary, in which epoch, and where |
//! | `…/standing` | no | the last epoch, who opened it, and which standby has everything that was answered in it |

use super::etcd::Put;
use super::settings::Settings;
use frontrow_wal::{NodeId, PROMOTION_STRIDE, Position, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// Raw TCP, `host:port`.
    pub(crate) tcp: String,
    /// HTTP and WebSocket, `host:port`.
    pub(crate) http: String,
    /// For standbys, `host:port`.
    pub(crate) replication: String,
}

/// The primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Primary {
    /// Its name, in hexadecimal digits.
    pub(super) node: String,
    /// The epoch it has opened, or is about to.
    pub(super) epoch: u32,
    /// Whether it serves already.
    pub(super) serving: bool,
    /// Where; empty until it serves.
    #[serde(flatten)]
    pub(super) at: Addresses,
    /// Its settings that a standby needs, too.
    #[serde(default)]
    pub(super) settings: Settings,
}

/// What holds without a primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The last epoch.
    pub(super) epoch: u32,
    /// Who opened it.
    pub(super) node: String,
    /// Whether it answered what no standby needs to have (`acknowledge = local`).
    pub(super) local: bool,
    /// The standby that has everything that was answered, and that answers wait for; `None`: the primary is alone.
    pub(super) in_sync: Option<String>,
    /// By stream, what both had of the epoch when it was last noted: whoever has less is an older copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) has: Vec<(u16, Position)>,
}

/// By stream, how far a node's log goes: epoch and position.
pub(crate) type Reached = BTreeMap<u16, (u32, Position)>;

impl Standing {
    pub(super) fn put(&self, key: String) -> Put {
        Put { key, value: text(self), lease: 0 }
    }
}

/// A record as it is put.
pub(super) fn text(record: &impl Serialize) -> String {
    serde_json::to_string(record).unwrap_or_else(|error| unreachable!("plain fields become JSON: {error}"))
}

/// What a node knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) node: NodeId,
    /// `None` without a data directory.
    pub(crate) role: Option<Role>,
    /// The highest epoch it has seen; 0: none.
    pub(crate) epoch: u32,
    pub(crate) allow_loss: bool,
    /// Whether its data directory has ever been in a cluster.
    pub(crate) marked: bool,
}

/// Why a node does not become primary by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error(
        "etcd has no record of this cluster, and this node has data of it: was etcd emptied, or is cluster.etcd or \
         cluster.name wrong? Nothing is served before the record is founded anew, on the node with the newest data"
    )]
    NoRecord,
    #[error(
        "etcd has on record that primary {primary} was alone in epoch {epoch}: answers left without this standby, so taking \
         over could lose them. Start {primary} again. Only if it is lost for good"
    )]
    Alone { primary: String, epoch: u32 },
    #[error(
        "etcd has on record that another standby, {other}, has everything that was answered in epoch {epoch}"
    )]
    Other { other: String, epoch: u32 },
    #[error(
        "answers of epoch {epoch} did not wait for a standby (acknowledge = local), so taking over could lose some; set \
         cluster.allow_loss = true if that is acceptable"
    )]
    MayLose { epoch: u32 },
    #[error("this node has nothing of epoch {epoch}, which {primary} opened")]
    Behind { primary: String, epoch: u32 },
    #[error(
        "etcd has on record that this node opened epoch {epoch} and that standby {other} has everything that was answered in \
         it, and the data here ends in epoch {own}: it is an older copy, so {other} is to be primary"
    )]
    Older { other: String, epoch: u32, own: u32 },
    #[error(
        "etcd has on record that both nodes had stream {stream} of epoch {epoch} up to {had}, and the data here ends at {own}: it \
         is an older copy, and answers have left since. {other} has them, and is to be primary: start it. Only if it is lost for \
         good"
    )]
    Less { other: String, epoch: u32, stream: u16, had: Position, own: Position },
    #[error(
        "this node has seen epoch {own}, and etcd has none above {epoch} on record, which {primary} opened: the record was \
         founded on older data, or this node was promoted past it. Nothing is cut: it does not follow, nor take over. Decide \
         whose data is to go on, and stop both nodes"
    )]
    Ahead { primary: String, epoch: u32, own: u32 },
    #[error(
        "etcd has no record of this cluster, and this node has no data: one that has some goes first, if it comes within \
         the length of a lease"
    )]
    Empty,
    #[error(
        "etcd has something at {key} that no node has written, and while it stands there nobody becomes primary. If no node \
         serves (`frontrow status` at each), remove it: etcdctl del {key}"
    )]
    OddPrimary { key: String },
    #[error(
        "etcd has something at {key} that no node has written: who has everything that was answered is not on record any \
         more. Nothing is served before it is: etcdctl del {key}; then, on the node with the newest data"
    )]
    OddStanding { key: String },
    #[error(
        "the events on sale cannot be served from the files here: {why}. It takes over by itself once that is mended"
    )]
    Unable { why: String },
    #[error("the epoch on record at {key} is the last one there can be; remove it (etcdctl del {key}), then")]
    NoEpoch { key: String },
}

impl Unfit {
    /// The key that something is wrong with.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::OddPrimary { key } | Self::OddStanding { key } | Self::NoEpoch { key } => Some(key),
            _ => None,
        }
    }

    /// The whole text for this node: with what to type, where that depends on its data.
    pub(super) fn with(&self, own: &Own) -> String {
        let found = format!("`frontrow cluster found --epoch {}", own.epoch);
        let newest =
            "see docs/operations.md, \"etcd's data is lost\": the highest epoch, and of two the primary's";
        match self {
            Self::NoRecord | Self::OddStanding { .. } => {
                let role = if own.role == Some(Role::Standby) { "a standby's" } else { "a primary's" };
                format!(
                    "{self} ({newest}). If that is this one, {role} of epoch {}: stop it, {found}` with its configuration, \
                     and start it again",
                    own.epoch
                )
            }
            Self::NoEpoch { .. } => format!("{self} {found}` while this node is stopped"),
            Self::Alone { epoch, .. } | Self::Less { epoch, .. } => {
                format!("{self}: stop this node, {found} --replace {epoch}`, and start it again")
            }
            Self::Ahead { primary, epoch, own: seen } => format!(
                "{self}. This one's: {found} --replace {epoch}` here. That of {primary}: `frontrow cluster found --epoch {epoch} \
                 --replace {epoch} --above {seen}` there. Then start both; what only the other one has is kept in its cut/"
            ),
            _ => self.to_string(),
        }
    }
}

/// A node's name as it stands in records.
pub(super) fn name(node: NodeId) -> String {
    format!("{node:016x}")
}

/// Whether a node may become primary now that there is none. `waited`: nobody else has come for the length of a lease.
pub(super) fn fit(standing: Option<&Standing>, own: &Own, waited: bool) -> Result<(), Unfit> {
    let me = name(own.node);
    let Some(Standing { epoch, node, local, in_sync, .. }) = standing else {
        // A new cluster, or one that had no etcd: whoever was primary, or is new, begins. But where there was a record,
        // another node may have gone on since.
        return match own.role {
            Some(role) if own.marked || role == Role::Standby => Err(Unfit::NoRecord),
            None if !waited => Err(Unfit::Empty),
            _ => Ok(()),
        };
    };
    // Without a standby in sync this may be a start that died before its epoch was open, and there is nobody better.
    if let (true, Some(other), true) = (*node == me, in_sync, own.epoch < *epoch) {
        return Err(Unfit::Older { other: other.clone(), epoch: *epoch, own: own.epoch });
    }
    if *node == me || in_sync.as_ref() == Some(&me) {
        return Ok(());
    }
    let (primary, epoch) = (node.clone(), *epoch);
    if let Some(ahead) = ahead(&primary, epoch, own) {
        return Err(ahead);
    }
    match in_sync {
        Some(other) => Err(Unfit::Other { other: other.clone(), epoch }),
        // It has at least begun to follow that primary.
        None if own.allow_loss && own.epoch >= epoch => Ok(()),
        None if own.allow_loss => Err(Unfit::Behind { primary, epoch }),
        None if *local => Err(Unfit::MayLose { epoch }),
        None => Err(Unfit::Alone { primary, epoch }),
    }
}

/// Whether the last primary, or the standby in sync, has less than both are known to have had: then the other one is to be
/// primary.
pub(super) fn less(standing: Option<&Standing>, own: &Own, reached: &Reached) -> Option<Unfit> {
    let Standing { epoch, node, in_sync: Some(standby), has, .. } = standing? else { return None };
    let other = match name(own.node) {
        me if me == *node => standby,
        me if me == *standby => node,
        _ => return None,
    };
    let of = |stream| reached.get(&stream).copied().unwrap_or_default();
    let &(stream, had) = has.iter().find(|(stream, had)| of(*stream) < (*epoch, *had))?;
    let own = of(stream);
    let own = if own.0 == *epoch { own.1 } else { 0 };
    Some(Unfit::Less { other: other.clone(), epoch: *epoch, stream, had, own })
}

/// Every epoch is on record before it is opened. A node that has seen a later one than is on record has data that the
/// record does not know of: following would cut it, and the primary would end when it heard of that epoch.
pub(super) fn ahead(primary: &str, epoch: u32, own: &Own) -> Option<Unfit> {
    (own.epoch > epoch).then(|| Unfit::Ahead { primary: primary.to_owned(), epoch, own: own.epoch })
}

/// The epoch that a node opens: above all that anybody is known to have opened. A standby goes to the next multiple of
/// the stride, as it does without etcd. `None` if there is none left.
pub(super) fn next_epoch(standing: Option<&Standing>, own: &Own) -> Option<u32> {
    let seen = standing.map_or(0, |standing| standing.epoch).max(own.epoch);
    if own.role == Some(Role::Standby) {
        (seen / PROMOTION_STRIDE + 1).checked_mul(PROMOTION_STRIDE)
    } else {
        seen.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(node: NodeId, role: Role, epoch: u32) -> Own {
        Own { node, role: Some(role), epoch, allow_loss: false, marked: false }
    }

    fn standing(epoch: u32, node: NodeId, in_sync: Option<NodeId>) -> Standing {
        Standing { epoch, node: name(node), local: false, in_sync: in_sync.map(name), has: Vec::new() }
    }

    #[test]
    fn only_the_last_primary_and_a_standby_in_sync_may_take_over() {
        let at = standing(7, 1, Some(2));
        assert_eq!(fit(Some(&at), &own(1, Role::Primary, 7), true), Ok(()));
        assert_eq!(fit(Some(&at), &own(2, Role::Standby, 7), true), Ok(()));
        assert!(matches!(fit(Some(&at), &own(3, Role::Standby, 7), true), Err(Unfit::Other { .. })));
        // A copy from before, put in the place of the last primary's data.
        assert!(matches!(fit(Some(&at), &own(1, Role::Primary, 6), true), Err(Unfit::Older { .. })));
        assert_eq!(fit(Some(&standing(7, 1, None)), &own(1, Role::Primary, 6), true), Ok(()));
        let alone = standing(7, 1, None);
        assert!(matches!(fit(Some(&alone), &own(2, Role::Standby, 7), true), Err(Unfit::Alone { .. })));
        // An old primary that was taken over from is nobody special.
        assert!(fit(Some(&standing(100_000, 2, None)), &own(1, Role::Primary, 7), true).is_err());
    }

    #[test]
    fn an_older_copy_of_either_node_does_not_take_over() {
        let at = Standing { has: vec![(0, 9000), (1, 500)], ..standing(7, 1, Some(2)) };
        let standby = own(2, Role::Standby, 7);
        let less_with = |reached: &[(u16, (u32, Position))]| {
            less(Some(&at), &standby, &reached.iter().copied().collect())
        };
        assert_eq!(less_with(&[(0, (7, 9000)), (1, (7, 800))]), None);
        assert_eq!(less_with(&[(0, (8, 0)), (1, (7, 500))]), None, "it has gone on");
        let other = name(1);
        for (reached, stream, had, own) in [
            (vec![(0, (7, 8999)), (1, (7, 500))], 0, 9000, 8999),
            (vec![(0, (7, 9000)), (1, (6, 10_000))], 1, 500, 0),
            (vec![(0, (7, 9000))], 1, 500, 0),
        ] {
            let expected = Unfit::Less { other: other.clone(), epoch: 7, stream, had, own };
            assert_eq!(less_with(&reached), Some(expected));
        }
        // Nor does one of the last primary; the standby does.
        let primary = own(1, Role::Primary, 7);
        let why = less(Some(&at), &primary, &Reached::from([(0, (7, 8999)), (1, (7, 500))]));
        assert_eq!(why, Some(Unfit::Less { other: name(2), epoch: 7, stream: 0, had: 9000, own: 8999 }));
        assert_eq!(less(Some(&at), &primary, &Reached::from([(0, (7, 9000)), (1, (7, 500))])), None);
        assert_eq!(less(Some(&standing(7, 1, None)), &primary, &Reached::new()), None, "it was alone");
        // Of others it says nothing.
        assert_eq!(less(Some(&at), &own(3, Role::Standby, 7), &Reached::new()), None);
    }

    #[test]
    fn loss_is_to_be_allowed_and_even_then_not_by_a_stranger() {
        let local = Standing { local: true, ..standing(7, 1, None) };
        let standby = own(2, Role::Standby, 7);
        assert_eq!(fit(Some(&local), &standby, true), Err(Unfit::MayLose { epoch: 7 }));
        let brave = Own { allow_loss: true, ..standby };
        assert_eq!(fit(Some(&local), &brave, true), Ok(()));
        assert!(matches!(fit(Some(&local), &Own { epoch: 6, ..brave }, true), Err(Unfit::Behind { .. })));
    }

    #[test]
    fn a_new_cluster_begins_with_whoever_is_no_standby() {
        let empty = Own { role: None, ..own(1, Role::Primary, 0) };
        assert_eq!(fit(None, &empty, false), Err(Unfit::Empty));
        assert_eq!(fit(None, &empty, true), Ok(()));
        assert_eq!(fit(None, &own(1, Role::Primary, 4), false), Ok(()));
        assert_eq!(fit(None, &own(1, Role::Standby, 4), true), Err(Unfit::NoRecord));
    }

    #[test]
    fn data_that_was_in_a_cluster_founds_none_by_itself() {
        for role in [Role::Primary, Role::Standby] {
            let old = Own { marked: true, ..own(1, role, 4) };
            let why = fit(None, &old, true).unwrap_err();
            assert_eq!(why, Unfit::NoRecord);
            assert!(why.with(&old).contains("`frontrow cluster found --epoch 4`"), "{}", why.with(&old));
        }
    }

    #[test]
    fn two_nodes_get_out_of_a_record_that_was_founded_on_older_data() {
        // Node 2 took over from 1 in epoch 100,000; etcd was emptied, and the record was founded on node 1.
        let (mut old, mut new) = (own(1, Role::Primary, 3), own(2, Role::Primary, 100_000));
        (old.marked, new.marked) = (true, true);
        let founded = standing(3, 1, None);
        let why = fit(Some(&founded), &new, true).unwrap_err();
        assert!(matches!(why, Unfit::Ahead { .. }), "not: start the other one again");
        assert!(ahead(&name(1), 3, &new).is_some() && ahead(&name(1), 3, &old).is_none());
        let text = why.with(&new);
        assert!(text.contains("found --epoch 100000 --replace 3` here"), "{text}");
        assert!(text.contains("found --epoch 3 --replace 3 --above 100000` there"), "{text}");
        // On the newer data: the other one follows.
        let here = standing(100_000, 2, None);
        assert_eq!(fit(Some(&here), &new, true), Ok(()));
        assert_eq!(next_epoch(Some(&here), &new), Some(100_001));
        assert!(ahead(&name(2), 100_001, &old).is_none());
        // Or on the older, above what the other one has seen.
        let there = standing(100_000, 1, None);
        assert_eq!(fit(Some(&there), &old, true), Ok(()));
        assert_eq!(next_epoch(Some(&there), &old), Some(100_001));
        assert!(ahead(&name(1), 100_001, &new).is_none(), "it follows, and is cut");
        // Even where loss is allowed, a history that went another way is nobody's to take over.
        assert!(fit(Some(&founded), &Own { allow_loss: true, ..new }, true).is_err());
    }

    #[test]
    fn every_epoch_is_above_all_others() {
        assert_eq!(next_epoch(None, &own(1, Role::Primary, 0)), Some(1));
        assert_eq!(next_epoch(Some(&standing(7, 1, None)), &own(1, Role::Primary, 6)), Some(8));
        assert_eq!(next_epoch(Some(&standing(7, 1, None)), &own(2, Role::Standby, 7)), Some(100_000));
        assert_eq!(next_epoch(Some(&standing(100_000, 1, None)), &own(2, Role::Standby, 7)), Some(200_000));
    }
}
