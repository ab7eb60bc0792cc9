//! What stands in etcd, and who may become primary by it.
//!
//! | key | goes with the lease | what it says |
//! | --- | --- | --- |
//! | `…/primary` | yes | who is primary, in which epoch, and where |
//! | `…/standing` | no | the last epoch, who opened it, and which standby has everything that was answered in it |

use frontrow_wal::{NodeId, PROMOTION_STRIDE, Role};
use serde::{Deserialize, Serialize};

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
}

/// Why a node does not become primary by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error(
        "etcd has no record of this cluster, and this is a standby's data: if nothing newer exists, `frontrow promote \
         --offline` makes it the primary's"
    )]
    NoRecord,
    #[error(
        "etcd has on record that primary {primary} was alone in epoch {epoch}: answers left without this standby, so taking \
         over could lose them. Start {primary} again; if it is lost for good, stop this node, `frontrow promote --offline` it, \
         and remove the key {key} from etcd"
    )]
    Alone { primary: String, epoch: u32, key: String },
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
        "etcd has no record of this cluster, and this node has no data: one that has some goes first, if it comes within \
         the length of a lease"
    )]
    Empty,
}

/// A node's name as it stands in records.
pub(super) fn name(node: NodeId) -> String {
    format!("{node:016x}")
}

/// Whether a node may become primary now that there is none. `waited`: nobody else has come for the length of a lease.
/// `key` is named in errors.
pub(super) fn fit(standing: Option<&Standing>, own: &Own, waited: bool, key: &str) -> Result<(), Unfit> {
    let me = name(own.node);
    let Some(Standing { epoch, node, local, in_sync }) = standing else {
        // A new cluster, or one that had no etcd: whoever was primary, or is new, begins.
        return match own.role {
            Some(Role::Standby) => Err(Unfit::NoRecord),
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
    match in_sync {
        Some(other) => Err(Unfit::Other { other: other.clone(), epoch }),
        // It has at least begun to follow that primary.
        None if own.allow_loss && own.epoch >= epoch => Ok(()),
        None if own.allow_loss => Err(Unfit::Behind { primary, epoch }),
        None if *local => Err(Unfit::MayLose { epoch }),
        None => Err(Unfit::Alone { primary, epoch, key: key.to_owned() }),
    }
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
        Own { node, role: Some(role), epoch, allow_loss: false }
    }

    fn standing(epoch: u32, node: NodeId, in_sync: Option<NodeId>) -> Standing {
        Standing { epoch, node: name(node), local: false, in_sync: in_sync.map(name) }
    }

    #[test]
    fn only_the_last_primary_and_a_standby_in_sync_may_take_over() {
        let at = standing(7, 1, Some(2));
        assert_eq!(fit(Some(&at), &own(1, Role::Primary, 7), true, "k"), Ok(()));
        assert_eq!(fit(Some(&at), &own(2, Role::Standby, 7), true, "k"), Ok(()));
        assert!(matches!(fit(Some(&at), &own(3, Role::Standby, 7), true, "k"), Err(Unfit::Other { .. })));
        // A copy from before, put in the place of the last primary's data.
        assert!(matches!(fit(Some(&at), &own(1, Role::Primary, 6), true, "k"), Err(Unfit::Older { .. })));
        assert_eq!(fit(Some(&standing(7, 1, None)), &own(1, Role::Primary, 6), true, "k"), Ok(()));
        let alone = standing(7, 1, None);
        assert!(matches!(fit(Some(&alone), &own(2, Role::Standby, 7), true, "k"), Err(Unfit::Alone { .. })));
        // An old primary that was taken over from is nobody special.
        assert!(fit(Some(&standing(100_000, 2, None)), &own(1, Role::Primary, 7), true, "k").is_err());
    }

    #[test]
    fn loss_is_to_be_allowed_and_even_then_not_by_a_stranger() {
        let local = Standing { local: true, ..standing(7, 1, None) };
        let standby = own(2, Role::Standby, 7);
        assert_eq!(fit(Some(&local), &standby, true, "k"), Err(Unfit::MayLose { epoch: 7 }));
        let brave = Own { allow_loss: true, ..standby };
        assert_eq!(fit(Some(&local), &brave, true, "k"), Ok(()));
        assert!(matches!(
            fit(Some(&local), &Own { epoch: 6, ..brave }, true, "k"),
            Err(Unfit::Behind { .. })
        ));
    }

    #[test]
    fn a_new_cluster_begins_with_whoever_is_no_standby() {
        let empty = Own { role: None, ..own(1, Role::Primary, 0) };
        assert_eq!(fit(None, &empty, false, "k"), Err(Unfit::Empty));
        assert_eq!(fit(None, &empty, true, "k"), Ok(()));
        assert_eq!(fit(None, &own(1, Role::Primary, 4), false, "k"), Ok(()));
        assert_eq!(fit(None, &own(1, Role::Standby, 4), true, "k"), Err(Unfit::NoRecord));
    }

    #[test]
    fn every_epoch_is_above_all_others() {
        assert_eq!(next_epoch(None, &own(1, Role::Primary, 0)), Some(1));
        assert_eq!(next_epoch(Some(&standing(7, 1, None)), &own(1, Role::Primary, 6)), Some(8));
        assert_eq!(next_epoch(Some(&standing(7, 1, None)), &own(2, Role::Standby, 7)), Some(100_000));
        assert_eq!(next_epoch(Some(&standing(100_000, 1, None)), &own(2, Role::Standby, 7)), Some(200_000));
    }
}
