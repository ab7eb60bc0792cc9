//! The task behind a client: reads, writes, keeps the connection alive and, if wanted, makes a new one.

use crate::endpoint::{Endpoint, MAX_BODY};
use crate::error::ClientError;
use crate::link::{Reader, Writer};
use crate::options::Options;
use crate::route::Route;
use crate::shared::Shared;
use frontrow_protocol::{
    ClientMessage, FEATURE_STANDBY, Frames, Hello, ServerMessage, Welcome, decode_server, encode_client,
};
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// How long what a server said before it closed the connection is waited for.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// A connection that has been welcomed.
pub(crate) struct Connected {
    reader: Reader,
    writer: Writer,
    /// What came behind the welcome.
    buffer: Vec<u8>,
    pub(crate) welcome: Welcome,
}

/// The first connection. With one address it is tried once, and where that one sends us; with several each once, and
/// again if the options say so, but not when a request would be given up.
pub(crate) async fn first(
    route: &mut Route,
    token: &str,
    options: &Options,
) -> Result<Connected, ClientError> {
    let (several, begun) = (route.is_choice(), Instant::now());
    let mut attempt = 0;
    loop {
        let error = match connect(route.present(), token, options).await {
            Ok(connected) => {
                route.serves();
                return Ok(connected);
            }
            Err(error) => error,
        };
        if error.is_lasting() {
            return Err(error);
        }
        if !route.after(&error) {
            let is_time = begun.elapsed() < options.request_timeout;
            let Some(retry) = options.retry.filter(|it| several && is_time && attempt < it.attempts) else {
                return Err(route.verdict(error));
            };
            // A crowd is spread by its sockets' own delays here: there is nobody yet whose bits could be used.
            sleep(retry.pause(attempt, 0, u64::from(attempt) << 60)).await;
            attempt += 1;
        }
    }
}

/// Connects, says who it is, and waits to be welcomed.
async fn connect(endpoint: &Endpoint, token: &str, options: &Options) -> Result<Connected, ClientError> {
    let late = |_| endpoint.unreachable(format!("no welcome within {:?}", options.connect_timeout));
    timeout(options.connect_timeout, greet(endpoint, token, options.standby)).await.map_err(late)?
}

async fn greet(endpoint: &Endpoint, token: &str, standby: bool) -> Result<Connected, ClientError> {
    let mut link = endpoint.open().await?;
    let mut hello = Vec::new();
    let features = if standby { FEATURE_STANDBY } else { 0 };
    let message = Hello { token: Cow::Borrowed(token), features };
    encode_client(&ClientMessage::Hello(message), &mut hello);
    link.writer.write(&hello).await.map_err(|error| endpoint.unreachable(error.to_string()))?;
    let mut buffer = Vec::new();
    loop {
        let open = link.reader.read(&mut buffer).await.map_err(|error| broken(&error))?;
        let mut frames = Frames::new(&buffer, MAX_BODY);
        if let Some(frame) = frames.next() {
            let frame = frame.map_err(garbage)?;
            let welcome = welcome_of(decode_server(frame).map_err(garbage)?)?;
            let read = buffer.len() - frames.rest().len();
            buffer.drain(..read);
            return Ok(Connected { reader: link.reader, writer: link.writer, buffer, welcome });
        }
        if !open {
            return Err(endpoint.unreachable("the server closed the connection before its welcome".into()));
        }
    }
}

fn welcome_of(message: ServerMessage<'_>) -> Result<Welcome, ClientError> {
    let (code, message, retry_after_ms) = match message {
        ServerMessage::Welcome(welcome) => return Ok(welcome),
        ServerMessage::Error(error) => (error.code, error.message, error.retry_after_ms),
        ServerMessage::Goodbye(goodbye) => (goodbye.code, goodbye.message, goodbye.retry_after_ms),
        _ => return Err(ClientError::Protocol("something else came before the welcome".into())),
    };
    Err(ClientError::Wire { code, message: message.into_owned(), retry_after_ms })
}

fn garbage(error: impl std::error::Error) -> ClientError {
    ClientError::Protocol(error.to_string())
}

/// What a failed read or write means.
fn broken(error: &io::Error) -> ClientError {
    if error.kind() == io::ErrorKind::InvalidData {
        ClientError::Protocol(error.to_string())
    } else {
        ClientError::Closed { reason: error.to_string() }
    }
}

/// Serves a client until its last handle is gone or it cannot be served any more.
pub(crate) async fn drive(shared: Arc<Shared>, mut route: Route, mut connected: Connected) {
    loop {
        let Err(lost) = serve(&shared, connected, route.is_choice()).await else {
            shared.end(&ClientError::Closed { reason: "the client was closed".into() });
            return;
        };
        shared.offline();
        connected = match reconnect(&shared, &mut route, lost).await {
            Ok(connected) => connected,
            Err(error) => return shared.end(&error),
        };
        shared.online(connected.welcome);
    }
}

/// Moves bytes both ways. Ends well if the client is closed, with the reason if the connection is lost.
async fn serve(shared: &Arc<Shared>, connected: Connected, is_choice: bool) -> Result<(), ClientError> {
    let Connected { mut reader, mut writer, mut buffer, .. } = connected;
    let writing = async {
        let mut out = Vec::new();
        loop {
            shared.take_out(&mut out);
            if out.is_empty() {
                shared.write.notified().await;
            } else if let Err(error) = writer.write(&out).await {
                // What the server said last is still to be read, and says more than a failed write.
                sleep(LAST_WORDS).await;
                return broken(&error);
            }
        }
    };
    // Nobody reads or writes again after one of these has ended, so that nothing is lost by dropping the
    // others half-way.
    let lost = tokio::select! {
        () = shared.close.notified() => None,
        error = reading(shared, &mut reader, &mut buffer) => Some(error),
        error = writing => Some(error),
        error = keeping_alive(shared, is_choice) => Some(error),
    };
    let Some(error) = lost else {
        let mut rest = Vec::new();
        shared.take_out(&mut rest);
        let ending = async {
            let _ = writer.write(&rest).await;
            writer.close().await;
        };
        // A server that does not read must not keep this task alive.
        let _ = timeout(shared.options.connect_timeout, ending).await;
        return Ok(());
    };
    Err(error)
}

async fn reading(shared: &Shared, reader: &mut Reader, buffer: &mut Vec<u8>) -> ClientError {
    loop {
        let mut frames = Frames::new(buffer, MAX_BODY);
        for frame in &mut frames {
            let taken = frame
                .map_err(garbage)
                .and_then(|frame| decode_server(frame).map_err(garbage))
                .and_then(|message| shared.deliver(message));
            if let Err(error) = taken {
                return error;
            }
        }
        let read = buffer.len() - frames.rest().len();
        buffer.drain(..read);
        match reader.read(buffer).await {
            Ok(true) => {}
            Ok(false) => return ClientError::Closed { reason: "the server closed it".into() },
            Err(error) => return broken(&error),
        }
    }
}

/// Pings a silent server, and ends if it stays silent.
///
/// A halted process keeps its connections. Where another address could serve, whoever waits for an answer is not kept for longer
/// than a new connection could keep him; that a server answers pings tells it from one whose answers have to wait.
async fn keeping_alive(shared: &Shared, is_choice: bool) -> ClientError {
    let options = &shared.options;
    let is_quick = is_choice && options.retry.is_some();
    let pause = if is_quick { options.keepalive.min(options.connect_timeout / 2) } else { options.keepalive };
    let mut ticks = interval(pause.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut asked, mut since) = (false, Duration::ZERO);
    loop {
        ticks.tick().await;
        since += pause;
        if since < options.keepalive && !shared.is_waited_for() {
            continue;
        }
        let silent = shared.take_heard() == 0;
        if silent && asked {
            return ClientError::Closed { reason: "the server does not answer pings".into() };
        }
        // Also when the server talks: it wants to hear something from us as well.
        (asked, since) = (true, Duration::ZERO);
        shared.say(|id| ClientMessage::Ping { id });
    }
}

/// Connects again, if that is wanted and can help.
async fn reconnect(
    shared: &Arc<Shared>,
    route: &mut Route,
    lost: ClientError,
) -> Result<Connected, ClientError> {
    let Some(retry) = shared.options.retry else { return Err(lost) };
    let (mut last, mut attempt) = (lost, 0);
    while attempt < retry.attempts && !last.is_lasting() {
        let at_once = route.after(&last);
        shared.away(route.report());
        let at_least_ms = match last {
            ClientError::Wire { retry_after_ms, .. } => retry_after_ms,
            _ => 0,
        };
        let connecting = async {
            if !at_once {
                sleep(retry.pause(attempt, at_least_ms, shared.random())).await;
            }
            connect(route.present(), &shared.token, &shared.options).await
        };
        let connected = tokio::select! {
            () = shared.close.notified() => {
                return Err(ClientError::Closed { reason: "the client was closed".into() });
            }
            connected = connecting => connected,
        };
        match connected {
            Ok(connected) => {
                route.serves();
                return Ok(connected);
            }
            Err(error) => last = error,
        }
        attempt += u32::from(!at_once);
    }
    Err(route.verdict(last))
}
