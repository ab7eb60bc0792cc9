//! What an operator tells a standby: to become the primary. Whatever speaks against it is said before anything changes.

use super::followed;
use super::http::Site;
use super::predecessor::{self, Doubt, Predecessor};
use crate::catalogue::{self, Catalogue, LoadErrors};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use frontrow_wal::DataDir;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at what is about to change.
const MOMENT: Duration = Duration::from_millis(20);
/// So many of them a session may take to begin; one that takes a seed in takes longer.
const MOMENTS: u32 = 500;

/// Why it is not to be: a word for machines, and the same in words, with what to do.
type Refusal = (&'static str, String);

#[derive(serde::Deserialize)]
pub(super) struct How {
    /// Take over from a primary that lives.
    #[serde(default)]
    force: bool,
}

/// What speaks for it that the primary lives: it is still followed a moment later (one that has just died may not have been missed
/// yet), or it is not known that nobody is where it was.
async fn primary_lives(site: &Site) -> Option<Doubt> {
    for turn in 0.. {
        if !site.shared.lock().connected {
            break;
        }
        if turn == 50 {
            return Some(Doubt::Lives("this standby follows it".into()));
        }
        tokio::time::sleep(MOMENT).await;
    }
    let (called, data) = (site.shared.lock().primary.clone(), site.data.clone());
    let call = move || {
        let found = DataDir::peek(&data).ok()??;
        // It may have been given another address than that of whom it followed.
        let mut all = followed::to_call(&data);
        all.retain(|of| Some(&of.address) != called.as_ref());
        all.extend(called.map(|address| Predecessor { address, node: 0 }));
        predecessor::any_lives(&all, found.cluster)
    };
    tokio::task::spawn_blocking(call).await.ok()?
}

/// Why the log here could not be gone on from, as far as that is known before everything is applied.
async fn not_promotable(site: &Site) -> Option<String> {
    let (plan, have) = {
        let state = site.shared.lock();
        (state.plan.clone(), state.reached())
    };
    let (_, dir, _) = plan?;
    let check = move || dir.check_promotable(&have).err().map(|error| error.to_string());
    tokio::task::spawn_blocking(check).await.ok()?
}

/// What is wrong with the events' files here: every byte is read. A session may be giving one its name: what is bad is looked at
/// twice.
async fn damaged_catalogue(site: &Site) -> Option<String> {
    let (data, logged) = (site.data.clone(), site.shared.lock().logged());
    let inspector = Arc::clone(&site.inspector);
    let check = move || Catalogue::check(&data, logged.iter().copied());
    // First by who does not wait for good.
    let found = move || match inspector.look() {
        None => check().or_else(|_| check()).err().map(|errors| in_short(&errors)),
        why => why,
    };
    tokio::task::spawn_blocking(found).await.ok()?
}

fn in_short(LoadErrors(errors): &LoadErrors) -> String {
    let faults: Vec<String> = errors.iter().map(ToString::to_string).collect();
    catalogue::in_words(&faults).unwrap_or_default()
}

/// What speaks against it even if an operator insists.
async fn unable(site: &Site) -> Option<Refusal> {
    let baseless = site.shared.lock().baseless.clone();
    if let Some(why) = baseless {
        return Some(("no_base", format!("this standby cannot be promoted: {why}")));
    }
    let follows_on = |why: String| format!("this standby cannot be promoted, and follows on: {why}");
    if let Some(why) = damaged_catalogue(site).await {
        return Some(("catalogue_damaged", follows_on(why)));
    }
    not_promotable(site).await.map(|why| ("not_caught_up", follows_on(why)))
}

/// What speaks against it unless an operator insists: all of it, for who insists is asked once.
async fn unwise(site: &Site) -> Option<Refusal> {
    let lives = primary_lives(site).await.map(|doubt| match doubt {
        Doubt::Lives(why) => (
            "primary_lives",
            format!(
                "the primary may live ({why}): two primaries would sell the same seats. Stop it first (systemctl stop frontrow \
                 there), then ask again. Only if it cannot be stopped: --force (?force=true); it ends when it hears of the new \
                 epoch, which it is told as soon as it can be reached"
            ),
        ),
        Doubt::Silent(why) => (
            "primary_silent",
            format!(
                "{why}. Whether the primary there is off, or only out of this node's reach, cannot be known from here, and out of \
                 reach it sells on: two primaries would sell the same seats. Make sure that it is off (power, or systemctl stop \
                 frontrow there), then: --force (?force=true)"
            ),
        ),
    });
    let behind = site.shared.lock().behind.clone().map(|why| {
        let message = format!(
            "this node is not to be promoted: {why}. Only if what is missing is lost for good: --force (?force=true)"
        );
        ("not_caught_up", message)
    });
    match (behind, lives) {
        (Some((code, behind)), Some((_, lives))) => Some((code, format!("{behind}\nAnd: {lives}"))),
        (behind, lives) => behind.or(lives),
    }
}

/// Whether a promotion has begun; why not, if it has not.
async fn begin(site: &Site, how: &How) -> Result<(), Refusal> {
    if site.member.is_some() {
        let message = "this node is one of a cluster: who is primary is decided in etcd, and an epoch that was opened beside it \
                       would end the primary whenever it heard of it. To change over, end the primary with SIGTERM (`systemctl \
                       restart frontrow` there): this node takes over at once if it is in sync. Without a primary, \
                       `frontrow status` says why this node is none, and what to do";
        return Err(("elected", message.to_owned()));
    }
    let unwise = if how.force { None } else { unwise(site).await };
    if let Some(refusal) = unwise {
        return Err(refusal);
    }
    if let Some(refusal) = unable(site).await {
        return Err(refusal);
    }
    tracing::warn!("an operator promotes this standby");
    for _ in 0..MOMENTS {
        if site.shared.promote() {
            return Ok(());
        }
        tokio::time::sleep(MOMENT).await;
    }
    let message = "this standby takes in what its primary sends to begin with, and cannot be promoted meanwhile: ask again";
    Err(("seeding", message.to_owned()))
}

pub(super) async fn promote(
    State(site): State<Arc<Site>>,
    Query(how): Query<How>,
    headers: HeaderMap,
) -> Response {
    let error = |code: &str, message: &str| Json(json!({"error": {"code": code, "message": message}}));
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = key.and_then(|value| value.strip_prefix("Bearer "));
    if !key.is_some_and(|key| site.http.admin.matches(key.as_bytes())) {
        let message = "this is for operators: send Authorization: Bearer <admin key>";
        return (StatusCode::UNAUTHORIZED, error("not_an_operator", message)).into_response();
    }
    match begin(&site, &how).await {
        Ok(()) => (StatusCode::ACCEPTED, Json(json!({"promoting": true}))).into_response(),
        Err((code, message)) => (StatusCode::CONFLICT, error(code, &message)).into_response(),
    }
}
