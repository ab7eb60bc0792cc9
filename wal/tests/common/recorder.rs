//! A disk that notes, before every sync, what is on it for sure and what may be: for crash images.
//!
//! For sure is what was synced: a file's contents by its own sync, its name by its directory's. What was
//! written since may be there by any of its sectors, what was renamed since by any of the first steps.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use frontrow_wal::fs::{Disk, RealDisk};
use rustix::fs::OFlags;

pub(crate) const SECTOR: usize = 512;

type Inode = u64;
type Bytes = Arc<Vec<u8>>;

/// A step that changes names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Link(PathBuf, Inode),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

impl Step {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Step::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
            Step::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Step::Unlink(path) => drop(names.remove(path)),
        }
    }

    fn dir(&self) -> Option<&Path> {
        match self {
            Step::Link(path, _) | Step::Unlink(path) | Step::Rename(_, path) => path.parent(),
        }
    }
}

/// What a crash at one moment may leave.
#[derive(Clone)]
pub(crate) struct Moment {
    names: BTreeMap<PathBuf, Inode>,
    steps: Vec<Step>,
    durable: HashMap<Inode, Bytes>,
    live: HashMap<Inode, Bytes>,
    /// What had been promised by then.
    pub(crate) promised: Vec<u64>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Inode>,
    steps: Vec<Step>,
    durable: HashMap<Inode, Bytes>,
    open: HashMap<Inode, File>,
    moments: Vec<Moment>,
}

type Promises = Box<dyn Fn() -> Vec<u64> + Send + Sync>;

#[derive(Default)]
pub(crate) struct Recorder {
    state: Mutex<State>,
    promises: Mutex<Option<Promises>>,
}

impl Recorder {
    /// What is promised by now is asked at every sync.
    pub(crate) fn promise(&self, promises: impl Fn() -> Vec<u64> + Send + Sync + 'static) {
        *self.promises.lock().unwrap() = Some(Box::new(promises));
    }

    pub(crate) fn take(&self) -> Vec<Moment> {
        std::mem::take(&mut self.state.lock().unwrap().moments)
    }

    fn note(&self, state: &mut State) {
        // Names that went away without a word to the disk: unused segments, leftovers.
        let mut now = state.names.clone();
        for step in &state.steps {
            step.apply(&mut now);
        }
        let gone = now.keys().filter(|path| !path.exists()).map(|path| Step::Unlink(path.clone()));
        state.steps.extend(gone.collect::<Vec<_>>());
        let promised = self.promises.lock().unwrap().as_ref().map_or_else(Vec::new, |promises| promises());
        let mut live = HashMap::new();
        for (&inode, file) in &state.open {
            let len = file.metadata().unwrap().len() as usize;
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, 0).unwrap();
            let durable = state.durable.get(&inode).filter(|durable| ***durable == bytes);
            live.insert(inode, durable.map_or_else(|| Arc::new(bytes), Arc::clone));
        }
        state.moments.push(Moment {
            names: state.names.clone(),
            steps: state.steps.clone(),
            durable: state.durable.clone(),
            live,
            promised,
        });
    }

    fn known(state: &mut State, file: &File) -> Inode {
        let inode = file.metadata().unwrap().ino();
        state.open.entry(inode).or_insert_with(|| {
            let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
            File::open(path).unwrap()
        });
        inode
    }

    fn settle(&self, file: &File) {
        let mut state = self.state.lock().unwrap();
        let inode = Recorder::known(&mut state, file);
        self.note(&mut state);
        let live = state.moments.last().unwrap().live[&inode].clone();
        state.durable.insert(inode, live);
        // Files that nobody can find any more need not be read at each sync.
        let mut now = state.names.clone();
        for step in &state.steps {
            step.apply(&mut now);
        }
        let State { names, open, durable, steps, .. } = &mut *state;
        let begun = |inode: &Inode| steps.iter().any(|step| matches!(step, Step::Link(_, i) if i == inode));
        let found =
            |inode: &Inode| names.values().chain(now.values()).any(|other| other == inode) || begun(inode);
        open.retain(|inode, _| found(inode));
        durable.retain(|inode, _| found(inode));
    }
}

impl Disk for Recorder {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut state = self.state.lock().unwrap();
        let file = RealDisk.create(path)?;
        let inode = Recorder::known(&mut state, &file);
        state.steps.push(Step::Link(path.into(), inode));
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.steps.push(Step::Rename(from.into(), to.into()));
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.steps.push(Step::Unlink(path.into()));
        RealDisk.remove(path)
    }

    /// Without the syncs in between: nothing may rest on them.
    fn preallocate(&self, file: &File, header: &[u8], bytes: u64) -> io::Result<()> {
        let _state = self.state.lock().unwrap();
        let mut whole = vec![0; bytes as usize];
        whole[..header.len()].copy_from_slice(header);
        file.write_all_at(&whole, 0)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.settle(file);
        Ok(())
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.settle(file);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        self.note(&mut state);
        let steps = std::mem::take(&mut state.steps);
        let (done, left): (Vec<_>, Vec<_>) = steps.into_iter().partition(|step| step.dir() == Some(dir));
        for step in &done {
            step.apply(&mut state.names);
        }
        state.steps = left;
        Ok(())
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _state = self.state.lock().unwrap();
        RealDisk.write(file, bytes, offset)
    }

    /// With `O_DSYNC` it is write and sync in one.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        {
            let _state = self.state.lock().unwrap();
            RealDisk.write_at(file, bytes, offset)?;
        }
        if rustix::fs::fcntl_getfl(file)?.contains(OFlags::DSYNC) {
            self.settle(file);
        }
        Ok(())
    }
}

/// One sector of a file that may or may not have reached the disk.
type Sector = (Inode, usize);

impl Moment {
    /// All images of this moment: every number of steps done × kinds of sector subsets, `some` of them at
    /// random. `each` gets the files by path.
    pub(crate) fn images(
        &self,
        some: usize,
        dice: &mut impl FnMut() -> u64,
        mut each: impl FnMut(&BTreeMap<PathBuf, Bytes>),
    ) {
        for done in 0..=self.steps.len() {
            let mut names = self.names.clone();
            for step in &self.steps[..done] {
                step.apply(&mut names);
            }
            let dirty = self.dirty(&names);
            let mut subsets: Vec<Vec<bool>> = vec![vec![false; dirty.len()]];
            if !dirty.is_empty() {
                subsets.push(vec![true; dirty.len()]);
            }
            if dirty.len() > 1 {
                // Every single one lost and every single one kept, as long as they are few.
                for at in (0..dirty.len()).take(24) {
                    let mut one = vec![true; dirty.len()];
                    one[at] = false;
                    subsets.push(one.clone());
                    subsets.push(one.iter().map(|kept| !kept).collect());
                }
                for _ in 0..some {
                    subsets.push(dirty.iter().map(|_| dice() & 1 == 1).collect());
                }
            }
            for subset in subsets {
                each(&self.image(&names, &dirty, &subset));
            }
        }
    }

    /// The sectors in which a file that has a name differs from what is on the disk for sure.
    fn dirty(&self, names: &BTreeMap<PathBuf, Inode>) -> Vec<Sector> {
        let mut out = Vec::new();
        for inode in names.values() {
            let Some(live) = self.live.get(inode) else { continue };
            let durable = self.durable.get(inode).map_or(&[][..], |bytes| &bytes[..]);
            for (sector, bytes) in live.chunks(SECTOR).enumerate() {
                if durable.get(sector * SECTOR..sector * SECTOR + bytes.len()) != Some(bytes) {
                    out.push((*inode, sector));
                }
            }
        }
        out
    }

    fn image(
        &self,
        names: &BTreeMap<PathBuf, Inode>,
        dirty: &[Sector],
        kept: &[bool],
    ) -> BTreeMap<PathBuf, Bytes> {
        let mut changed: HashMap<Inode, Vec<u8>> = HashMap::new();
        for ((inode, sector), _) in dirty.iter().zip(kept).filter(|(_, kept)| **kept) {
            let live = &self.live[inode];
            let before = self.durable.get(inode).map_or_else(Vec::new, |bytes| bytes.to_vec());
            let bytes = changed.entry(*inode).or_insert(before);
            let (from, to) = (sector * SECTOR, (sector * SECTOR + SECTOR).min(live.len()));
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(&live[from..to]);
        }
        let contents = |inode: &Inode| {
            let changed = changed.get(inode).map(|bytes| Arc::new(bytes.clone()));
            changed.or_else(|| self.durable.get(inode).cloned()).unwrap_or_default()
        };
        names.iter().map(|(path, inode)| (path.clone(), contents(inode))).collect()
    }
}
