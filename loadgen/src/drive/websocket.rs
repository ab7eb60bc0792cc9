//! Connections over WebSocket on tokio: what is due together leaves as one batch in one binary message.

use super::carrier::{Carrier, Next, Opening};
use super::line::{Ender, Fill};
use crate::LoadError;
use crate::crowd::Carried;
use frontrow_engine::LocalNotify;
use frontrow_protocol::{ClientMessage, Hello, encode_client};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Tasks hold the carrier weakly: one that still waits does not keep it from ending.
type Shared<C> = Weak<RefCell<Carrier<C>>>;
pub(super) type Socket = WebSocketStream<TcpStream>;

/// Carries the whole load on the calling thread. The crowd comes back.
pub(super) fn carry<C: Carried + 'static>(carrier: Carrier<C>, core: Option<usize>) -> Result<C, LoadError> {
    if let Some(core) = core {
        pin(core)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoadError::connection("starting a load thread"))?;
    LocalSet::new().block_on(&runtime, keep_time(carrier))
}

fn pin(core: usize) -> Result<(), LoadError> {
    let failed = |source| LoadError::Engine(frontrow_engine::EngineError::Pin { core, source });
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(failed(std::io::ErrorKind::InvalidInput.into()));
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).map_err(|errno| failed(errno.into()))
}

async fn keep_time<C: Carried + 'static>(carrier: Carrier<C>) -> Result<C, LoadError> {
    let (stirred, mut metronome) = (carrier.stirred.clone(), carrier.metronome()?);
    let carrier = Rc::new(RefCell::new(carrier));
    let mut openings = Vec::new();
    loop {
        let next = carrier.borrow_mut().turn(&mut openings);
        for opening in openings.drain(..) {
            spawn_local(converse(Rc::downgrade(&carrier), opening));
        }
        let Next::At(due) = next else { break };
        let now = carrier.borrow().now();
        if due <= now {
            tokio::task::yield_now().await;
        } else {
            metronome.wait(due, now, &stirred).await;
        }
    }
    let carrier = Rc::into_inner(carrier).ok_or(LoadError::Panicked)?;
    Ok(carrier.into_inner().into_crowd())
}

/// One connection, from connecting to its end.
async fn converse<C: Carried + 'static>(carrier: Shared<C>, opening: Opening) {
    let reason = talk(&carrier, &opening).await.err().unwrap_or_default();
    if let Some(carrier) = carrier.upgrade() {
        carrier.borrow_mut().ended(&opening, &reason);
    }
}

/// Connects, says hello, and goes on until the connection ends. Always an error: why it did.
async fn talk<C: Carried + 'static>(carrier: &Shared<C>, opening: &Opening) -> Result<(), String> {
    let over = "the load is over";
    let plan = carrier.upgrade().ok_or(over)?.borrow().plan().clone();
    let socket = connect(&plan.ws[plan.address_of(opening.connection)]).await?;
    let end = LocalNotify::new();
    let reached = carrier.upgrade().ok_or(over)?.borrow_mut().reached(opening, Ender::Task(end.clone()));
    let wake = reached.ok_or("given up while connecting")?;
    let (mut sink, stream) = socket.split();
    let hello = hello(&plan.tokens[opening.connection as usize]);
    sink.send(hello).await.map_err(|error| format!("saying hello: {error}"))?;
    let sender = spawn_local(send(Weak::clone(carrier), opening.clone(), sink, wake));
    let reason = tokio::select! {
        biased;
        () = end.wait() => "ended".to_owned(),
        reason = receive(carrier, opening, stream) => reason,
    };
    // Both halves go at once, without the closing handshake: whoever wants one has had it by now.
    sender.abort();
    Err(reason)
}

/// Opens a WebSocket at `ws://host:port/path`.
pub(super) async fn connect(url: &str) -> Result<Socket, String> {
    let rest = url.strip_prefix("ws://").ok_or_else(|| format!("`{url}` is no ws:// address"))?;
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let failed = |error: &dyn std::fmt::Display| format!("connecting to {url}: {error}");
    let socket = TcpStream::connect(authority).await.map_err(|error| failed(&error))?;
    socket.set_nodelay(true).map_err(|error| failed(&error))?;
    let (socket, _) = client_async(url, socket).await.map_err(|error| failed(&error))?;
    Ok(socket)
}

/// The message that says who connects.
pub(super) fn hello(token: &str) -> Message {
    let mut out = Vec::with_capacity(token.len() + 64);
    encode_client(&ClientMessage::Hello(Hello { token: token.into(), features: 0 }), &mut out);
    Message::Binary(out.into())
}

async fn send<C: Carried>(
    carrier: Shared<C>,
    opening: Opening,
    mut sink: SplitSink<Socket, Message>,
    wake: LocalNotify,
) {
    let mut longest = 0;
    loop {
        let mut out = Vec::with_capacity(longest);
        let Some(fill) = carrier.upgrade().map(|carrier| carrier.borrow_mut().fill(&opening, &mut out))
        else {
            return;
        };
        match fill {
            Fill::Some => {
                longest = longest.max(out.len());
                // The message takes the buffer along: one allocation per send, none per request.
                if sink.send(Message::Binary(Bytes::from(out))).await.is_err() {
                    return;
                }
            }
            Fill::Nothing => wake.wait().await,
            Fill::Last => {
                let _ = sink.close().await;
                wake.wait().await;
            }
            Fill::Gone => return,
        }
    }
}

/// Receives until the connection ends, and says why it did.
async fn receive<C: Carried>(
    carrier: &Shared<C>,
    opening: &Opening,
    mut stream: SplitStream<Socket>,
) -> String {
    loop {
        let bytes = match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return "the server closed the connection".to_owned(),
            Some(Ok(_)) => return "a text message came in answer to binary ones".to_owned(),
            Some(Err(error)) => return format!("receiving: {error}"),
        };
        let Some(carrier) = carrier.upgrade() else { return String::new() };
        let taken = carrier.borrow_mut().take(opening, &bytes);
        match taken {
            Ok(used) if used == bytes.len() => {}
            Ok(_) => return "a message ended within a frame".to_owned(),
            Err(reason) => return reason,
        }
    }
}
