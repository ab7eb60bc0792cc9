//! The routes, who may ask, and how the service is doing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use frontrow_bookings::consume::{Progress, Standing};
use frontrow_bookings::{Service, Store, api};
use frontrow_server::config::Config;
use frontrow_server::exposition::{Families, Labels};
use frontrow_server::http::{dev_tokens, gate};
use frontrow_server::identity::Keys;
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use utoipa::OpenApi as _;

/// How long open requests may go on after the stop.
const FAREWELL: Duration = Duration::from_secs(5);

type All = Arc<Vec<Arc<Progress>>>;

/// Bookings as a server answers them, and this service's own health.
pub(crate) fn routes(
    config: &Config,
    keys: &Keys,
    store: Arc<dyn Store>,
    consumers: Vec<Arc<Progress>>,
) -> Router {
    let tokens = dev_tokens(keys, config.service.http);
    let service = Service {
        store,
        gate: gate(keys),
        partitions: config.partitions.count,
        patience: api::PATIENCE,
        // The servers have the events.
        event: None,
        // The table says so itself.
        complete: Box::new(|| true),
    };
    let own = Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/openapi.json", get(|| async { Json(api::Api::openapi()) }))
        .with_state(All::new(consumers));
    frontrow_bookings::routes(Arc::new(service)).merge(own).merge(tokens)
}

/// How far every consumer is.
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
    Json(json!({ "role": "bookings", "consumers": all.iter().map(one).collect::<Vec<_>>() }))
}

/// Whether nothing keeps it from taking bookings over.
async fn ready(State(all): State<All>) -> Response {
    match all.iter().find_map(|progress| progress.trouble()) {
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
        let sum = all.iter().map(|one| of(one).load(Relaxed)).sum();
        families.counter(name, help, [(Labels::new(), sum)]);
    }
    let waits = all.iter().filter(|one| one.trouble().is_some()).count();
    families.value("frontrow_service_waits", "Consumers that something keeps from going on.", waits as f64);
    // Of what is not known nothing is said: 0 would be.
    let known = |(partition, standing): (i32, Standing)| {
        standing.lag().map(|lag| (vec![("partition", partition.to_string())], lag as f64))
    };
    let lags: Vec<_> = all.iter().flat_map(|one| one.partitions()).filter_map(known).collect();
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
        let all = All::new(vec![Arc::default(), Arc::default()]);
        let (status, metrics) = said(&all).await;
        for one in status.as_array().unwrap() {
            assert_eq!((&one["partitions"], &one["lag_records"]), (&json!(0), &json!(null)));
            assert!(one["text"].as_str().unwrap().starts_with("no partition assigned"), "{one}");
        }
        assert!(!metrics.contains("frontrow_service_lag_records{"), "{metrics}");
        let places = BTreeMap::from([3, 4].map(|of| (of, Place { next: Some(7), ..Place::default() })));
        all[0].stand(&places, |of| (of == 3).then_some(9));
        let (status, metrics) = said(&all).await;
        assert_eq!((&status[0]["partitions"], &status[0]["lag_records"]), (&json!(2), &json!(null)));
        assert!(metrics.contains("frontrow_service_lag_records{partition=\"3\"} 2\n"), "{metrics}");
        assert!(!metrics.contains("partition=\"4\""), "{metrics}");
        all[0].stand(&places, |_| Some(7));
        let (status, metrics) = said(&all).await;
        assert_eq!(status[0]["lag_records"], 0);
        assert!(metrics.contains("{partition=\"3\"} 0\n") && metrics.contains("{partition=\"4\"} 0\n"));
    }
}
