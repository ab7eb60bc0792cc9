//! Where a change goes: its key, and its headers.

use frontrow_cdc::{Change, Digits};
use frontrow_shard::{Epoch, EventId, Lsn, UserId};

/// What a record's headers say beside version and cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) kind: &'a str,
    pub(crate) epoch: Epoch,
    pub(crate) lsn: Option<Lsn>,
    pub(crate) event: Option<EventId>,
}

impl About<'static> {
    pub(crate) fn change(change: &Change) -> Self {
        let (kind, epoch) = (change.kind.name(), change.position.epoch);
        Self { kind, epoch, lsn: Some(change.position.lsn), event: Some(change.event) }
    }
}

/// `event/section/row`, or as much of it as the change is about.
pub(crate) fn key_of_place(change: &Change, key: &mut Vec<u8>) {
    key.clear();
    let places = [Some(change.event), change.section.map(u32::from), change.row.map(u32::from)];
    for (n, number) in places.into_iter().flatten().enumerate() {
        if n > 0 {
            key.push(b'/');
        }
        key.extend_from_slice(Digits::of(number.into()).as_bytes());
    }
}

pub(crate) fn key_of_user(user: UserId, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(Digits::of(user).as_bytes());
}
