//! How many connections there are, in all and per address: for TCP and WebSocket clients together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The count, shared between listeners. Locked at accept and close only.
#[derive(Clone, Debug)]
pub struct Connections {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    most: u32,
    most_per_address: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// Which limit left no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The server's.
    #[error("the server has as many connections as it may; try again shortly")]
    Server,
    /// The address's own.
    #[error(
        "this address has as many connections as it may; close some, or use one connection for more requests"
    )]
    Address,
}

impl Connections {
    /// At most `most`, and `most_per_address` of each address (0: no limit of its own).
    pub fn new(most: u32, most_per_address: u32) -> Self {
        Self { inner: Arc::new(Inner { most, most_per_address, counts: Mutex::default() }) }
    }

    /// Takes a place for a connection from `address`, until the place is dropped.
    pub fn enter(&self, address: IpAddr) -> Result<Place, NoRoom> {
        // A v4 client counts the same on a v6 listener.
        let address = address.to_canonical();
        let mut counts = self.inner.lock();
        if counts.all >= self.inner.most {
            return Err(NoRoom::Server);
        }
        let own = counts.by_address.entry(address).or_insert(0);
        if self.inner.most_per_address != 0 && *own >= self.inner.most_per_address {
            return Err(NoRoom::Address);
        }
        *own += 1;
        counts.all += 1;
        Ok(Place { inner: Arc::clone(&self.inner), address })
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.inner.lock().all
    }

    /// How many there may be, in all and of each address (0: no limit of its own).
    pub fn limits(&self) -> (u32, u32) {
        (self.inner.most, self.inner.most_per_address)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    inner: Arc<Inner>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.inner.lock();
        counts.all -= 1;
        if let Some(own) = counts.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let connections = Connections::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let first = connections.enter(a).unwrap();
        let _second = connections.enter(mapped).unwrap();
        assert_eq!(connections.enter(a).unwrap_err(), NoRoom::Address);
        let _third = connections.enter(b).unwrap();
        assert_eq!(connections.enter(b).unwrap_err(), NoRoom::Server);
        drop(first);
        assert_eq!(connections.count(), 2);
        let _again = connections.enter(a).unwrap();
        assert_eq!(connections.enter(b).unwrap_err(), NoRoom::Server);
    }
}
