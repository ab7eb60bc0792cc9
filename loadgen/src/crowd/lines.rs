//! The connections of one load thread: which are open, whose they are, where they lead.

use super::ConnectionId;
use super::dice::Dice;
use super::scenario::Group;
use super::slab::NONE;

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) open: bool,
    /// Whether `Connect` has been asked for and not been answered.
    pub(crate) opening: bool,
    pub(crate) group: u16,
    pub(crate) core: u16,
    /// Where it stands in its list of open connections.
    position: u32,
    /// First of the visits that are carried on it.
    pub(crate) visits: u32,
    /// Failed attempts to connect since it was last open.
    pub(crate) failed: u8,
    /// How long it stays away after a drop that was meant, in nanoseconds.
    pub(crate) offline_ns: u64,
    /// Counts its drop timers, so that stale ones are known.
    pub(crate) drop_armed: u32,
}

/// Connections `thread`, `thread + threads`, … below the number of all.
#[derive(Debug)]
pub(crate) struct Lines {
    thread: u32,
    threads: u32,
    cores: u16,
    all: Vec<Line>,
    /// Open connections, by group and core.
    open: Vec<Vec<u32>>,
}

impl Lines {
    /// `core_of` says where a connection leads; an empty list means that all lead to the same place.
    pub(crate) fn new(
        connections: u32,
        thread: u16,
        threads: u16,
        groups: &[Group],
        core_of: &[u16],
    ) -> Self {
        let cores = core_of.iter().max().map_or(1, |&core| core + 1);
        let (thread, threads) = (u32::from(thread), u32::from(threads).max(1));
        let ids = (thread..connections).step_by(threads as usize);
        let line = |(i, id): (usize, u32)| Line {
            open: false,
            opening: false,
            group: group_of(i, groups),
            core: core_of.get(id as usize).copied().unwrap_or(0),
            position: 0,
            visits: NONE,
            failed: 0,
            offline_ns: 0,
            drop_armed: 0,
        };
        let lines: Vec<Line> = ids.enumerate().map(line).collect();
        let open = vec![Vec::with_capacity(lines.len()); groups.len() * usize::from(cores)];
        Self { thread, threads, cores, all: lines, open }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ConnectionId> + use<> {
        let (thread, threads) = (self.thread, self.threads);
        (0..self.all.len() as u32).map(move |at| thread + at * threads)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Line> {
        self.all.get(self.index(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Line> {
        let at = self.index(id)?;
        self.all.get_mut(at)
    }

    fn index(&self, id: ConnectionId) -> Option<usize> {
        let at = id.checked_sub(self.thread)?;
        (at % self.threads == 0).then_some((at / self.threads) as usize)
    }

    fn list(&self, line: &Line) -> usize {
        usize::from(line.group) * usize::from(self.cores) + usize::from(line.core)
    }

    /// Takes note that a connection is open now, or not. Whether that is news.
    pub(crate) fn set_open(&mut self, id: ConnectionId, open: bool) -> bool {
        let Some(at) = self.index(id).filter(|&at| at < self.all.len()) else { return false };
        self.all[at].opening = false;
        if self.all[at].open == open {
            return false;
        }
        self.all[at].open = open;
        let list = self.list(&self.all[at]);
        if open {
            self.all[at].position = self.open[list].len() as u32;
            self.open[list].push(at as u32);
        } else {
            let position = self.all[at].position;
            self.open[list].swap_remove(position as usize);
            if let Some(&moved) = self.open[list].get(position as usize) {
                self.all[moved as usize].position = position;
            }
        }
        true
    }

    /// An open connection of a group, to `core` if there is one; else to any core; else of another group.
    pub(crate) fn pick(&self, group: u16, core: Option<u16>, dice: &mut Dice) -> Option<ConnectionId> {
        let cores = usize::from(self.cores);
        let base = usize::from(group) * cores;
        let one_of =
            |list: &[u32], dice: &mut Dice| list.get(dice.below(list.len() as u32) as usize).copied();
        let wanted = core.filter(|&core| core < self.cores).map(|core| base + usize::from(core));
        let found = wanted.and_then(|list| one_of(&self.open[list], dice)).or_else(|| {
            let count = |list: &usize| self.open[*list].len() as u32;
            let some = |lists: std::ops::Range<usize>, dice: &mut Dice| {
                let mut at = dice.below(lists.clone().map(|list| count(&list)).sum());
                for list in lists {
                    match self.open[list].get(at as usize) {
                        Some(&line) => return Some(line),
                        None => at -= count(&list),
                    }
                }
                None
            };
            some(base..base + cores, dice).or_else(|| some(0..self.open.len(), dice))
        });
        found.map(|at| self.thread + at * self.threads)
    }
}

/// The group of the `i`-th connection of a thread, so that any stretch of them is divided as the groups' shares say:
/// the first of each group come first, the others by a sequence of low discrepancy (the golden ratio's).
fn group_of(i: usize, groups: &[Group]) -> u16 {
    if i < groups.len() {
        return i as u16;
    }
    let all: f64 = groups.iter().map(|group| group.connections).sum();
    let mut at = (i as f64 * 0.618_033_988_749_895).fract() * all;
    for (index, group) in groups.iter().enumerate() {
        if at < group.connections {
            return index as u16;
        }
        at -= group.connections;
    }
    groups.len() as u16 - 1
}

/// For each connection the core it should lead to, such that every load thread has connections to every core.
pub fn spread_cores(connections: u32, threads: u16, cores: u16) -> Vec<u16> {
    let (threads, cores) = (u32::from(threads.max(1)), u32::from(cores.max(1)));
    (0..connections).map(|id| (id / threads % cores) as u16).collect()
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn an_open_connection_of_the_group_and_core_is_picked_if_there_is_one() {
        let groups = Scenario::named("scalper").unwrap().groups;
        let core_of = spread_cores(40, 2, 2);
        let mut lines = Lines::new(40, 1, 2, &groups, &core_of);
        let mut dice = Dice::new(1, 1);
        assert_eq!(lines.pick(0, None, &mut dice), None);
        for id in lines.ids() {
            assert!(lines.set_open(id, true) && !lines.set_open(id, true));
        }
        for _ in 0..100 {
            let id = lines.pick(1, Some(1), &mut dice).unwrap();
            let line = lines.get(id).unwrap();
            assert!(id % 2 == 1 && core_of[id as usize] == line.core, "{id} belongs to another thread");
            assert_eq!(line.group, 1);
        }
        let last = lines.ids().find(|&id| lines.get(id).unwrap().group == 0).unwrap();
        for id in lines.ids().filter(|&id| id != last) {
            lines.set_open(id, false);
        }
        assert_eq!(lines.pick(1, Some(1), &mut dice), Some(last), "better another's connection than none");
    }
}
