//! What the server says unasked.

use crate::error::ClientError;
use frontrow_protocol::News;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Something that happened.
#[allow(clippy::large_enum_variant, reason = "passed on at once, and nearly always the large one")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewsEvent {
    /// News from the server.
    News(News),
    /// So much was missed because it was not read in time: ask with status how things stand.
    Missed(u64),
    /// The connection was lost and made again; news in between was missed: ask with status.
    Reconnected,
    /// There will be no more.
    Ended(ClientError),
}

/// News as it comes, from the moment it was asked for.
#[derive(Debug)]
pub struct NewsStream {
    events: Receiver<NewsEvent>,
    ended: bool,
}

impl NewsStream {
    pub(crate) fn new(events: Receiver<NewsEvent>) -> Self {
        Self { events, ended: false }
    }

    /// The next event; `None` after [`NewsEvent::Ended`]. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Option<NewsEvent> {
        if self.ended {
            return None;
        }
        match self.events.recv().await {
            Ok(event) => {
                self.ended = matches!(event, NewsEvent::Ended(_));
                Some(event)
            }
            Err(RecvError::Lagged(count)) => Some(NewsEvent::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}
