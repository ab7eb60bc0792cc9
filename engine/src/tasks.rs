//! The tasks of a core, so that a core can stop cleanly.
//!
//! Both runtimes leave tasks behind when their main future ends: a pending read then keeps its
//! socket, and with monoio the whole ring, alive for ever (the task holds the operation, the
//! operation the ring, the ring the task's waker). So every spawned task is counted, and at the
//! end each one is woken and dropped inside the runtime, where its sockets close properly.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::Engine;
use crate::notify::LocalNotify;

#[derive(Default)]
struct Tasks {
    closing: bool,
    alive: usize,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    ended: LocalNotify,
}

thread_local! {
    static TASKS: RefCell<Tasks> = RefCell::default();
}

/// Until a task that begins now has had its turn, and so has everything that was ready before.
pub(crate) async fn turn<E: Engine>(buffer: Vec<u8>) -> Vec<u8> {
    let told = LocalNotify::new();
    let tell = told.clone();
    E::spawn(async move { tell.wake() });
    told.wait().await;
    buffer
}

/// A task's place in the core's list.
struct Slot {
    index: Option<usize>,
}

impl Slot {
    fn new() -> Self {
        TASKS.with_borrow_mut(|tasks| tasks.alive += 1);
        Self { index: None }
    }

    /// Notes the task's waker at its first poll (neither runtime changes it later). True: the
    /// core is closing.
    fn enter(&mut self, cx: &Context<'_>) -> bool {
        TASKS.with_borrow_mut(|tasks| {
            if self.index.is_none() && !tasks.closing {
                let index = tasks.free.pop().unwrap_or_else(|| {
                    tasks.wakers.push(None);
                    tasks.wakers.len() - 1
                });
                tasks.wakers[index] = Some(cx.waker().clone());
                self.index = Some(index);
            }
            tasks.closing
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A task that outlives the thread's list (a runtime torn down by a panic) has no place in
        // it any more.
        let _ = TASKS.try_with(|tasks| {
            let mut tasks = tasks.borrow_mut();
            tasks.alive = tasks.alive.saturating_sub(1);
            let waker = self.index.and_then(|index| {
                tasks.free.push(index);
                tasks.wakers[index].take()
            });
            let ended = tasks.ended.clone();
            drop(tasks);
            drop(waker);
            ended.wake();
        });
    }
}

/// Wraps a task so that [`close`] can end it.
pub(crate) fn tracked(task: impl Future<Output = ()>) -> impl Future<Output = ()> {
    let mut slot = Slot::new();
    async move {
        let mut task = pin!(task);
        poll_fn(|cx| if slot.enter(cx) { Poll::Ready(()) } else { task.as_mut().poll(cx) }).await;
    }
}

/// Ends every task of this core: each is woken and dropped where it stands.
pub(crate) async fn close() {
    let wakers: Vec<Waker> = TASKS.with_borrow_mut(|tasks| {
        tasks.closing = true;
        tasks.wakers.iter_mut().filter_map(Option::take).collect()
    });
    wakers.into_iter().for_each(Waker::wake);
    let ended = TASKS.with_borrow(|tasks| tasks.ended.clone());
    while TASKS.with_borrow(|tasks| tasks.alive) > 0 {
        ended.wait().await;
    }
    TASKS.set(Tasks::default());
}
