//! Which CPUs there are, and what they share.

use crate::cpus::parse_list;
use crate::{ReadError, Root};

/// One CPU as the kernel numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its number.
    pub cpu: usize,
    /// CPUs on the same physical core, itself among them, rising.
    pub siblings: Vec<usize>,
    /// Its NUMA node.
    pub node: usize,
}

/// The CPUs of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// CPUs that are online, rising.
    pub cores: Vec<Core>,
    /// CPUs that this process may use, rising.
    pub allowed: Vec<usize>,
    /// CPUs that the scheduler leaves alone (`isolcpus=`).
    pub isolated: Vec<usize>,
}

const CPU: &str = "/sys/devices/system/cpu";
const NODE: &str = "/sys/devices/system/node";

impl Topology {
    /// Reads it. Siblings and nodes that the kernel does not tell of are taken as none and one.
    pub fn read(root: &Root) -> Result<Self, ReadError> {
        let online = list(root, &format!("{CPU}/online"))?;
        let nodes: Vec<(usize, Vec<usize>)> = root
            .names(NODE)
            .iter()
            .filter_map(|name| name.strip_prefix("node")?.parse().ok())
            .filter_map(|node: usize| Some((node, list(root, &format!("{NODE}/node{node}/cpulist")).ok()?)))
            .collect();
        let cores = online.iter().map(|&cpu| {
            let siblings = list(root, &format!("{CPU}/cpu{cpu}/topology/thread_siblings_list"))
                .ok()
                .filter(|siblings| siblings.contains(&cpu))
                .unwrap_or_else(|| vec![cpu]);
            let node = nodes.iter().find(|(_, cpus)| cpus.contains(&cpu)).map_or(0, |(node, _)| *node);
            Core { cpu, siblings, node }
        });
        let cores: Vec<Core> = cores.collect();
        let allowed = allowed(root)?;
        let isolated = list(root, &format!("{CPU}/isolated")).unwrap_or_default();
        Ok(Self { cores, allowed, isolated })
    }

    /// The CPU's entry.
    pub fn core(&self, cpu: usize) -> Option<&Core> {
        self.cores.iter().find(|core| core.cpu == cpu)
    }

    /// NUMA nodes that have CPUs, rising.
    pub fn nodes(&self) -> Vec<usize> {
        let mut nodes: Vec<usize> = self.cores.iter().map(|core| core.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// One allowed CPU of each physical core, by node and then by number.
    pub fn physical(&self) -> Vec<usize> {
        let mut taken: Vec<usize> = Vec::new();
        let mut firsts: Vec<(usize, usize)> = Vec::new();
        for core in self.cores.iter().filter(|core| self.allowed.contains(&core.cpu)) {
            if !taken.contains(&core.cpu) {
                taken.extend(&core.siblings);
                firsts.push((core.node, core.cpu));
            }
        }
        firsts.sort_unstable();
        firsts.into_iter().map(|(_, cpu)| cpu).collect()
    }
}

/// A file with a list of CPUs.
pub(crate) fn list(root: &Root, path: &str) -> Result<Vec<usize>, ReadError> {
    let text = root.text(path)?;
    parse_list(&text).ok_or_else(|| ReadError::text(path, &text, "list of CPUs"))
}

/// The affinity mask of this process, cpusets included.
fn allowed(root: &Root) -> Result<Vec<usize>, ReadError> {
    const STATUS: &str = "/proc/self/status";
    let status = root.text(STATUS)?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cpus = line.and_then(parse_list).filter(|cpus| !cpus.is_empty());
    cpus.ok_or_else(|| ReadError::text(STATUS, line.unwrap_or("no Cpus_allowed_list"), "list of CPUs"))
}
