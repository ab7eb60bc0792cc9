//! Ready configurations.

/// Name, one line about it, and the file.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The whole file.
    pub text: &'static str,
}

/// All there are.
pub const ALL: [Preset; 5] = [
    Preset {
        name: "laptop",
        about: "for trying things: one shard, little memory and disk",
        text: include_str!("../presets/laptop.toml"),
    },
    Preset {
        name: "one-box",
        about: "a machine of its own: a shard on every CPU but one",
        text: include_str!("../presets/one-box.toml"),
    },
    Preset {
        name: "numa",
        about: "one memory node of a large machine, started with numactl",
        text: include_str!("../presets/numa.toml"),
    },
    Preset {
        name: "container",
        about: "two CPUs' worth of a shared machine, not pinned",
        text: include_str!("../presets/container.toml"),
    },
    Preset {
        name: "replicated",
        about: "data on a replicated volume (DRBD, a cloud's disk), where a sync takes milliseconds",
        text: include_str!("../presets/replicated.toml"),
    },
];

/// The preset of this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}
