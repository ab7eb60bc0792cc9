//! Running the connections of one load on one core, to their end or to the end of patience.

use crate::LoadError;
use frontrow_engine::{CoreSpec, Engine, LocalNotify, start};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// Runs `main` on a new thread pinned to `core`, if one is given, and waits for it.
pub(crate) fn on_core<E, F, T>(
    core: Option<usize>,
    main: impl FnOnce() -> F + Send + 'static,
) -> Result<T, LoadError>
where
    E: Engine,
    F: Future<Output = Result<T, LoadError>> + 'static,
    T: Send + 'static,
{
    let thread = start::<E, _, _>(CoreSpec::new("load", core), main)
        .map_err(|source| LoadError::Connection { doing: "starting a thread", source })?;
    thread.join().map_err(|_| LoadError::Panicked)??
}

/// Runs all conversations beside each other. The first failure ends the load, and so does `patience`.
pub(crate) async fn all<E: Engine>(
    conversations: Vec<impl Future<Output = Result<(), LoadError>> + 'static>,
    patience: Duration,
) -> Result<(), LoadError> {
    let running = Rc::new(Cell::new(conversations.len()));
    let failed: Rc<RefCell<Option<LoadError>>> = Rc::default();
    let changed = LocalNotify::new();
    for conversation in conversations {
        let (running, failed, changed) = (Rc::clone(&running), Rc::clone(&failed), changed.clone());
        E::spawn(async move {
            let result = conversation.await;
            running.set(running.get() - 1);
            if let Err(error) = result {
                failed.borrow_mut().get_or_insert(error);
            }
            changed.wake();
        });
    }
    {
        let (failed, changed) = (Rc::clone(&failed), changed.clone());
        E::spawn(async move {
            E::sleep(patience).await;
            failed.borrow_mut().get_or_insert(LoadError::Patience(patience.as_secs()));
            changed.wake();
        });
    }
    while running.get() > 0 && failed.borrow().is_none() {
        changed.wait().await;
    }
    let failed = failed.borrow_mut().take();
    failed.map_or(Ok(()), Err)
}
