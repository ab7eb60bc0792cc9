//! One user: requests with exactly one answer each, news, and coming back after a lost connection.

use crate::server::token;
use crate::wire::{Broken, Door, Heard, Link};
use frontrow_client::Held;
use frontrow_protocol::{ClientMessage, News, Reply, RequestIds, WireCode};
use frontrow_shard::{Code, Command, Proof, RequestId, RowRef, UserId, flags, mix};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What all sessions of a test count together.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests with an id of their own.
    pub asked: AtomicU64,
    /// Requests that got their answer.
    pub answered: AtomicU64,
    /// Answers that said they were repetitions.
    pub repeated: AtomicU64,
    /// Times a request was sent again, with its id.
    pub sent_again: AtomicU64,
    /// Connections lost on purpose and made again.
    pub reconnected: AtomicU64,
    /// What must never happen.
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    /// Notes something that must never happen.
    pub fn wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What must never happen, and did.
    pub fn wrongs(&self) -> Vec<String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One user and at most one connection.
pub struct Session {
    /// Who.
    pub user: UserId,
    /// Where to.
    pub door: Door,
    /// The core that welcomed the connection, and the server's term.
    pub welcomed: (u16, u32),
    token: String,
    ids: RequestIds,
    link: Option<Link>,
    news: VecDeque<News>,
    /// Requests of this connection without an answer.
    open: Vec<(RequestId, Command)>,
    tally: Arc<Tally>,
}

impl Session {
    /// A user who is not connected yet.
    pub fn new(user: UserId, door: Door, tally: &Arc<Tally>) -> Self {
        Self {
            user,
            door,
            welcomed: (0, 0),
            token: token(user),
            ids: RequestIds::new(0, mix(user)),
            link: None,
            news: VecDeque::new(),
            open: Vec::new(),
            tally: Arc::clone(tally),
        }
    }

    /// Connects. What has no answer from an earlier connection is not sent again by this.
    pub async fn connect(&mut self) -> Result<(), Broken> {
        let (link, first) = Link::greet(self.door, &self.token).await?;
        let Heard::Welcome { user, time_ms, epoch, core } = first else {
            return Err(Broken::Garbage(format!("no welcome but {first:?}")));
        };
        if user != self.user {
            self.tally.wrong(format!("user {} was welcomed as {user}", self.user));
        }
        self.ids.heard(time_ms);
        self.welcomed = (core, epoch);
        self.link = Some(link);
        Ok(())
    }

    /// Loses the connection without a word. News that were not read are lost, too.
    pub fn drop_link(&mut self) {
        self.link = None;
        self.news.clear();
    }

    /// A new id.
    pub fn next_id(&mut self) -> RequestId {
        self.ids.next()
    }

    /// Sends a request and does not wait.
    pub async fn send(&mut self, command: Command) -> Result<RequestId, Broken> {
        let id = self.next_id();
        self.tally.asked.fetch_add(1, Relaxed);
        self.open.push((id, command));
        self.write(&ClientMessage::Request { id, command }).await?;
        Ok(id)
    }

    /// Requests that were sent and not answered.
    pub fn unanswered(&self) -> &[(RequestId, Command)] {
        &self.open
    }

    /// Connects again and repeats what has no answer, in its order and with its ids.
    pub async fn resume(&mut self) -> Result<(), Broken> {
        self.drop_link();
        self.connect().await?;
        self.tally.reconnected.fetch_add(1, Relaxed);
        for (id, command) in self.open.clone() {
            self.tally.sent_again.fetch_add(1, Relaxed);
            self.write(&ClientMessage::Request { id, command }).await?;
        }
        Ok(())
    }

    /// Asks and waits for the answer.
    pub async fn ask(&mut self, command: Command) -> Result<Reply, Broken> {
        let id = self.send(command).await?;
        self.answer(id).await
    }

    /// Asks again with the id of an earlier request.
    pub async fn repeat(&mut self, id: RequestId, command: Command) -> Result<Reply, Broken> {
        self.tally.asked.fetch_add(1, Relaxed);
        self.open.push((id, command));
        self.write(&ClientMessage::Request { id, command }).await?;
        self.answer(id).await
    }

    /// Waits for the answer to a request that was sent. Repeats it where that is the thing to do.
    pub async fn answer(&mut self, id: RequestId) -> Result<Reply, Broken> {
        loop {
            match self.recv().await? {
                Heard::Answer(reply) if self.settle(&reply) && reply.id == id => {
                    if reply.answer.code != Code::InProgress {
                        return Ok(reply);
                    }
                    self.again(id).await?;
                }
                Heard::Error { id: of, code, .. } if of == id && code.retryable() => {
                    self.again(id).await?;
                }
                Heard::Error { code, message, .. } => {
                    return Err(Broken::Garbage(format!("{}: {message}", code.name())));
                }
                _ => {}
            }
        }
    }

    async fn again(&mut self, id: RequestId) -> Result<(), Broken> {
        let open = self.open.iter().find(|(open, _)| *open == id).copied();
        let Some((_, command)) = open else { return Ok(()) };
        self.tally.sent_again.fetch_add(1, Relaxed);
        self.write(&ClientMessage::Request { id, command }).await
    }

    /// Where the user stands in a queue.
    pub async fn status(&mut self, place: RowRef) -> Result<Reply, Broken> {
        let id = self.next_id();
        self.write(&ClientMessage::Status { id, place }).await?;
        loop {
            match self.recv().await? {
                Heard::Answer(reply) if reply.id == id => return Ok(reply),
                Heard::Answer(reply) => _ = self.settle(&reply),
                Heard::Error { id: of, code, .. } if of == id && code.retryable() => {
                    self.write(&ClientMessage::Status { id, place }).await?;
                }
                _ => {}
            }
        }
    }

    /// The server's time, after everything sent before has been read.
    pub async fn ping(&mut self) -> Result<u64, Broken> {
        let id = self.next_id();
        self.write(&ClientMessage::Ping { id }).await?;
        loop {
            match self.recv().await? {
                Heard::Pong { id: of, time_ms } if of == id => return Ok(time_ms),
                Heard::Answer(reply) => _ = self.settle(&reply),
                _ => {}
            }
        }
    }

    /// The next news.
    pub async fn news(&mut self) -> Result<News, Broken> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            if let Heard::Answer(reply) = self.recv().await? {
                self.settle(&reply);
            }
        }
    }

    /// Counts an answer; `false` if nobody asked for it.
    fn settle(&mut self, reply: &Reply) -> bool {
        if let Some(at) = self.open.iter().position(|(id, _)| *id == reply.id) {
            if reply.answer.flags & flags::REPEATED != 0 {
                self.tally.repeated.fetch_add(1, Relaxed);
            }
            if reply.answer.code != Code::InProgress {
                self.open.swap_remove(at);
                self.tally.answered.fetch_add(1, Relaxed);
            }
            if reply.durable < reply.answer.lsn {
                self.tally.wrong(format!("an answer that is not durable: {reply:?}"));
            }
            return true;
        }
        self.tally.wrong(format!("user {}: an answer that nobody waits for: {reply:?}", self.user));
        false
    }

    async fn write(&mut self, message: &ClientMessage<'_>) -> Result<(), Broken> {
        match &mut self.link {
            Some(link) => link.send(message).await,
            None => Err(Broken::Closed("it is not open".into())),
        }
    }

    /// The next message; news is kept for [`Session::news`] as well.
    async fn recv(&mut self) -> Result<Heard, Broken> {
        let Some(link) = &mut self.link else { return Err(Broken::Closed("it is not open".into())) };
        let heard = link.recv().await?;
        match &heard {
            Heard::Answer(reply) => self.ids.heard(reply.time_ms),
            Heard::News(news) => {
                self.ids.heard(news.time_ms);
                self.news.push_back(*news);
            }
            Heard::Goodbye { code } if *code != WireCode::ShuttingDown => {
                self.tally.wrong(format!("user {} was sent away: {}", self.user, code.name()));
            }
            _ => {}
        }
        Ok(heard)
    }
}

/// A hold and its newest fence, after an answer to extend, pay or book.
pub fn renewed(held: &Held, user: UserId, reply: &Reply) -> Held {
    match Held::of(user, reply) {
        Some(newer) => Held { fence: newer.fence, expires_ms: newer.expires_ms, ..*held },
        None => *held,
    }
}

/// The proof with a number that nobody was given.
pub fn forged(held: &Held) -> Proof {
    let mut proof = held.proof();
    proof.fence.nonce ^= 0x0dd;
    proof
}
