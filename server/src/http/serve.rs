//! Accepts HTTP connections and serves them until told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::error::ApiError;
use super::websocket::Connection;
use super::{Http, router};

/// How long open requests may go on after the stop.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a file that is being written after that may take.
const LAST: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections over the limit that are told so; beyond these they are just closed.
const TOLD_MAX: usize = 64;

/// Stops a server; so does dropping it.
#[derive(Debug)]
pub struct Stopper(watch::Sender<()>);

/// Tells a server when to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<()>);

/// A way to stop [`serve`].
pub fn stopper() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(());
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// No new connections from now on; open requests are finished within seconds.
    pub fn stop(self) {
        drop(self.0);
    }
}

impl Stop {
    pub(crate) async fn asked(&mut self) {
        // Nothing is ever sent: the sender's end is the word.
        while self.0.changed().await.is_ok() {}
    }
}

/// Serves HTTP on this thread until `stop`. The error is one of setting up; a server that runs goes on
/// whatever a client does.
pub fn serve(listener: std::net::TcpListener, http: Arc<Http>, stop: Stop) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let keeper = Arc::clone(&http.keeper);
    keeper.begin();
    let served = runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let keeping = tokio::spawn(super::archive::keep(Arc::clone(&http), stop.clone()));
        let app = router(Arc::clone(&http));
        accept_all(listener, app, http, FAREWELL, stop).await;
        // What it may be in the middle of is ended at the next start.
        keeping.abort();
        Ok(())
    });
    keeper.end();
    // A read that never returns must not keep the process. What writes has its time; files are written whole or not at all, and what
    // is cut, an archive too, is as after a crash.
    runtime.shutdown_timeout(LAST);
    served
}

/// Accepts connections, within the bounds of `http`, and serves `app` on them until `stop`; open requests may go on for
/// `farewell` then.
pub(crate) async fn accept_all(
    listener: TcpListener,
    app: Router,
    http: Arc<Http>,
    farewell: Duration,
    mut stop: Stop,
) {
    let (mut open, mut told) = (JoinSet::new(), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.asked() => break,
            accepted = listener.accept() => accepted,
        };
        while open.try_join_next().is_some() {}
        while told.try_join_next().is_some() {}
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (place, refused) = match http.connections.enter(peer.ip()) {
            Ok(place) => (Some(place), None),
            Err(no_room) => (None, Some(no_room)),
        };
        let place = Arc::new(Mutex::new(place));
        let serving = connection(
            socket,
            app.clone(),
            Connection { peer, place, refused },
            http.head_time,
            stop.clone(),
        );
        if refused.is_none() {
            open.spawn(serving);
        } else if told.len() < TOLD_MAX {
            told.spawn(serving);
        }
    }
    drop(listener);
    let rest = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(farewell, rest).await.is_err() {
        tracing::warn!(connections = open.len(), "HTTP connections were cut at the stop");
    }
}

async fn connection(
    socket: TcpStream,
    app: Router,
    connection: Connection,
    head_time: Duration,
    mut stop: Stop,
) {
    let peer = connection.peer;
    // Answers are written whole; waiting for more to send would only delay them.
    let _ = socket.set_nodelay(true);
    let service = hyper::service::service_fn(move |request| answer(app.clone(), connection.clone(), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.asked() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    log_end(peer, served);
}

async fn answer(
    app: Router,
    connection: Connection,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let over = connection.refused;
    if let Some(no_room) = over.filter(|_| !is_for_operators(request.uri().path())) {
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", no_room.to_string());
        return Ok(and_close(error.into_response()));
    }
    request.extensions_mut().insert(connection);
    let response = app.oneshot(request.map(Body::new)).await?;
    Ok(if over.is_some() { and_close(response) } else { response })
}

/// What must be answered when the crowd has taken every connection: that is when it is asked for. Bounded like
/// the refusals, by [`TOLD_MAX`].
fn is_for_operators(path: &str) -> bool {
    ["/metrics", "/healthz", "/readyz"].contains(&path) || path.starts_with("/v1/admin/")
}

fn and_close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn log_end(peer: SocketAddr, served: hyper::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "an HTTP connection ended early");
    }
}
