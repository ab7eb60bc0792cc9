//! HTTP at a standby that has no directory yet: it has never reached its primary, and `trouble` says why. There are no
//! keys before there is a directory to keep them in, so nothing can be asked of it here but how it is. So it is while the
//! directory that there is is looked at: that takes as long as its log is large.

use super::status::{STARTING, Shared};
use crate::cluster::{Member, misdirected};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::Notify;

/// The thread that answers until there is more to say.
pub(super) struct Early {
    listener: TcpListener,
    over: Arc<Notify>,
    thread: JoinHandle<()>,
}

struct Side {
    shared: Arc<Shared>,
    member: Option<Arc<Member>>,
}

impl Early {
    /// Answers on `listener`.
    pub(super) fn begin(
        listener: TcpListener,
        shared: Arc<Shared>,
        member: Option<Arc<Member>>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let copy = listener.try_clone()?;
        let over = Arc::new(Notify::new());
        let (app, told) = (routes(Side { shared, member }), Arc::clone(&over));
        let serve = move || {
            if let Err(error) = serve(copy, app, &told) {
                tracing::error!(%error, "HTTP ended");
            }
        };
        let thread = std::thread::Builder::new().name("frontrow-http".into()).spawn(serve)?;
        Ok(Self { listener, over, thread })
    }

    /// Ends; whoever connects meanwhile waits for the next who answers on the listener.
    pub(super) fn end(self) -> TcpListener {
        self.over.notify_one();
        let _ = self.thread.join();
        self.listener
    }
}

fn serve(listener: TcpListener, app: Router, over: &Notify) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::select! {
            _ = axum::serve(listener, app) => {}
            () = over.notified() => {}
        }
        Ok(())
    })
}

fn routes(side: Side) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/admin/promote", post(promote))
        .fallback(elsewhere)
        .with_state(Arc::new(side))
}

impl Side {
    /// Why it does nothing but answer, as a word and in words.
    fn why(&self) -> (&'static str, &'static str) {
        if self.shared.lock().starting {
            return ("starting", STARTING);
        }
        ("no_data", "it has never reached its primary, and has no data: /v1/status says why")
    }
}

async fn readyz(State(side): State<Arc<Side>>) -> Response {
    let (reason, message) = side.why();
    let said = json!({"ready": false, "role": "standby", "reason": reason, "message": message});
    (StatusCode::SERVICE_UNAVAILABLE, Json(said)).into_response()
}

async fn status(State(side): State<Arc<Side>>) -> Response {
    let mut status = side.shared.lock().json();
    if let Some(member) = &side.member {
        status["cluster"] = member.json();
    }
    Json(status).into_response()
}

async fn metrics(State(side): State<Arc<Side>>) -> Response {
    let families = side.shared.lock().read_off();
    families.answer()
}

async fn promote(State(side): State<Arc<Side>>) -> Response {
    let (code, why) = side.why();
    let message = format!("this standby cannot be promoted yet: {why}");
    (StatusCode::CONFLICT, Json(json!({"error": {"code": code, "message": message}}))).into_response()
}

/// Everything else is the primary's.
async fn elsewhere(State(side): State<Arc<Side>>, request: Request) -> Response {
    if let Some(member) = &side.member {
        return misdirected(member, request);
    }
    let (_, why) = side.why();
    let message = format!("this is a standby that shows nothing yet, and sales are at the primary: {why}");
    let error = Json(json!({"error": {"code": "standby", "message": message}}));
    (StatusCode::MISDIRECTED_REQUEST, error).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::standby::{Leader, Standby};
    use super::*;
    use crate::config::Machine;
    use frontrow_shard::Limits;
    use frontrow_wal::fs::Disk;
    use frontrow_wal::{DataDir, DirOptions, LogOptions, SEGMENT_HEADER_BYTES};
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    fn ask(address: SocketAddr, what: &str) -> String {
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A disk that says when a log is written to, and does it once it is told to.
    struct Slow {
        asked: Sender<()>,
        told: Mutex<Receiver<()>>,
    }

    impl Disk for Slow {
        fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.asked.send(()).unwrap();
            // Nothing is sent: to let go of the other end is the word.
            let _ = self.told.lock().unwrap().recv();
            file.write_all_at(bytes, offset)
        }
    }

    /// A log whose end was cut off: it is erased before anything is followed.
    fn torn(data: &Path) {
        let dir = DataDir::open(data, DirOptions::new(8)).unwrap();
        dir.begin_history(false).unwrap();
        drop(dir.open_stream(0, &LogOptions::small(), || {}).unwrap());
        let segment = dir.segments().unwrap().swap_remove(0);
        let file = OpenOptions::new().write(true).open(segment.path()).unwrap();
        file.write_all_at(&[7; 64], SEGMENT_HEADER_BYTES).unwrap();
    }

    #[test]
    fn while_it_still_looks_at_what_it_has_it_answers_and_goes_on_with_the_same_port() {
        let folder = tempfile::tempdir().unwrap();
        torn(folder.path());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let env = [("DATA", folder.path().display().to_string()), ("HTTP", address.to_string())];
        let env = env.map(|(name, value)| (format!("FRONTROW_SERVER__{name}"), value));
        let machine = Machine { cpus: vec![0, 1], open_files: None, memory: None };
        let config = crate::config::read(None, env, &machine).into_result().unwrap();
        let shared = Arc::<Shared>::default();
        let ((asked, begun), (go, told)) = (channel(), channel());
        let disk = Arc::new(Slow { asked, told: Mutex::new(told) });
        std::thread::scope(|threads| {
            let of = Arc::clone(&shared);
            let starting = threads.spawn(move || {
                let (leader, mut at) = (Leader::At("127.0.0.1:1".to_owned()), None);
                let ready = Box::new(|address| at = Some(address));
                drop(Standby::new(&config, leader, Limits::default(), of, Some(ready), disk).unwrap());
                at
            });
            begun.recv().unwrap();
            assert!(ask(address, "GET /healthz").starts_with("HTTP/1.1 200"));
            let ready = ask(address, "GET /readyz");
            assert!(
                ready.starts_with("HTTP/1.1 503") && ready.contains("\"reason\":\"starting\""),
                "{ready}"
            );
            let status = ask(address, "GET /v1/status");
            assert!(status.contains(STARTING) && status.contains("\"epoch\":1"), "{status}");
            assert!(status.contains("\"catalogue\":null"), "{status}");
            drop(go);
            assert_eq!(starting.join().unwrap(), Some(address), "on the same port");
        });
        let ready = ask(address, "GET /readyz");
        assert!(ready.contains("\"reason\":\"no_connection\""), "{ready}");
        shared.end(|state| state.stop = true);
    }

    #[test]
    fn why_it_has_no_primary_can_be_asked_before_it_has_a_directory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        shared.change(|state| state.trouble = Some("connection refused".into()));
        let early = Early::begin(listener, shared, None).unwrap();
        let ask = |what: &str| ask(address, what);
        let status = ask("GET /v1/status");
        assert!(status.contains("\"trouble\":\"connection refused\""), "{status}");
        let ready = ask("GET /readyz");
        assert!(ready.contains("503") && ready.contains("\"reason\":\"no_data\""), "{ready}");
        assert!(ask("POST /v1/admin/promote").contains("no_data"));
        assert!(ask("GET /v1/events").contains("421"));
        // The next one goes on with the same port.
        let listener = early.end();
        let waiting = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(listener.accept().unwrap().1, waiting.local_addr().unwrap());
    }
}
