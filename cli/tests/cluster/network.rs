//! A network of the test's own: this process and etcd at 10.77.0.1, each node in a namespace behind a cable that can be
//! pulled. Needs root.

use std::net::IpAddr;
use std::process::Command;

const INSIDE: &str = "FRONTROW_TEST_NETWORK";

/// Whether this process is in it.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs a test of this binary again inside, if that can be. Whether it could.
pub(crate) fn enter(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() || !runs("unshare", &["--net", "ip", "link", "set", "lo", "up"])
    {
        return false;
    }
    let me = std::env::current_exe().expect("it runs");
    let status = Command::new("unshare")
        .arg("--net")
        .arg(me)
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare was just there");
    assert!(status.success(), "inside a network of its own it failed: see above");
    true
}

fn runs(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}

fn ip(words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    let output = Command::new("ip").args(&words).output().expect("iproute2 is there");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Where a node is.
pub(crate) struct Place {
    pub(crate) ip: IpAddr,
    namespace: Option<String>,
    cable: String,
}

/// This process's own end of the network; loopback outside.
pub(crate) fn lay() -> IpAddr {
    if !is_inside() {
        return [127, 0, 0, 1].into();
    }
    for words in
        ["link set lo up", "link add br0 type bridge", "addr add 10.77.0.1/24 dev br0", "link set br0 up"]
    {
        ip(words);
    }
    [10, 77, 0, 1].into()
}

impl Place {
    /// Node `number`'s place, from 0.
    pub(crate) fn new(number: u8) -> Self {
        let cable = format!("cable{number}");
        if !is_inside() {
            return Self { ip: [127, 0, 0, 1].into(), namespace: None, cable };
        }
        let (name, last) = (format!("frontrow-{}-{number}", std::process::id()), number + 2);
        ip(&format!("netns add {name}"));
        ip(&format!("link add {cable} type veth peer name eth0 netns {name}"));
        ip(&format!("link set {cable} master br0 up"));
        ip(&format!("-n {name} addr add 10.77.0.{last}/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        Self { ip: [10, 77, 0, last].into(), namespace: Some(name), cable }
    }

    /// A command that runs there.
    pub(crate) fn command(&self, program: &str) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, program]);
                command
            }
        }
    }

    /// Pulls the cable, or plugs it in.
    pub(crate) fn cut(&self, cut: bool) {
        ip(&format!("link set {} {}", self.cable, if cut { "down" } else { "up" }));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(name) = &self.namespace {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}
