//! What a standby says over HTTP: how it is, what is on sale as it has it, and that all else is the primary's. The one
//! thing it can be told is to become the primary.

use super::inspector::Inspector;
use super::promote::promote;
use super::readiness::not_ready;
use super::status::{Shared, Standing, Unready};
use super::view::{Shown, Views};
use super::watchers::{Desk, Watchers};
use crate::catalogue::Catalogue;
use crate::cluster::{Member, misdirected};
use crate::cold::Archives;
use crate::config::Config;
use crate::http::{self, ApiError, Connections, Http};
use crate::identity::Keys;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use frontrow_engine::Clock;
use frontrow_shard::{Code, EventId, RowRef};
use serde_json::json;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

/// How long open requests may take when it ends.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(10);
/// How often the catalogue's files are looked at if nothing has come.
const CATALOGUE_TURN: std::time::Duration = std::time::Duration::from_secs(10);
/// Partitions whose positions an answer names: a proxy does not take headers of any length.
const POSITIONS_MAX: usize = 256;

const ROLE: HeaderName = HeaderName::from_static("frontrow-role");
const EPOCH: HeaderName = HeaderName::from_static("frontrow-epoch");
const AGE_MS: HeaderName = HeaderName::from_static("frontrow-age-ms");
const POSITION: HeaderName = HeaderName::from_static("frontrow-position");

/// Everything a handler may use.
pub(super) struct Site {
    pub(super) data: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) inspector: Arc<Inspector>,
    views: Arc<Views>,
    pub(super) member: Option<Arc<Member>>,
    pub(super) http: Arc<Http>,
    watchers: Arc<Watchers>,
}

impl Site {
    /// What `config` says about HTTP, for a standby.
    pub(super) fn new(
        config: &Config,
        keys: Keys,
        cluster: u128,
        member: Option<Arc<Member>>,
        (shared, inspector): (Arc<Shared>, Arc<Inspector>),
        views: Arc<Views>,
    ) -> Self {
        let limits = &config.limits;
        let connections = Connections::new(limits.connections, limits.connections_per_address);
        let catalogue = Arc::new(Catalogue::followed(&config.server.data));
        let watchers = Watchers::new(config, keys.verifier.clone(), member.clone(), &shared, &views);
        let desk = Arc::new(Desk(Arc::clone(&watchers)));
        let http = Http::new(config, keys, desk, catalogue, connections, Clock::wall_ms);
        // Archiving is the primary's.
        let http = Http { cold: Arc::new(Archives::new(cluster)), archive_after: None, ..http };
        let (data, http) = (config.server.data.clone(), Arc::new(http));
        Self { data, shared, inspector, views, member, http, watchers }
    }

    fn standing(&self) -> Result<Standing, Unready> {
        self.shared.lock().standing(Clock::monotonic_ns())
    }
}

/// Serves on this thread until the standby ends or is promoted.
pub(super) fn serve(listener: TcpListener, site: Site) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let site = Arc::new(site);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (stopper, stop) = http::stopper();
        let ending = Arc::clone(&site.shared);
        tokio::spawn(async move {
            while !ending.lock().is_ending() {
                ending.over.notified().await;
            }
            stopper.stop();
        });
        tokio::spawn(http::keep(Arc::clone(&site.http), stop.clone()));
        tokio::spawn(keep_catalogue(Arc::clone(&site)));
        tokio::spawn(Arc::clone(&site.watchers).keep(stop.clone()));
        // A client that keeps its connection open must not keep a promotion waiting.
        http::accept_all(listener, routes(&site), Arc::clone(&site.http), FAREWELL, stop).await;
        let _ = tokio::time::timeout(FAREWELL, site.watchers.all_gone()).await;
        Ok(())
    });
    // A file that is being looked at must not, either.
    runtime.shutdown_background();
    served
}

/// All routes of a standby.
fn routes(site: &Arc<Site>) -> Router {
    let stated = middleware::from_fn_with_state(Arc::clone(site), stated);
    let own = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/admin/promote", post(promote))
        .route("/v1/ws", get(socket))
        .fallback(elsewhere)
        .with_state(Arc::clone(site));
    let section =
        Router::new().route("/v1/events/{id}/sections/{section}", get(section)).with_state(Arc::clone(site));
    let reading = http::browsing().merge(section).route_layer(stated);
    // So that a client that has other addresses, too, asks there first.
    let tokens = http::tokens().route_layer(middleware::map_response(async |mut response: Response| {
        response.headers_mut().insert(ROLE, HeaderValue::from_static("standby"));
        response
    }));
    let away = Arc::clone(site);
    let routes = own
        .merge(reading)
        .merge(tokens)
        .method_not_allowed_fallback(move |request: Request| elsewhere(State(Arc::clone(&away)), request));
    http::within_bounds(routes, Arc::clone(&site.http))
}

/// Takes in what comes of the catalogue: at first, whenever the primary's files have arrived, and now and then, for a
/// disk may lose what it had.
async fn keep_catalogue(site: Arc<Site>) {
    loop {
        let (catalogue, cold) = (Arc::clone(&site.http.catalogue), Arc::clone(&site.http.cold));
        let inspector = Arc::clone(&site.inspector);
        let refreshed = tokio::task::spawn_blocking(move || {
            // An archive may have been written anew.
            let shown =
                catalogue.refresh().map(|changed| changed.into_iter().for_each(|event| cold.forget(event)));
            inspector.look();
            shown
        });
        let Ok(shown) = refreshed.await else { return };
        if let Err(error) = shown {
            tracing::warn!(%error, "an event of the catalogue cannot be shown here");
        }
        let _ = tokio::time::timeout(CATALOGUE_TURN, site.shared.files.notified()).await;
    }
}

/// Says with every answer that it is a standby's and how old it may be; refuses while that is not known.
async fn stated(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let asked_ns = Clock::monotonic_ns();
    let Standing { epoch, age_ms } = match site.standing() {
        Ok(standing) => standing,
        Err(why) => return unready(&why),
    };
    let mut response = next.run(request).await;
    if let Err(why) = site.standing() {
        // It was let go of meanwhile, and what was read may be of what comes next.
        return unready(&why);
    }
    // Since it was read it has grown older.
    let age_ms = age_ms + (Clock::monotonic_ns() - asked_ns) / 1_000_000;
    let headers = response.headers_mut();
    headers.insert(ROLE, HeaderValue::from_static("standby"));
    headers.insert(EPOCH, epoch.into());
    headers.insert(AGE_MS, age_ms.into());
    response
}

fn unready(why: &Unready) -> Response {
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "standby_not_ready", why.to_string());
    let error = error.with("reason", why.reason().into());
    ([(ROLE, "standby"), (header::RETRY_AFTER, "1")], error).into_response()
}

/// The seats of a section, as the applier has them.
async fn section(
    State(site): State<Arc<Site>>,
    path: Result<Path<(EventId, u16)>, PathRejection>,
) -> Response {
    let (mut read, mut missing) = (None, false);
    let ask = async |event, section| {
        let place = RowRef::new(event, section, RowRef::SECTION);
        read = site.views.section(place, &site.shared).await;
        missing = read.is_none();
        read.as_ref().map(|shown| shown.rows.clone()).ok_or(Code::UnknownEvent)
    };
    let answered = http::section_answer(&site.http, path, ask).await;
    let archived = answered.as_ref().is_err_and(|error| error.code() == "archive_missing");
    if missing || (archived && read.is_some()) {
        // What the catalogue has, the log will; of what has left the log's state, the archive is on its way.
        return unready(&Unready::CatchingUp);
    }
    let mut response = answered.into_response();
    if let Some(position) = read.as_deref().and_then(position) {
        response.headers_mut().insert(POSITION, position);
    }
    response
}

/// `3=412,7=98`: of each partition that has rows of it the last record applied.
fn position(shown: &Shown) -> Option<HeaderValue> {
    let mut text = String::new();
    for (partition, lsn) in &shown.at {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{partition}={lsn}");
    }
    (shown.at.len() <= POSITIONS_MAX).then(|| HeaderValue::from_str(&text).ok())?
}

/// A WebSocket: for watching seats, if they are to be seen here; else for being sent to the primary.
async fn socket(State(site): State<Arc<Site>>, request: Request) -> Response {
    match site.standing() {
        Ok(_) => http::upgrade(State(Arc::clone(&site.http)), request).await.into_response(),
        Err(why) if site.member.is_none() => unready(&why),
        Err(_) => elsewhere(State(site), request).await,
    }
}

/// Everything else is the primary's.
async fn elsewhere(State(site): State<Arc<Site>>, request: Request) -> Response {
    if let Some(member) = &site.member {
        return misdirected(member, request);
    }
    let message = "this is a standby: events and seats can be looked at and watched here, /v1/status says how it is; all \
                   else is at the primary";
    let error = Json(json!({"error": {"code": "standby", "message": message}}));
    (StatusCode::MISDIRECTED_REQUEST, error).into_response()
}

async fn readyz(State(site): State<Arc<Site>>) -> Response {
    let (ready, status, (reason, message)) = match not_ready(&site.shared) {
        None => (true, StatusCode::OK, (None, None)),
        Some((reason, message)) => (false, StatusCode::SERVICE_UNAVAILABLE, (Some(reason), Some(message))),
    };
    let said = json!({"ready": ready, "role": "standby", "reason": reason, "message": message});
    (status, Json(said)).into_response()
}

async fn status(State(site): State<Arc<Site>>) -> Response {
    let inspector = Arc::clone(&site.inspector);
    // Whoever asks wants to know how the files are, not how they were. Without a thread it is what was seen last.
    let _ = tokio::task::spawn_blocking(move || inspector.glance()).await;
    let (mut status, could) = {
        let state = site.shared.lock();
        (state.json(), state.could_be_promoted(Clock::monotonic_ns()))
    };
    // In a cluster nobody promotes.
    status["could_be_promoted"] = (could && site.member.is_none()).into();
    if let Some(member) = &site.member {
        status["cluster"] = member.json();
    }
    Json(status).into_response()
}

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    let families = site.shared.lock().read_off();
    families.answer()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Machine;
    use axum::body::Body;
    use axum::http::HeaderMap;
    use frontrow_wal::{DataDir, DirOptions};
    use tower::ServiceExt;

    fn site(folder: &std::path::Path) -> Arc<Site> {
        let env = [("FRONTROW_SERVER__DATA".to_owned(), folder.display().to_string())];
        let machine = Machine { cpus: vec![0, 1], open_files: None, memory: None };
        let config = crate::config::read(None, env, &machine).into_result().unwrap();
        let keys = Keys::open(&config).unwrap();
        let shared = Arc::<Shared>::default();
        let inspector = Arc::new(Inspector::new(folder.to_path_buf(), &shared));
        Arc::new(Site::new(&config, keys, 0, None, (shared, inspector), Arc::default()))
    }

    async fn ask(site: &Arc<Site>, method: &str, path: &str) -> (u16, HeaderMap, serde_json::Value) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (head, body) = routes(site).oneshot(request).await.unwrap().into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn while_it_is_seeded_nothing_is_shown_and_it_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let site = site(folder.path());
        site.shared.change(|state| state.seeding = true);
        for path in ["/v1/events", "/v1/events/1", "/v1/events/1/map", "/v1/events/1/sections/0", "/v1/ws"] {
            let (status, headers, body) = ask(&site, "GET", path).await;
            assert_eq!(status, 503, "{path}");
            assert_eq!(headers["frontrow-role"], "standby");
            assert_eq!(headers["retry-after"], "1");
            let error = &body["error"];
            assert_eq!((&error["code"], &error["reason"]), (&"standby_not_ready".into(), &"seeding".into()));
        }
        let (status, _, body) = ask(&site, "GET", "/v1/status").await;
        assert_eq!((status, &body["unreadable"]), (200, &"seeding".into()));
        for (method, path) in [("POST", "/v1/admin/events"), ("POST", "/v1/events"), ("GET", "/nothing")] {
            assert_eq!(ask(&site, method, path).await.0, 421, "{path}");
        }
    }

    #[tokio::test]
    async fn once_all_has_come_answers_say_how_old_they_are() {
        let (folder, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let site = site(folder.path());
        let dir = DataDir::open(log.path(), DirOptions::new(8)).unwrap();
        let history = dir.begin_history(false).unwrap();
        let epoch = dir.epoch();
        site.shared.change(|state| {
            (state.plan, state.begun) = (Some((1, dir, history)), 1);
            state.applied = vec![0; 8];
            state.streams.entry(0).or_default().heard((epoch, 0), Clock::monotonic_ns());
        });
        let (status, headers, body) = ask(&site, "GET", "/v1/events").await;
        assert_eq!((status, &body["events"]), (200, &json!([])));
        assert_eq!(headers["frontrow-role"], "standby");
        assert_eq!(headers["frontrow-epoch"], epoch.to_string());
        assert!(headers["frontrow-age-ms"].to_str().unwrap().parse::<u64>().unwrap() < 60_000);
        let (status, headers, _) = ask(&site, "GET", "/v1/events/1/sections/0").await;
        assert_eq!(status, 404);
        assert_eq!(headers["frontrow-role"], "standby");
        site.shared.change(|state| state.hold = true);
        assert_eq!(ask(&site, "GET", "/v1/events").await.0, 503, "the state is let go of");
        assert_eq!(ask(&site, "POST", "/v1/events/1/sections/0").await.0, 421);
    }

    #[tokio::test]
    async fn of_many_bad_files_a_promotion_that_is_refused_names_three() {
        let folder = tempfile::tempdir().unwrap();
        let site = site(folder.path());
        let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes()).unwrap();
        let catalogue = Catalogue::open(folder.path()).unwrap();
        for id in 1..=5 {
            catalogue.create("Gala", &plan, frontrow_shard::EventRules::default(), 1).unwrap();
            std::fs::write(folder.path().join(format!("events/{id}.json")), "{}").unwrap();
        }
        let key = std::fs::read_to_string(folder.path().join("dev-admin.key")).unwrap();
        let request = Request::builder().method("POST").uri("/v1/admin/promote");
        let request = request.header("authorization", format!("Bearer {key}")).body(Body::empty()).unwrap();
        let answer = routes(&site).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 409);
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(said["error"]["code"], "catalogue_damaged");
        let why = said["error"]["message"].as_str().unwrap();
        let named = |id: &u32| why.contains(&format!("/{id}.json is damaged"));
        assert!(why.contains("5 files: ") && why.contains("; and 2 more"), "{why}");
        assert_eq!((1..=5).filter(named).count(), 3, "{why}");
    }

    #[test]
    fn a_position_names_each_partition_but_not_any_number_of_them() {
        let at = |count| Shown { rows: Vec::new(), at: (0..count).map(|number| (number, 7)).collect() };
        assert_eq!(position(&at(2)).unwrap(), "0=7,1=7");
        assert_eq!(position(&at(POSITIONS_MAX as u16 + 1)), None);
    }
}
