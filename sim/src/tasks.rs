//! Tasks of all cores of all nodes, and which of them are ready to run.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// A task; the generation tells a new one in an old slot apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId {
    slot: u32,
    generation: u32,
}

/// What a task belongs to, as an index of the world's cores.
pub(crate) type CoreId = usize;

pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    core: CoreId,
    main: bool,
    /// `None` while it is being polled.
    work: Option<Work>,
    flag: Arc<Flag>,
}

#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<(u32, Option<Task>)>,
    free: Vec<u32>,
}

/// A task that is about to be polled.
pub(crate) struct Turn {
    pub(crate) core: CoreId,
    pub(crate) main: bool,
    pub(crate) work: Work,
    pub(crate) waker: Waker,
}

thread_local! {
    /// Woken since the executor last looked. Apart from the world, so that a wake is possible while the
    /// world is borrowed.
    static WOKEN: RefCell<Vec<TaskId>> = const { RefCell::new(Vec::new()) };
}

struct Flag {
    task: TaskId,
    queued: AtomicBool,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            WOKEN.with_borrow_mut(|woken| woken.push(self.task));
        }
    }
}

/// Moves what was woken to the end of `into`, in the order of the wakes.
pub(crate) fn take_woken(into: &mut Vec<TaskId>) {
    WOKEN.with_borrow_mut(|woken| into.append(woken));
}

impl Tasks {
    /// Adds a task; it is ready at once.
    pub(crate) fn insert(&mut self, core: CoreId, main: bool, work: Work) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let at = &mut self.slots[slot as usize];
        let task = TaskId { slot, generation: at.0 };
        let flag = Arc::new(Flag { task, queued: AtomicBool::new(false) });
        flag.wake_by_ref();
        at.1 = Some(Task { core, main, work: Some(work), flag });
        task
    }

    fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        let (generation, task) = self.slots.get_mut(id.slot as usize)?;
        task.as_mut().filter(|_| *generation == id.generation)
    }

    /// The core of a task that still lives.
    pub(crate) fn core_of(&self, id: TaskId) -> Option<CoreId> {
        let (generation, task) = self.slots.get(id.slot as usize)?;
        task.as_ref().filter(|_| *generation == id.generation).map(|task| task.core)
    }

    /// Takes a task's work out to poll it. A wake from now on makes it ready again.
    pub(crate) fn begin(&mut self, id: TaskId) -> Option<Turn> {
        let task = self.get_mut(id)?;
        let work = task.work.take()?;
        task.flag.queued.store(false, Ordering::Relaxed);
        Some(Turn { core: task.core, main: task.main, work, waker: task.flag.clone().into() })
    }

    /// Puts the work back after a poll. What comes back is the caller's to drop: its task has been ended
    /// meanwhile.
    pub(crate) fn pending(&mut self, id: TaskId, work: Work) -> Option<Work> {
        match self.get_mut(id) {
            Some(task) => {
                task.work = Some(work);
                None
            }
            None => Some(work),
        }
    }

    /// Forgets a task; its work is the caller's to drop, outside any borrow of the world.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Work> {
        self.get_mut(id)?;
        let at = &mut self.slots[id.slot as usize];
        at.0 = at.0.wrapping_add(1);
        self.free.push(id.slot);
        at.1.take().and_then(|task| task.work)
    }

    /// The tasks of a core, in the order of their slots.
    pub(crate) fn of_core(&self, core: CoreId) -> Vec<TaskId> {
        let all = (0_u32..).zip(&self.slots);
        all.filter(|(_, (_, task))| task.as_ref().is_some_and(|task| task.core == core))
            .map(|(slot, (generation, _))| TaskId { slot, generation: *generation })
            .collect()
    }

    /// A number for the trace.
    pub(crate) fn number(id: TaskId) -> u64 {
        u64::from(id.slot) << 32 | u64::from(id.generation)
    }
}
