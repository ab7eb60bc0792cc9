//! Which users are connected where. Every core has the whole list, so that a push finds its way in one hop.

use super::message::Origin;
use frontrow_shard::UserId;
use std::collections::HashMap;

#[derive(Default)]
pub(crate) struct Users {
    by_user: HashMap<UserId, Vec<Origin>>,
}

impl Users {
    pub(crate) fn set(&mut self, user: UserId, at: Origin, here: bool) {
        if here {
            let all = self.by_user.entry(user).or_default();
            if !all.contains(&at) {
                all.push(at);
            }
        } else if let Some(all) = self.by_user.get_mut(&user) {
            all.retain(|other| *other != at);
            if all.is_empty() {
                self.by_user.remove(&user);
            }
        }
    }

    /// The user's connections.
    pub(crate) fn find(&self, user: UserId) -> &[Origin] {
        self.by_user.get(&user).map_or(&[], Vec::as_slice)
    }
}
