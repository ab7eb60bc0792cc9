//! The files that are handed out are what they say.

use frontrow_server::config::{self, Machine};
use frontrow_tuning::{need, preset};
use std::path::Path;
use std::process::Command;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).expect(name)
}

#[test]
fn every_preset_is_a_configuration_that_runs() {
    for preset in preset::ALL {
        for cpus in [1, 2, 16] {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("presets").join(format!("{}.toml", preset.name));
            let machine = Machine { cpus: (0..cpus).collect(), open_files: None, memory: None };
            let reading = config::read(Some(&path), [], &machine);
            assert_eq!(reading.mistakes, [], "{}", preset.name);
            assert!(preset.text.starts_with(&format!("# Frontrow preset: {}.", preset.name)));
        }
    }
    assert!(preset::find("numa").is_some() && preset::find("nume").is_none());
}

#[test]
fn what_presets_say_of_memory_is_so() {
    for (name, most) in [("laptop", 230 << 20), ("container", 1200 << 20)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("presets/{name}.toml"));
        let machine = Machine { cpus: vec![0, 1], open_files: None, memory: None };
        let memory = need::Memory::of(&config::read(Some(&path), [], &machine).config);
        assert!(memory.total() <= most, "{name}: {memory:?}");
    }
}

#[test]
fn the_seccomp_profile_lets_the_ring_through() {
    let profile: serde_json::Value = serde_json::from_str(&file("container/seccomp.json")).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let allowed = |call: &str| {
        let rules = profile["syscalls"].as_array().expect("rules");
        rules.iter().any(|rule| {
            let plain = |key: &str| rule[key].as_object().is_none_or(serde_json::Map::is_empty);
            let names = rule["names"].as_array().expect("names");
            rule["action"] == "SCMP_ACT_ALLOW"
                && names.iter().any(|name| name == call)
                && plain("includes")
                && plain("excludes")
        })
    };
    for call in
        ["io_uring_setup", "io_uring_enter", "io_uring_register", "sched_setaffinity", "fdatasync", "futex"]
    {
        assert!(allowed(call), "{call}");
    }
    for call in ["mount", "unshare", "keyctl", "bpf", "init_module"] {
        assert!(!allowed(call), "{call}");
    }
}

#[test]
fn the_sysctl_file_has_a_name_and_a_value_a_line() {
    for line in
        file("sysctl/90-frontrow.conf").lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (name, value) = line.split_once(" = ").expect(line);
        assert!(name.contains('.') && !value.is_empty(), "{line}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    let unit = file("systemd/frontrow.service");
    for part in
        ["LimitNOFILE=", "LimitMEMLOCK=", "Restart=on-failure", "ProtectSystem=strict", "CPUAffinity="]
    {
        assert!(unit.contains(part), "{part}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("frontrow.service");
    // Verifying wants the program to be there.
    std::fs::write(&path, unit.replace("/usr/local/bin/frontrow", "/bin/true")).expect("written");
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().expect("ran");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("frontrow.service"), "{said}");
}
