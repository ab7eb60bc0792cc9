//! Several addresses of one service: which of them answers.
//!
//! A halted process still has its connections taken by the kernel. What only asks is asked of the next address as well once one
//! is silent, and the first good answer is taken; what changes something is sent to one that has just shown that it answers.

use super::{Asked, Fetched, Http, HttpError, StandbyView};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Method;
use hyper::body::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long one of several addresses may be silent before the next is asked.
const SILENCE: Duration = Duration::from_secs(3);
/// What is asked to know whether an address answers.
const PROBE: Asked<'static> = Asked { method: Method::GET, path: "/healthz", kind: None, body: Bytes::new() };

/// What the addresses said that is not yet the answer.
#[derive(Default)]
struct Heard {
    failed: Vec<(String, HttpError)>,
    /// What a standby says, which is taken if no other does better.
    spare: Option<(String, Bytes, StandbyView)>,
}

impl Heard {
    /// Gives it back if it is the answer.
    fn take(&mut self, at: &str, fetched: Fetched, goes_on: fn(&HttpError) -> bool) -> Option<Fetched> {
        match fetched {
            Fetched { bytes: Err(error), standby } if standby.is_some() || goes_on(&error) => {
                self.failed.push((at.to_owned(), error));
                None
            }
            Fetched { bytes: Ok(bytes), standby: Some(view) } => {
                self.spare.get_or_insert((at.to_owned(), bytes, view));
                None
            }
            answered => Some(answered),
        }
    }

    /// No primary has answered.
    fn end(self, http: &Http) -> Result<Bytes, HttpError> {
        if let Some((at, bytes, view)) = self.spare {
            http.note(&at, Some(view));
            return Ok(bytes);
        }
        Err(HttpError::of_all(self.failed))
    }
}

impl Http {
    /// The addresses, that of the primary that answered last before the others: who asks several things is held up once.
    fn in_order(&self) -> Vec<&String> {
        let mut order: Vec<&String> = self.authorities.iter().collect();
        let last = self.lock_last();
        let is_last = |at: &&String| last.view.is_none() && last.at.as_ref() == Some(*at);
        if let Some(first) = order.iter().position(is_last) {
            order.rotate_left(first);
        }
        order
    }

    /// The same request to the next address whenever one has failed or is silent. A silent one is listened to all the same: it may
    /// only be slow, and if no other serves it has all of the time that an answer may take.
    pub(super) async fn ask_any(&self, asked: &Asked<'_>) -> Result<Bytes, HttpError> {
        let silence = SILENCE.min(self.patience / 5);
        let order = self.in_order();
        let (mut heard, mut rest) = (Heard::default(), order.into_iter());
        let (mut under_way, mut quiet_from) = (FuturesUnordered::new(), Vec::new());
        loop {
            let next = rest.next();
            if let Some(at) = next {
                under_way.push(async move { (at, self.fetch_at(at, asked, self.patience).await) });
                quiet_from.push((at, Instant::now() + silence));
            }
            let all_quiet = quiet_from.iter().map(|(_, from)| *from).max().unwrap_or_else(Instant::now);
            let is_enough = heard.spare.is_some() && all_quiet <= Instant::now();
            if next.is_none() && (under_way.is_empty() || is_enough) {
                return heard.end(self);
            }
            let fetched = if rest.len() == 0 && heard.spare.is_none() {
                under_way.next().await
            } else {
                timeout_at(all_quiet, under_way.next()).await.ok().flatten()
            };
            let Some((at, fetched)) = fetched else { continue };
            quiet_from.retain(|(of, _)| *of != at);
            if let Some(answered) = heard.take(at, fetched, is_for_another_to_say) {
                return self.answered(at, answered);
            }
        }
    }

    /// One address after the other, none of which is sent it before it has shown that it answers: a process that was halted must
    /// not do it when it wakes, after another has done it. Where it may have been carried out it goes no further.
    pub(super) async fn send_to_one(&self, asked: &Asked<'_>) -> Result<Bytes, HttpError> {
        let silence = SILENCE.min(self.patience / 5);
        let mut heard = Heard::default();
        for at in self.in_order() {
            match self.fetch_at(at, &PROBE, silence).await.bytes {
                Ok(_) | Err(HttpError::Refused { .. }) => {}
                Err(error) => {
                    heard.failed.push((at.clone(), error));
                    continue;
                }
            }
            let Fetched { bytes, standby } = self.fetch_at(at, asked, self.patience).await;
            // A standby that does it has done it.
            let standby = standby.filter(|_| bytes.is_err());
            if let Some(answered) = heard.take(at, Fetched { bytes, standby }, is_for_another) {
                return self.answered(at, answered);
            }
        }
        heard.end(self)
    }
}

/// Whether nothing was asked of anybody yet who could have done it.
fn is_for_another(error: &HttpError) -> bool {
    match error {
        HttpError::Refused { code, .. } => code == "not_primary" || code == "standby_not_ready",
        error => error.is_away(),
    }
}

/// The same of a question: another may answer what this one did not.
fn is_for_another_to_say(error: &HttpError) -> bool {
    matches!(error, HttpError::Silent { .. } | HttpError::Unreachable { .. }) || is_for_another(error)
}
