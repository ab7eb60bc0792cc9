//! The client: one connection, any number of handles and requests.

use crate::driver::{drive, first};
use crate::endpoint::Endpoint;
use crate::error::{ClientError, Refused};
use crate::news::NewsStream;
use crate::options::Options;
use crate::route::Route;
use crate::shared::{Response, Shared};
use frontrow_protocol::{ClientMessage, FEATURE_STANDBY, Reply, Topology, Welcome};
use frontrow_shard::{Code, Command, Millis, RequestId, RowRef, UserId};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// A handle on a connection to a server. Cheap to clone; the connection is closed with the last handle
/// (a [`crate::Watch`] has one too).
///
/// Requests made at the same time are all in flight at once and answered in any order. Beyond what the
/// server allows, they wait here for earlier ones.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    room: Arc<Semaphore>,
    /// The id of the request that this handle is for, if it is for one.
    id: Option<RequestId>,
    _open: Arc<Open>,
}

/// Closes the connection when the last handle drops it.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close.notify_one();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.shared.endpoint).finish_non_exhaustive()
    }
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// The server's time, ms since 1970.
    pub time_ms: Millis,
}

impl Client {
    /// Connects and waits to be welcomed. Must be called inside a tokio runtime with time and I/O enabled.
    pub async fn connect(endpoint: Endpoint, token: impl Into<String>) -> Result<Self, ClientError> {
        Self::connect_with(endpoint, token, Options::default()).await
    }

    /// The same, with other options than the default ones. The first connection is tried once only.
    pub async fn connect_with(
        endpoint: Endpoint,
        token: impl Into<String>,
        options: Options,
    ) -> Result<Self, ClientError> {
        Self::connect_to(vec![endpoint], token, options).await
    }

    /// The same for a service that is at one of several addresses: the next is tried when one is dead, and whoever is
    /// not primary says who is. With `options.retry` it is tried as often as that says, also at first.
    ///
    /// # Panics
    ///
    /// If there is no address.
    pub async fn connect_to(
        endpoints: Vec<Endpoint>,
        token: impl Into<String>,
        options: Options,
    ) -> Result<Self, ClientError> {
        let (token, mut route) = (token.into(), Route::new(endpoints));
        let connected = first(&mut route, &token, &options).await?;
        let endpoint = route.present().clone();
        let welcome = connected.welcome;
        let random = [random(&endpoint)?, random(&endpoint)?];
        let room = Arc::new(Semaphore::new(welcome.limits.max_in_flight.max(1) as usize));
        let shared = Arc::new(Shared::new(endpoint, token, options, welcome, random));
        tokio::spawn(drive(Arc::clone(&shared), route, connected));
        let open = Arc::new(Open(Arc::clone(&shared)));
        Ok(Self { shared, room, id: None, _open: open })
    }

    /// What the server said last when it welcomed this client.
    pub fn welcome(&self) -> Welcome {
        self.shared.welcome()
    }

    /// Whether it is a standby that this client is connected to, and what is watched its view: see [`Options::standby`].
    pub fn is_at_standby(&self) -> bool {
        self.welcome().features & FEATURE_STANDBY != 0
    }

    /// Who the server says this is.
    pub fn user(&self) -> UserId {
        self.welcome().user
    }

    /// The last time heard from the server, ms since 1970.
    pub fn server_time_ms(&self) -> Millis {
        frontrow_protocol::request_id_time(self.next_id())
    }

    /// A new request id, dated by the last time heard from the server.
    pub fn next_id(&self) -> RequestId {
        self.shared.next_id()
    }

    /// A handle for one request, which it sends with this id, whatever it is called by name: one from [`Client::next_id`] that is
    /// to be known beforehand, or that of an earlier request whose outcome is not known. Another request gets the first one's
    /// answer, or is refused.
    #[must_use]
    pub fn for_request(&self, id: RequestId) -> Self {
        Self { id: Some(id), ..self.clone() }
    }

    /// Asks, and gives the answer if it is not a refusal.
    pub async fn request(&self, command: Command) -> Result<Reply, ClientError> {
        refuse(self.decide(command).await?)
    }

    /// Asks, and gives whatever was decided, refusals included.
    pub async fn decide(&self, command: Command) -> Result<Reply, ClientError> {
        self.decide_as(self.id.unwrap_or_else(|| self.next_id()), command).await
    }

    /// The same with an id of the caller's: for repeating a request whose outcome is not known.
    pub async fn decide_as(&self, id: RequestId, command: Command) -> Result<Reply, ClientError> {
        reply(self.call(id, ClientMessage::Request { id, command }).await?)
    }

    /// Where this user stands in the queue of a place, or what was offered: refusals are replies here too.
    pub async fn status_of(&self, place: RowRef) -> Result<Reply, ClientError> {
        let id = self.next_id();
        reply(self.call(id, ClientMessage::Status { id, place }).await?)
    }

    /// Which core has which partition.
    pub async fn topology(&self) -> Result<Topology, ClientError> {
        let id = self.next_id();
        match self.call(id, ClientMessage::Topology { id }).await? {
            Response::Topology(topology) => Ok(topology),
            other => Err(mismatch(&other)),
        }
    }

    /// Asks whether somebody is there.
    pub async fn ping(&self) -> Result<Pong, ClientError> {
        let id = self.next_id();
        match self.call(id, ClientMessage::Ping { id }).await? {
            Response::Pong(time_ms) => Ok(Pong { time_ms }),
            other => Err(mismatch(&other)),
        }
    }

    /// Why the request that was turned away last is being repeated (see [`Options::retry`]), while it is: for who wants to tell
    /// people what they wait for.
    pub fn held_up(&self) -> Option<ClientError> {
        self.shared.held_up()
    }

    /// What the server says unasked from now on: offers, expiries, positions in queues.
    pub fn news(&self) -> NewsStream {
        NewsStream::new(self.shared.news.subscribe())
    }

    /// Sends a message and waits for what answers it, repeating it as the options say.
    pub(crate) async fn call(
        &self,
        id: RequestId,
        message: ClientMessage<'static>,
    ) -> Result<Response, ClientError> {
        let after = self.shared.options.request_timeout;
        let mut refused = None;
        let outcome = timeout(after, self.insist(id, message, &mut refused)).await;
        self.shared.hold_up(None);
        let late = || self.shared.why_away().unwrap_or(ClientError::Timeout { after });
        outcome.unwrap_or_else(|_| Err(refused.unwrap_or_else(late)))
    }

    /// `refused` is why it is to be repeated, as long as nothing is under way: then nothing has come of it.
    async fn insist(
        &self,
        id: RequestId,
        message: ClientMessage<'static>,
        refused: &mut Option<ClientError>,
    ) -> Result<Response, ClientError> {
        // The semaphore is never closed.
        let _room = self.room.acquire().await;
        let mut attempt = 0;
        loop {
            let outcome = self.shared.submit(id, message.clone())?.answer().await;
            let retry = self.shared.options.retry.filter(|retry| attempt < retry.attempts);
            let (Some(retry), Some(wait_ms)) = (retry, worth_repeating(&outcome)) else { return outcome };
            *refused = outcome.err();
            self.shared.hold_up(refused.clone());
            sleep(retry.pause(attempt, wait_ms, self.shared.random())).await;
            *refused = None;
            attempt += 1;
        }
    }
}

/// After how many milliseconds at least to repeat the request with the same id, if that is the thing to do.
fn worth_repeating(outcome: &Result<Response, ClientError>) -> Option<u32> {
    match outcome {
        Err(ClientError::Wire { code, retry_after_ms, .. }) if code.retryable() => Some(*retry_after_ms),
        // A repetition overtook the first answer, as after a reconnection.
        Ok(Response::Reply(reply)) if reply.answer.code == Code::InProgress => Some(0),
        _ => None,
    }
}

/// 64 bits from the operating system.
fn random(endpoint: &Endpoint) -> Result<u64, ClientError> {
    getrandom::u64().map_err(|error| endpoint.unreachable(format!("no random bits to be had: {error}")))
}

fn reply(response: Response) -> Result<Reply, ClientError> {
    match response {
        Response::Reply(reply) => Ok(reply),
        other => Err(mismatch(&other)),
    }
}

/// Turns a refusal into an error.
#[allow(clippy::large_types_passed_by_value, reason = "it is passed on, and boxed only in a refusal")]
pub(crate) fn refuse(reply: Reply) -> Result<Reply, ClientError> {
    if reply.answer.code.is_refusal() {
        return Err(ClientError::Refused(Refused { reply: Box::new(reply) }));
    }
    Ok(reply)
}

pub(crate) fn mismatch(response: &Response) -> ClientError {
    let what = match response {
        Response::Reply(_) => "an answer",
        Response::Topology(_) => "a topology",
        Response::Pong(_) => "a pong",
        Response::Watching => "a snapshot",
    };
    ClientError::Protocol(format!("{what} came for a request of another kind"))
}
