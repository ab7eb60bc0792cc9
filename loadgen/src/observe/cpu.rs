//! Who uses the CPUs of the load's machine.

use procfs::CurrentSI;
use procfs::process::Process;

/// CPU time used so far, in seconds. The kernel counts it in hundredths.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuUse {
    /// By everybody, user and system.
    all_s: f64,
    /// By this process.
    own_s: f64,
}

/// CPUs kept busy in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuShare {
    /// By the load.
    pub load: f64,
    /// By all but the load and the server.
    pub others: f64,
}

impl CpuUse {
    /// So far; zero where the system does not tell.
    pub fn now() -> Self {
        let tick = 1.0 / procfs::ticks_per_second() as f64;
        let all = procfs::KernelStats::current().map_or(0, |stats| {
            let all = stats.total;
            all.user + all.nice + all.system + all.irq.unwrap_or(0) + all.softirq.unwrap_or(0)
        });
        let own = Process::myself().and_then(|me| me.stat()).map_or(0, |stat| stat.utime + stat.stime);
        Self { all_s: all as f64 * tick, own_s: own as f64 * tick }
    }

    /// From `earlier` to this, `seconds` apart. `server` is how many CPUs the server took, if it is here, and
    /// `inside` whether it runs in this process.
    pub fn since(&self, earlier: &Self, seconds: f64, server: Option<f64>, inside: bool) -> CpuShare {
        let seconds = seconds.max(1e-3);
        let own = (self.own_s - earlier.own_s) / seconds;
        let all = (self.all_s - earlier.all_s) / seconds;
        let server = server.unwrap_or(0.0);
        let load = if inside { (own - server).max(0.0) } else { own };
        CpuShare { load, others: (all - load - server).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_others() {
        let (then, now) = (CpuUse { all_s: 10.0, own_s: 1.0 }, CpuUse { all_s: 13.0, own_s: 2.0 });
        let share = now.since(&then, 2.0, Some(0.75), false);
        assert_eq!(share, CpuShare { load: 0.5, others: 0.25 });
        let inside = now.since(&then, 2.0, Some(0.4), true);
        assert!((inside.load - 0.1).abs() < 1e-9 && (inside.others - 1.0).abs() < 1e-9, "{inside:?}");
        assert!(CpuUse::now().all_s > 0.0);
    }
}
