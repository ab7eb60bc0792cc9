//! Connections over TCP on a Frontrow engine: one task reads, one writes, one keeps the time.

use super::carrier::{Carrier, Next, Opening};
use super::line::{Ender, Fill};
use crate::LoadError;
use crate::crowd::Carried;
use frontrow_engine::{Engine, LocalNotify, yield_now};
use frontrow_protocol::{ClientMessage, Hello, encode_client};
use std::cell::RefCell;
use std::net::Shutdown;
use std::rc::{Rc, Weak};

/// A connection's receive buffer begins with this and grows when a receive fills it: a hundred thousand
/// connections must fit into memory.
const SMALL: usize = 1024;
/// It grows up to this.
const LARGE: usize = 64 * 1024;

/// Tasks hold the carrier weakly: one that still waits for the kernel does not keep it from ending.
type Shared<C> = Weak<RefCell<Carrier<C>>>;

/// Carries the whole load. The crowd comes back.
pub(super) async fn carry<E: Engine, C: Carried + 'static>(carrier: Carrier<C>) -> Result<C, LoadError> {
    let (stirred, mut metronome) = (carrier.stirred.clone(), carrier.metronome()?);
    let carrier = Rc::new(RefCell::new(carrier));
    let mut openings = Vec::new();
    loop {
        let next = carrier.borrow_mut().turn(&mut openings);
        for opening in openings.drain(..) {
            E::spawn(converse::<E, C>(Rc::downgrade(&carrier), opening));
        }
        let Next::At(due) = next else { break };
        let now = carrier.borrow().now();
        if due <= now {
            yield_now().await;
        } else {
            metronome.wait(due, now, &stirred).await;
        }
    }
    let carrier = Rc::into_inner(carrier).ok_or(LoadError::Panicked)?;
    Ok(carrier.into_inner().into_crowd())
}

/// One connection, from connecting to its end.
async fn converse<E: Engine, C: Carried + 'static>(carrier: Shared<C>, opening: Opening) {
    let reason = match open::<E, C>(&carrier, &opening).await {
        Ok(reader) => receive::<E, C>(&carrier, &opening, reader).await,
        Err(reason) => reason,
    };
    if let Some(carrier) = carrier.upgrade() {
        carrier.borrow_mut().ended(&opening, &reason);
    }
}

/// Connects, says hello, and leaves the sending half to a task of its own.
async fn open<E: Engine, C: Carried + 'static>(
    carrier: &Shared<C>,
    opening: &Opening,
) -> Result<E::Reader, String> {
    let over = "the load is over";
    let plan = carrier.upgrade().ok_or(over)?.borrow().plan().clone();
    let addr = plan.tcp[plan.address_of(opening.connection)];
    let (reader, mut writer) =
        E::connect(addr).await.map_err(|error| format!("connecting to {addr}: {error}"))?;
    let ender = Ender::Socket(E::closer(&reader));
    let reached = carrier.upgrade().ok_or(over)?.borrow_mut().reached(opening, ender);
    let wake = reached.ok_or("given up while connecting")?;
    let token = plan.tokens[opening.connection as usize].as_str();
    let mut out = Vec::with_capacity(token.len() + 64);
    encode_client(&ClientMessage::Hello(Hello { token: token.into(), features: 0 }), &mut out);
    let (sent, out) = E::send_all(&mut writer, out).await;
    sent.map_err(|error| format!("saying hello: {error}"))?;
    E::spawn(send::<E, C>(Weak::clone(carrier), opening.clone(), writer, wake, out));
    Ok(reader)
}

/// Sends what is due whenever there is something, until the connection is over.
async fn send<E: Engine, C: Carried + 'static>(
    carrier: Shared<C>,
    opening: Opening,
    mut writer: E::Writer,
    wake: LocalNotify,
    mut out: Vec<u8>,
) {
    loop {
        out.clear();
        let Some(fill) = carrier.upgrade().map(|carrier| carrier.borrow_mut().fill(&opening, &mut out))
        else {
            return;
        };
        match fill {
            Fill::Some => {
                let (sent, back) = E::send_all(&mut writer, out).await;
                out = back;
                if sent.is_err() {
                    // The reader sees the end as well, and tells it.
                    let _ = E::shutdown(&writer, Shutdown::Both);
                    return;
                }
            }
            Fill::Nothing => wake.wait().await,
            Fill::Last => {
                let _ = E::shutdown(&writer, Shutdown::Write);
                wake.wait().await;
            }
            Fill::Gone => return,
        }
    }
}

/// Receives until the connection ends, and says why it did.
async fn receive<E: Engine, C: Carried>(
    carrier: &Shared<C>,
    opening: &Opening,
    mut reader: E::Reader,
) -> String {
    let mut received: Vec<u8> = Vec::with_capacity(SMALL);
    loop {
        if received.len() == received.capacity() {
            received.reserve(SMALL);
        }
        let (result, back) = E::recv(&mut reader, received).await;
        received = back;
        match result {
            Ok(0) => return "the server closed the connection".to_owned(),
            Ok(_) => {}
            Err(error) => return format!("receiving: {error}"),
        }
        let Some(carrier) = carrier.upgrade() else { return String::new() };
        let taken = carrier.borrow_mut().take(opening, &received);
        match taken {
            Ok(used) => {
                let was_full = received.len() == received.capacity();
                received.drain(..used);
                if was_full && received.capacity() < LARGE {
                    received.reserve(received.capacity() * 2);
                }
            }
            Err(reason) => {
                E::closer(&reader).close();
                return reason;
            }
        }
    }
}
