//! The routes, who may ask, and how the service is doing.

use crate::watch::Watch;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use frontrow_bookings::consume::{Progress, Standing};
use frontrow_bookings::{Behind, BehindCode, Service, Store, api};
use frontrow_server::config::Config;
use frontrow_server::exposition::{Families, Labels};
use frontrow_server::http::{dev_tokens, gate};
use frontrow_server::identity::Keys;
use serde::Serialize;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use utoipa::{OpenApi, ToSchema};

/// How long open requests may go on after the stop.
const FAREWELL: Duration = Duration::from_secs(5);

type All = Arc<Watch>;

/// What it answers besides bookings, for machines.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Frontrow's bookings service",
        description = "Who has booked what, out of Kafka and PostgreSQL. Selling is the servers'."
    ),
    paths(healthz, readyz)
)]
struct Own;

/// Whether it takes bookings over.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// What keeps it from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// Bookings as a server answers them, and this service's own health.
pub(crate) fn routes(config: &Config, keys: &Keys, store: Arc<dyn Store>, watch: All) -> Router {
    let tokens = dev_tokens(keys, config.service.http);
    let (table, settled) = (Arc::clone(&watch), Arc::clone(&watch));
    let service = Service {
        store,
        gate: gate(keys),
        partitions: config.partitions.count,
        patience: api::PATIENCE,
        // The servers have the events.
        event: None,
        // The table says so itself.
        complete: Box::new(|| true),
        behind: Box::new(move || table.behind()),
        settled: Box::new(move || {
            let table = Arc::clone(&settled);
            Box::pin(async move { table.settled().await })
        }),
    };
    let own = Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        // As they were called before they were called as at a server.
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/openapi.json", get(document))
        .with_state(watch);
    frontrow_bookings::routes(Arc::new(service)).merge(own).merge(tokens)
}

/// All routes for machines.
async fn document() -> Json<utoipa::openapi::OpenApi> {
    let mut api = Own::openapi();
    api.merge(api::Api::openapi());
    Json(api)
}

/// How far every consumer is, and whether the table follows.
async fn status(State(all): State<All>) -> Json<serde_json::Value> {
    let one = |progress: &Arc<Progress>| {
        json!({
            "partitions": progress.partitions().len(),
            "lag_records": progress.lag(),
            "applied": progress.applied.load(Relaxed),
            "set_aside": progress.aside.load(Relaxed),
            "trouble": progress.trouble(),
            "ended": progress.is_over(),
            "text": progress.to_string(),
        })
    };
    let behind: Option<Behind> = all.behind().map(BehindCode::view);
    let trouble = all.trouble();
    let consumers: Vec<_> = all.consumers().iter().map(one).collect();
    Json(json!({ "role": "bookings", "behind": behind, "trouble": trouble, "consumers": consumers }))
}

#[utoipa::path(get, path = "/healthz", tag = "operate", responses((status = 200, body = String)))]
/// Whether the process lives.
async fn healthz() -> &'static str {
    "ok\n"
}

#[utoipa::path(get, path = "/readyz", tag = "operate",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
/// Whether nothing keeps it from taking bookings over. What is in the table is answered also where something does.
async fn readyz(State(all): State<All>) -> Response {
    let trouble = all.trouble();
    let status = if trouble.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: trouble.is_none(), trouble })).into_response()
}

/// The same as a text.
async fn ready(State(all): State<All>) -> Response {
    match all.trouble() {
        None => "ready\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, trouble + "\n").into_response(),
    }
}

/// Metrics in the OpenMetrics text format.
async fn metrics(State(all): State<All>) -> Response {
    let mut families = Families::default();
    type Of = fn(&Progress) -> &AtomicU64;
    let counters: [(&str, &str, Of); 6] = [
        ("frontrow_service_applied", "Changes written to the table.", |it| &it.applied),
        ("frontrow_service_known", "Changes that were in the table already.", |it| &it.known),
        ("frontrow_service_set_aside", "Records put into the dead-letter topic.", |it| &it.aside),
        ("frontrow_service_batches", "Transactions written.", |it| &it.batches),
        ("frontrow_service_overtaken", "Transactions that another consumer was before.", |it| &it.overtaken),
        ("frontrow_service_retries", "Times that Kafka or PostgreSQL was away.", |it| &it.retries),
    ];
    for (name, help, of) in counters {
        let sum = all.consumers().iter().map(|one| of(one).load(Relaxed)).sum();
        families.counter(name, help, [(Labels::new(), sum)]);
    }
    let waits = all.waits() as f64;
    families.value("frontrow_service_waits", "Consumers that something keeps from going on.", waits);
    let behind = f64::from(u8::from(all.behind().is_some()));
    families.value("frontrow_service_behind", "Whether the table may lack what was booked lately.", behind);
    // Of what is not known nothing is said: 0 would be.
    let known = |(partition, standing): (i32, Standing)| {
        standing.lag().map(|lag| (vec![("partition", partition.to_string())], lag as f64))
    };
    let lags: Vec<_> = all.consumers().iter().flat_map(|one| one.partitions()).filter_map(known).collect();
    families.gauge(
        "frontrow_service_lag_records",
        "Records of the topic that are not in the table yet.",
        lags,
    );
    families.answer()
}

/// The thread that answers.
pub(crate) struct Serving {
    stop: watch::Sender<()>,
    thread: JoinHandle<()>,
}

impl Serving {
    pub(crate) fn start(listener: TcpListener, routes: Router) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (stop, stopped) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = |mut stopped: watch::Receiver<()>| async move {
            // Nothing is ever sent: the sender's end is the word.
            while stopped.changed().await.is_ok() {}
        };
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let thread = std::thread::Builder::new().name("bookings-http".into()).spawn(move || {
            runtime.block_on(async {
                let farewell = asked(stopped.clone());
                let serve = axum::serve(listener, routes).with_graceful_shutdown(asked(stopped));
                let late = async {
                    farewell.await;
                    tokio::time::sleep(FAREWELL).await;
                };
                tokio::select! {
                    ended = serve => if let Err(error) = ended {
                        tracing::error!(%error, "bookings are answered no more");
                    },
                    () = late => {}
                }
            });
            // A database that hangs keeps its questions, and nobody waits for the answers.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that answers ended with a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_bookings::consume::Place;
    use std::collections::BTreeMap;

    async fn said(all: &All) -> (serde_json::Value, String) {
        let Json(status) = status(State(Arc::clone(all))).await;
        let body = metrics(State(Arc::clone(all))).await.into_body();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (status["consumers"].clone(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_is_not_known_is_null_and_no_sample() {
        let (one, two) = (Arc::<Progress>::default(), Arc::<Progress>::default());
        let all = Arc::new(Watch::new(vec![Arc::clone(&one), two], Box::new(|| 0)));
        let (status, metrics) = said(&all).await;
        for one in status.as_array().unwrap() {
            assert_eq!((&one["partitions"], &one["lag_records"]), (&json!(0), &json!(null)));
            assert!(one["text"].as_str().unwrap().starts_with("no partition assigned"), "{one}");
        }
        assert!(!metrics.contains("frontrow_service_lag_records{"), "{metrics}");
        let places = BTreeMap::from([3, 4].map(|of| (of, Place { next: Some(7), ..Place::default() })));
        one.stand(&places, |of| (of == 3).then_some(9));
        let (status, metrics) = said(&all).await;
        assert_eq!((&status[0]["partitions"], &status[0]["lag_records"]), (&json!(2), &json!(null)));
        assert!(metrics.contains("frontrow_service_lag_records{partition=\"3\"} 2\n"), "{metrics}");
        assert!(!metrics.contains("partition=\"4\""), "{metrics}");
        one.stand(&places, |_| Some(7));
        let (status, metrics) = said(&all).await;
        assert_eq!(status[0]["lag_records"], 0);
        assert!(metrics.contains("{partition=\"3\"} 0\n") && metrics.contains("{partition=\"4\"} 0\n"));
    }

    #[tokio::test]
    async fn it_is_ready_while_nothing_keeps_it_from_taking_bookings_over() {
        let progress = Arc::<Progress>::default();
        let all = Arc::new(Watch::of_a_whole_table(vec![Arc::clone(&progress)], Box::new(|| 0)));
        assert_eq!(healthz().await, "ok\n");
        let asked = async || {
            let (new, old) = (readyz(State(Arc::clone(&all))).await, ready(State(Arc::clone(&all))).await);
            assert_eq!(new.status(), old.status());
            let status = new.status();
            let bytes = axum::body::to_bytes(new.into_body(), usize::MAX).await.unwrap();
            (status, serde_json::from_slice::<serde_json::Value>(&bytes).unwrap())
        };
        assert_eq!(asked().await, (StatusCode::OK, json!({"ready": true})));
        progress.troubled(Some("no broker".into()));
        let waits = json!({"ready": false, "trouble": "no broker"});
        assert_eq!(asked().await, (StatusCode::SERVICE_UNAVAILABLE, waits));
    }

    #[tokio::test]
    async fn all_that_machines_ask_is_in_the_document() {
        let Json(document) = document().await;
        for path in ["/healthz", "/readyz", "/v1/bookings", "/v1/admin/events/{id}/sales.csv"] {
            assert!(document.paths.paths.contains_key(path), "{path}");
        }
    }
}
