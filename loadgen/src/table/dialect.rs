//! How a server is spoken to: the one thing in which the loads of different servers differ.

use crate::LoadError;
use crate::table::hall::{Hall, SeatNumber};
use frontrow_engine::Engine;
use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

/// Both halves of a connection.
pub(crate) type Halves<E> = (<E as Engine>::Reader, <E as Engine>::Writer);

/// What a server decided about the request of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<F> {
    /// This seat is held from now on, and this proves it.
    Granted(SeatNumber, F),
    Released,
    /// Nothing changed, and why.
    Refused(&'static str),
}

/// Requests written, answers read and checked as far as the protocol goes. A slot is a request in flight:
/// the number it was asked under, below the depth.
pub(crate) trait Dialect: Sized + 'static {
    /// As whom a connection comes.
    type Login: Clone + Send + 'static;
    /// What proves a hold.
    type Fence: Copy + Send + Debug + 'static;

    /// Connects and introduces itself; requests may follow at once.
    fn enter<E: Engine>(
        addr: SocketAddr,
        login: &Self::Login,
        hall: Arc<Hall>,
        depth: usize,
    ) -> impl Future<Output = Result<(Halves<E>, Self), LoadError>>;

    /// Writes a claim.
    fn claim(&mut self, slot: u16, seat: SeatNumber, out: &mut Vec<u8>);

    /// Writes a release of what `fence` proves.
    fn release(&mut self, slot: u16, seat: SeatNumber, fence: Self::Fence, out: &mut Vec<u8>);

    /// Makes of written requests what is sent.
    fn seal(&mut self, _out: &mut Vec<u8>) -> Result<(), LoadError> {
        Ok(())
    }

    /// Takes all whole answers out of what was received. An answer that cannot be is an error.
    fn take(
        &mut self,
        received: &mut Vec<u8>,
        each: impl FnMut(u16, Verdict<Self::Fence>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError>;
}

/// Receives once; an end of the connection is an error.
pub(crate) async fn receive<E: Engine>(
    reader: &mut E::Reader,
    received: Vec<u8>,
    doing: &'static str,
) -> Result<Vec<u8>, LoadError> {
    let (result, received) = E::recv(reader, received).await;
    if result.map_err(LoadError::connection(doing))? == 0 {
        return Err(LoadError::Wrong(format!("the server closed the connection {doing}")));
    }
    Ok(received)
}
