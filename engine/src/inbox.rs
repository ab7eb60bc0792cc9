//! A core's inbox: a bounded queue many threads send to and one core drains.
//!
//! A message costs nanoseconds, a wake tens of microseconds: senders wake the core only when it
//! sleeps, and the core drains many messages per wake.

use crate::notify::{Notified, Notifier, notifier};

/// Makes an inbox holding up to `capacity` messages.
pub fn inbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (queue, messages) = flume::bounded(capacity);
    let (notifier, notified) = notifier();
    (Sender { queue, wake: WakeOnDrop(notifier) }, Receiver { messages, notified })
}

/// Why a message was not taken; the message comes back.
#[derive(Debug, thiserror::Error)]
pub enum SendError<T> {
    /// The queue is at its bound.
    #[error("the inbox is full: refuse the request as busy and let the client retry later")]
    Full(T),
    /// The receiving core has stopped.
    #[error("the receiving core has stopped: stop sending to it")]
    Closed(T),
}

/// Sending end: clonable, for any thread.
#[derive(Debug)]
pub struct Sender<T> {
    // Field order matters: the queue must count this sender as gone before the receiver is woken
    // to look.
    queue: flume::Sender<T>,
    wake: WakeOnDrop,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), wake: self.wake.clone() }
    }
}

#[derive(Debug, Clone)]
struct WakeOnDrop(Notifier);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl<T> Sender<T> {
    /// Queues a message and wakes the receiver if it sleeps. Never waits.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        self.try_send_quiet(message)?;
        self.wake.0.wake();
        Ok(())
    }

    /// Queues a message without a wake: for several messages in a row, followed by one
    /// [`Sender::wake`].
    pub fn try_send_quiet(&self, message: T) -> Result<(), SendError<T>> {
        self.queue.try_send(message).map_err(|error| match error {
            flume::TrySendError::Full(message) => SendError::Full(message),
            flume::TrySendError::Disconnected(message) => SendError::Closed(message),
        })
    }

    /// Wakes the receiver if it sleeps.
    pub fn wake(&self) {
        self.wake.0.wake();
    }

    /// Messages queued right now.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is queued right now.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Receiving end: stays on one core.
#[derive(Debug)]
pub struct Receiver<T> {
    messages: flume::Receiver<T>,
    notified: Notified,
}

impl<T> Receiver<T> {
    /// Moves up to `max` queued messages to the end of `into`, oldest first; returns how many.
    /// Never waits, never allocates beyond `into`.
    pub fn drain(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let before = into.len();
        into.extend(self.messages.try_iter().take(max));
        into.len() - before
    }

    /// Waits until something is queued. False: every sender is gone and nothing is left.
    pub async fn ready(&mut self) -> bool {
        loop {
            // Order matters: a last message may arrive between the two looks.
            let closed = self.messages.is_disconnected();
            if !self.messages.is_empty() {
                return true;
            }
            if closed {
                return false;
            }
            self.notified.wait().await;
        }
    }
}
