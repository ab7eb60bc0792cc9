//! What the applier shows of its partitions: sections that are asked for, and rows of watched sections as they change.
//!
//! The applier looks here between two pieces of the log and never waits for anybody: what is asked by many at a time is
//! read once, and of a row that changes faster than its changes are taken the latest state is kept.

use super::status::Shared;
use crate::http::LiveRow;
use frontrow_shard::{Lsn, Partition, PartitionId, RowRef, RowState};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Different sections that are read for askers between two pieces of the log; the others have their turn after the next.
const SECTIONS_PER_LOOK: usize = 16;

/// A section as it was at a position.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) rows: Vec<LiveRow>,
    /// The last record applied in each partition that has rows of it.
    pub(super) at: BTreeMap<PartitionId, Lsn>,
}

/// Who waits for a section.
type Asker = oneshot::Sender<Option<Arc<Shown>>>;

/// Between the applier and the HTTP thread.
#[derive(Default)]
pub(super) struct Views {
    /// Somebody wants something of the applier.
    asked: AtomicBool,
    inner: Mutex<Inner>,
    /// Rung when there are changed rows to take, or nothing can be shown any more.
    pub(super) news: Notify,
}

#[derive(Default)]
struct Inner {
    questions: HashMap<RowRef, Vec<Asker>>,
    /// Sections that somebody begins to watch, or nobody watches any more.
    orders: HashMap<RowRef, bool>,
    /// Changed rows of watched sections, as they are now. No more of them than those sections have rows.
    changed: HashMap<RowRef, RowState>,
    /// How often what was applied was let go of.
    cuts: u64,
    /// Nothing will be applied any more.
    over: bool,
}

/// What has changed since the last look.
pub(super) struct News {
    pub(super) rows: HashMap<RowRef, RowState>,
    pub(super) cuts: u64,
}

/// What the applier is to do.
pub(super) struct Wanted {
    pub(super) sections: Vec<(RowRef, Vec<Asker>)>,
    pub(super) orders: HashMap<RowRef, bool>,
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the applier, which waits at `shared`, look here. Many asking at a time wake it once.
    fn wake(&self, shared: &Shared) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            shared.change(|_| ());
        }
    }

    /// A section as it is applied; `None` if there is no such section, or nothing to be read.
    pub(super) async fn section(&self, section: RowRef, shared: &Shared) -> Option<Arc<Shown>> {
        let (answer, asked) = oneshot::channel();
        {
            let mut inner = self.lock();
            if inner.over {
                return None;
            }
            inner.questions.entry(section).or_default().push(answer);
        }
        self.wake(shared);
        asked.await.ok().flatten()
    }

    /// From now on, or not any more, the rows of a section are told as they change; at first each of them once.
    pub(super) fn order(&self, section: RowRef, on: bool, shared: &Shared) {
        self.lock().orders.insert(section, on);
        self.wake(shared);
    }

    /// Takes what has changed.
    pub(super) fn take(&self) -> News {
        let mut inner = self.lock();
        News { rows: std::mem::take(&mut inner.changed), cuts: inner.cuts }
    }

    /// For the applier: whether anybody wants something.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// For the applier: what is wanted of it, in a bounded portion.
    pub(super) fn wanted(&self) -> Wanted {
        self.asked.store(false, Ordering::Release);
        let mut inner = self.lock();
        let some: Vec<RowRef> = inner.questions.keys().copied().take(SECTIONS_PER_LOOK).collect();
        let sections =
            some.into_iter().filter_map(|section| inner.questions.remove_entry(&section)).collect();
        if !inner.questions.is_empty() {
            self.asked.store(true, Ordering::Release);
        }
        Wanted { sections, orders: std::mem::take(&mut inner.orders) }
    }

    /// For the applier: these rows have changed.
    pub(super) fn tell(&self, rows: Vec<(RowRef, RowState)>) {
        self.lock().changed.extend(rows);
        self.news.notify_one();
    }

    /// For the applier: what was applied is let go of. Nobody watches anything any more.
    pub(super) fn cut(&self) {
        self.asked.store(false, Ordering::Release);
        let mut inner = self.lock();
        inner.cuts += 1;
        (inner.changed, inner.orders, inner.questions) = Default::default();
        drop(inner);
        self.news.notify_one();
    }

    /// For the applier: it ends.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.cut();
    }
}

/// The rows of a section; none if there is no such section.
pub(super) fn rows(partitions: &[Partition], section: RowRef) -> impl Iterator<Item = RowRef> {
    let first = partitions.first().and_then(|first| first.section_rows(section.event));
    let rows = first.and_then(|mut rows| rows.nth(usize::from(section.section)));
    (0..rows.unwrap_or(0)).map(move |row| RowRef { row, ..section })
}

/// A row as it is now, if it is there: the rows of an archived event are not.
pub(super) fn state(partitions: &[Partition], row: RowRef) -> Option<RowState> {
    partitions.get(usize::from(row.partition(partitions.len() as u16)))?.row_state(row)
}

/// A section's rows, and where each of their partitions is.
pub(super) fn read(partitions: &[Partition], section: RowRef) -> Option<Shown> {
    partitions.first()?.section_rows(section.event)?.nth(usize::from(section.section))?;
    let mut shown = Shown { rows: Vec::new(), at: BTreeMap::new() };
    for place in rows(partitions, section) {
        let number = place.partition(partitions.len() as u16);
        shown.at.extend(partitions.get(usize::from(number)).map(|partition| (number, partition.lsn())));
        shown.rows.extend(state(partitions, place).map(|state| LiveRow { row: place.row, state }));
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: RowRef = RowRef::new(1, 2, RowRef::SECTION);

    fn row(free: u64) -> (RowRef, RowState) {
        let (booked, blocked) = ([0; 4], [0; 4]);
        (RowRef::new(1, 2, 3), RowState { seats: 8, free: [free, 0, 0, 0], booked, blocked })
    }

    #[tokio::test]
    async fn many_who_ask_for_one_section_are_one_question() {
        let (views, shared) = (Views::default(), Shared::default());
        let ask = || views.section(SECTION, &shared);
        let answering = async {
            while !views.is_asked() {
                tokio::task::yield_now().await;
            }
            let wanted = views.wanted();
            assert!(!views.is_asked());
            let sections: Vec<_> =
                wanted.sections.iter().map(|(section, askers)| (*section, askers.len())).collect();
            assert_eq!(sections, [(SECTION, 2)]);
            let shown = Arc::new(Shown { rows: Vec::new(), at: BTreeMap::from([(3, 9)]) });
            for asker in wanted.sections.into_iter().flat_map(|(_, askers)| askers) {
                asker.send(Some(Arc::clone(&shown))).expect("it waits");
            }
        };
        let (one, other, ()) = tokio::join!(ask(), ask(), answering);
        assert_eq!(one.expect("an answer").at, other.expect("an answer").at);
    }

    #[tokio::test]
    async fn what_is_asked_when_nothing_is_shown_is_answered_at_once() {
        let (views, shared) = (Views::default(), Shared::default());
        let cutting = async { views.cut() };
        let (shown, ()) = tokio::join!(views.section(SECTION, &shared), cutting);
        assert!(shown.is_none());
        assert!(!views.is_asked(), "there is nothing to do");
        views.end();
        assert!(views.section(SECTION, &shared).await.is_none());
    }

    #[test]
    fn of_a_row_the_latest_state_is_kept_and_a_cut_forgets_it() {
        let views = Views::default();
        views.tell(vec![row(1)]);
        views.tell(vec![row(3)]);
        assert_eq!(views.take().rows, HashMap::from([row(3)]));
        assert!(views.take().rows.is_empty());
        views.tell(vec![row(7)]);
        views.cut();
        let news = views.take();
        assert_eq!((news.rows.len(), news.cuts), (0, 1));
    }

    #[test]
    fn whoever_asks_for_much_waits_for_its_turn() {
        let (views, shared) = (Views::default(), Shared::default());
        let mut asked: Vec<_> = (0..40)
            .map(|section| Box::pin(views.section(RowRef::new(1, section, RowRef::SECTION), &shared)))
            .collect();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for one in &mut asked {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        let portions: Vec<usize> =
            std::iter::from_fn(|| views.is_asked().then(|| views.wanted().sections.len())).collect();
        assert_eq!(portions, [16, 16, 8]);
    }
}
