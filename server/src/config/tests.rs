use std::path::PathBuf;

use super::*;

const MACHINE_CPUS: [usize; 4] = [0, 1, 4, 5];

fn machine() -> Machine {
    Machine { cpus: MACHINE_CPUS.to_vec(), open_files: Some(1 << 20), memory: None }
}

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, toml: &str, env: &[(&str, &str)]) -> Reading {
        let path = self.file("frontrow.toml", toml);
        let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        read(Some(&path), env, &machine())
    }

    /// The mistakes with the folder taken out: `frontrow.toml:3: key: message`.
    fn mistakes(&self, toml: &str, env: &[(&str, &str)]) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        self.read(toml, env).mistakes.iter().map(|mistake| mistake.to_string().replace(&folder, "")).collect()
    }
}

#[test]
fn nothing_configured_is_a_development_server_on_loopback() {
    let config = read(None, [], &machine()).into_result().unwrap();
    assert!(config.server.tcp.ip().is_loopback() && config.server.http.ip().is_loopback());
    assert!(config.identity.dev && matches!(config.identity.key, TokenKey::Dev));
    assert_eq!(config.events, EventRules::default());
    assert_eq!(config.server.shard_cpus, [0, 1, 4]);
    assert_eq!((config.server.http_cpus.as_slice(), config.server.log_cpus.as_slice()), (&[5][..], &[][..]));
    assert_eq!(config.server.data, PathBuf::from("data"));
    assert!(config.explain().contains("Every setting has its default"), "{}", config.explain());
}

#[test]
fn the_reference_file_names_every_setting_with_its_default() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tuning/frontrow.toml"));
    let reading = read(Some(path), [], &machine());
    assert_eq!(reading.mistakes, []);
    for setting in &reading.config.settings {
        if setting.default.is_empty() {
            // What has no default (keys, issuer) stands there as a comment.
            let key = setting.key.rsplit('.').next().unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains(&format!("\n# {key} = ")), "{} is not documented", setting.key);
        } else {
            assert_ne!(setting.origin, Origin::Default, "{} is not documented", setting.key);
            assert_eq!(setting.text, setting.default, "{} is documented with another default", setting.key);
        }
    }
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_its_place() {
    let case = Case::new();
    let toml = r#"
[server]
tcp = "localhost:7411"
tpc = "127.0.0.1:1"
engine = "uring"
cores = [0, 9]

[partitions]
count = 0
requests_remembered = 1000

[log]
segment = "1MiB"
backlog = "64KB"

[limits]
frame = "1MiB"
output_queue = "512KiB"
idle = 120

[idnetity]
issuer = "x"

[events]
hold = "5s"
max_per_claim = 9
max_per_user = 3
"#;
    let found = case.mistakes(toml, &[("FRONTROW_LIMITS__IN_FLIGHT", "many"), ("FRONTROW_SERVER_HTTP", "x")]);
    let want = [
        ("frontrow.toml:3: server.tcp: `localhost:7411` is not allowed; give an address and a port", ""),
        ("frontrow.toml:4: server.tpc: there is no such setting", "did you mean server.tcp?"),
        ("frontrow.toml:5: server.engine: `uring` is not allowed", "auto, io_uring, epoll, glommio"),
        ("frontrow.toml:6: server.cores: CPU 9 is not one", "[0, 1, 4, 5]"),
        ("frontrow.toml:9: partitions.count: `0` is not allowed", "from 1 to 1024"),
        ("frontrow.toml:10: partitions.requests_remembered: `1000`", "a power of two"),
        ("frontrow.toml:13: log.segment: 1MiB is less than the 16MiB that follow from limits.frame", ""),
        ("frontrow.toml:14: log.backlog: `64KB` is not allowed", "64MiB"),
        ("frontrow.toml:18: limits.output_queue: 512KiB is less than the 1MiB", "limits.frame"),
        ("frontrow.toml:19: limits.idle: `120` is not allowed", "300s or 5m"),
        ("frontrow.toml:22: idnetity.issuer: there is no such setting", "did you mean identity.issuer?"),
        ("frontrow.toml:25: events.hold: `5s` is not allowed", "from 10s to 1h"),
        ("frontrow.toml:27: events.max_per_user: is out of range", "at least max_per_claim"),
        ("FRONTROW_SERVER_HTTP: a section and its key", "FRONTROW_SERVER__HTTP?"),
        ("FRONTROW_LIMITS__IN_FLIGHT: limits.in_flight: `many` is not allowed", "from 1 to 65536"),
    ];
    assert_eq!(found.len(), want.len(), "{found:#?}");
    for (found, (start, part)) in found.iter().zip(want) {
        assert!(
            found.starts_with(start) && found.contains(part),
            "{found}\n  should begin: {start}\n  and have: {part}"
        );
    }
}

#[test]
fn broken_toml_and_absent_files_say_where() {
    let case = Case::new();
    let found = case.mistakes("[server]\ntcp = \n\n[log\n", &[]);
    assert!(found.iter().any(|it| it.starts_with("frontrow.toml:2: this is not TOML")), "{found:?}");
    assert!(found.iter().any(|it| it.starts_with("frontrow.toml:4: this is not TOML")), "{found:?}");
    let absent = case.folder.path().join("absent.toml");
    let error = read(Some(&absent), [], &machine()).into_result().unwrap_err().to_string();
    assert!(error.contains("absent.toml: the configuration cannot be read"), "{error}");
    assert!(case.mistakes("", &[]).is_empty(), "an empty file is a file of defaults");
    let found = case.mistakes("server = 3\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn the_environment_overrides_the_file_and_says_so() {
    let case = Case::new();
    let toml = "[server]\ncores = 2\n[log]\nsegment = \"32MiB\"\n";
    let env = [
        ("FRONTROW_SERVER__CORES", "[4, 1]"),
        ("FRONTROW_EVENTS__HOLD", "90s"),
        ("FRONTROW_LOG_OUTPUT__LEVEL", "debug"),
        ("FRONTROW_CONFIG", "not ours to judge"),
        ("FRONTROW_SERVICE_HOST", "10.1.2.3"),
        ("FRONTROW_SERVICE_PORT_HTTP", "7410"),
        ("FRONTROW_SERVER_PORT", "tcp://10.1.2.3:7410"),
        ("FRONTROW_SERVER_PORT_7410_TCP_ADDR", "10.1.2.3"),
        ("PATH", "/bin"),
    ];
    let config = case.read(toml, &env).into_result().unwrap();
    assert_eq!(config.server.shard_cpus, [4, 1]);
    assert_eq!(config.events.hold_ms, 90_000);
    assert_eq!(config.log_output.level, "debug");
    let text = config.explain();
    assert!(text.contains("server.cores = [4, 1] (default auto), from FRONTROW_SERVER__CORES"), "{text}");
    assert!(text.contains("log.segment = 32MiB (default 64MiB), from "), "{text}");
    assert!(text.contains("frontrow.toml:4"), "{text}");
    let found = case.mistakes("", &[("FRONTROW_SERVER__TPC", "127.0.0.1:1")]);
    assert_eq!(
        found,
        ["FRONTROW_SERVER__TPC: server.tpc: there is no such setting; did you mean server.tcp?"]
    );
}

#[test]
fn only_loopback_may_do_without_keys() {
    let case = Case::new();
    case.file("token.secret", "0123456789abcdef0123456789abcdef\n");
    case.file("short", "0123");
    let open = "[server]\nhttp = \"0.0.0.0:7410\"\n";
    let keys = "[identity]\nhs256_secret_file = \"token.secret\"\n[admin]\nkey = \"0123456789abcdef0123456789abcdef\"\n";

    let found = case.mistakes(open, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().all(|it| it.contains("bound to 0.0.0.0:7410") && it.contains("openssl rand -hex 32"))
    );
    let config = case.read(&format!("{open}{keys}"), &[]).into_result().unwrap();
    assert!(!config.identity.dev);
    assert!(matches!(&config.identity.key, TokenKey::Hs256(key) if key.bytes().len() == 32));
    let text = format!("{config:?}{}", config.explain());
    assert!(!text.contains("0123456789abcdef"), "a secret is shown: {text}");

    let table = [
        (format!("{open}{keys}[identity.x]\n"), "identity.x: there is no such setting"),
        (
            format!("{open}{}", keys.replace("[identity]", "[identity]\ndev = true")),
            "strangers could make themselves tokens",
        ),
        ("[identity]\ndev = false\n".to_owned(), "identity.dev is off"),
        ("[identity]\nhs256_secret = \"short\"\n".to_owned(), "5 bytes are too few, at least 32"),
        ("[identity]\nhs256_secret_file = \"short\"\n".to_owned(), "4 bytes are too few"),
        ("[identity]\nhs256_secret_file = \"absent\"\n".to_owned(), "cannot be read"),
        ("[identity]\neddsa_public_key_file = \"token.secret\"\n".to_owned(), "is no Ed25519 public key"),
        (
            "[identity]\nhs256_secret_file = \"token.secret\"\nhs256_secret = \"x\"\n".to_owned(),
            "one key only",
        ),
        ("[admin]\nkey = \"x\"\n".to_owned(), "admin.key: 1 byte are too few"),
        ("[admin]\nkey = \"x\"\nkey_file = \"short\"\n".to_owned(), "one key only"),
    ];
    for (toml, want) in table {
        let found = case.mistakes(&toml, &[]);
        assert_eq!(found.len(), 1, "{toml}\n{found:?}");
        assert!(found[0].contains(want), "{found:?} should have {want}");
    }
}

#[test]
fn cores_and_ports_are_held_against_the_machine_and_each_other() {
    let case = Case::new();
    let table = [
        ("cores = 5", "5 shards cannot each have one of 4 CPUs"),
        ("cores = [1, 1]", "CPU 1 is listed twice"),
        ("core_ports = 65534", "3 ports from 65534 go past 65535"),
        ("core_ports = 7409", "server.http: port 7410 is one of the cores' ports 7409 to 7411"),
        ("http = \"127.0.0.1:7411\"", "port 7411 is server.tcp's already"),
    ];
    for (line, want) in table {
        let found = case.mistakes(&format!("[server]\n{line}\n"), &[]);
        assert!(found.iter().any(|it| it.contains(want)), "{line}: {found:?}");
    }
    let config =
        case.read("[server]\npin = false\ncores = 6\n[partitions]\ncount = 6\n", &[]).into_result().unwrap();
    assert_eq!(config.server.shard_cpus, [0, 1, 4, 5, 0, 1]);
    assert!(config.server.http_cpus.is_empty());
    let config = case.read("[server]\npin = false\ncores = 6\n", &[]).into_result().unwrap();
    assert_eq!((config.partitions.count, config.partitions.asked), (32, false));
    assert_eq!([1, 4, 5, 64, 1000].map(Partitions::suggested), [16, 16, 32, 256, 1024]);
    let found = case.mistakes("[partitions]\ncount = 2\n", &[]);
    assert!(found[0].contains("cannot be divided among 3 shards"), "{found:?}");
    let single = read(None, [], &Machine { cpus: vec![3], open_files: Some(1024), memory: None })
        .into_result()
        .unwrap();
    assert_eq!(
        (single.server.shard_cpus.as_slice(), single.server.http_cpus.as_slice()),
        (&[3][..], &[][..])
    );
    assert!(single.explain().contains("raise LimitNOFILE"), "{}", single.explain());
}

#[test]
fn the_threads_beside_the_shards_have_cpus_of_their_own() {
    let case = Case::new();
    let config = case
        .read("[server]\ncores = [0, 1]\nlog_cpus = [4]\nhttp_cpus = [5, 4]\n", &[])
        .into_result()
        .unwrap();
    assert_eq!(
        (config.server.log_cpus.as_slice(), config.server.http_cpus.as_slice()),
        (&[4][..], &[5, 4][..])
    );
    let text = config.explain();
    assert!(text.contains("WebSocket on CPUs [5, 4]") && text.contains("on CPU 4, in segments"), "{text}");
    assert!(!text.contains("HTTP has no CPU without"), "{text}");
    let crowded = case.read("[server]\ncores = [0, 1]\nlog_cpus = [1]\nhttp_cpus = [0]\n", &[]).explain();
    assert!(crowded.contains("every new segment takes one from its shard"), "{crowded}");
    assert!(crowded.contains("HTTP has no CPU without a shard"), "{crowded}");
    // Lists hold without pinned shards too; what is automatic is then left to the system.
    let config = case.read("[server]\npin = false\ncores = 1\nlog_cpus = [4]\n", &[]).into_result().unwrap();
    assert_eq!((config.server.log_cpus.as_slice(), config.server.http_cpus.as_slice()), (&[4][..], &[][..]));
    let found = case.mistakes("[server]\nlog_cpus = [9]\nhttp_cpus = 3\n", &[]);
    assert!(
        found[0].contains("server.log_cpus: CPU 9 is not one") && found[0].contains("[0, 1, 4, 5]"),
        "{found:?}"
    );
    assert!(found[1].contains("server.http_cpus: `3` is not allowed; give auto, or a list"), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn relative_paths_start_at_the_file() {
    let case = Case::new();
    let config = case.read("[server]\ndata = \"d\"\n", &[]).into_result().unwrap();
    assert_eq!(config.server.data, case.folder.path().join("d"));
    let config = case.read("[server]\ndata = \"/var/lib/frontrow\"\n", &[]).into_result().unwrap();
    assert_eq!(config.server.data, PathBuf::from("/var/lib/frontrow"));
}

#[test]
fn explaining_a_wrong_configuration_names_the_mistakes_last() {
    let case = Case::new();
    let text = case.read("[server]\ntpc = 1\n", &[]).explain();
    let (before, mistakes) = text.split_once("would not start. 1 mistake in the configuration:\n").unwrap();
    assert!(before.contains("listen at 127.0.0.1:7411"), "{text}");
    assert_eq!(mistakes.lines().count(), 1, "{text}");
}

#[test]
fn what_the_machine_cannot_give_is_refused_before_the_start() {
    let case = Case::new();
    let file = case.file("data", "not a directory");
    let found = case.mistakes(&format!("[server]\ndata = {file:?}\n"), &[]);
    assert!(found[0].contains("data is no directory; name one"), "{found:?}");
    let path = case.file("frontrow.toml", "[partitions]\ncount = 1024\nrequests_remembered = 16777216\n");
    let small = Machine { memory: Some(24 << 30), ..machine() };
    let found = read(Some(&path), [], &small).mistakes;
    assert!(
        found[0].message.contains("16777216 requests in each of 1024 partitions need 1792GiB"),
        "{found:?}"
    );
    assert!(found[0].message.contains("there is 24GiB of memory; remember fewer"), "{found:?}");
    assert_eq!(read(None, [], &small).mistakes, []);
    let found = read(None, [], &Machine { open_files: Some(20), ..machine() }).mistakes;
    assert!(found[0].message.contains("may have 20 open files, which is too few"), "{found:?}");
    let listen = "[replication]\nlisten = \"127.0.0.1:7410\"\n";
    let found = case.mistakes(listen, &[]);
    assert!(found[0].contains("replication.listen: port 7410 is server.http's already"), "{found:?}");
}

#[test]
fn variables_that_almost_name_a_setting_are_slips() {
    let slips = |name: &str| read(None, [(name.to_owned(), "1".to_owned())], &machine()).mistakes;
    let found = slips("FRONTROW_SERVRE_TCP");
    assert!(found[0].to_string().contains("did you mean FRONTROW_SERVER__TCP?"), "{found:?}");
    for others in ["FRONTROW_URL", "FRONTROW_TOKEN", "FRONTROW_ADMIN_KEY", "FRONTROW_DATA", "FRONTROW_SEED"] {
        assert_eq!(slips(others), [], "{others} is the client's or somebody else's");
    }
}

#[test]
fn a_cluster_needs_addresses_that_lead_here_and_a_standby_that_is_waited_for() {
    let case = Case::new();
    let toml = r#"
[server]
tcp = "0.0.0.0:7411"

[identity]
hs256_secret = "a secret that is at least thirty-two bytes long"

[admin]
key = "a key that is at least thirty-two bytes long, too"

[replication]
listen = "127.0.0.1:7415"

[cluster]
etcd = ["127.0.0.1:2379"]
name = "a/b"
lease = "2500ms"
advertise_http = "here"
"#;
    let mistakes = case.mistakes(toml, &[]);
    for wanted in [
        "cluster.etcd: `127.0.0.1:2379` is no address of etcd; write http://host:2379",
        "cluster.name: has a slash",
        "cluster.lease: is not in whole seconds",
        "cluster.advertise_tcp: is not set, and server.tcp is 0.0.0.0:7411",
        "cluster.advertise_http: has no port",
        "replication.acknowledge: is `local`, so that a standby taking over by itself could lack what was answered",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.contains(wanted)), "{wanted}: {mistakes:#?}");
    }
    let good = r#"
[replication]
listen = "127.0.0.1:7415"
acknowledge = "backup"

[cluster]
etcd = ["http://127.0.0.1:2379", "http://127.0.0.1:3379"]
"#;
    assert_eq!(case.mistakes(good, &[]), [""; 0]);
    let reading = case.read(good, &[("FRONTROW_CLUSTER__ALLOW_LOSS", "true")]);
    assert_eq!(reading.config.cluster.etcd.len(), 2);
    assert!(reading.explain().contains("WHAT WAS ANSWERED LAST MAY BE LOST"), "{}", reading.explain());
    let neither = case.mistakes(&good.replace("\"backup\"", "\"both\""), &[]);
    assert_eq!(neither.len(), 1, "its default is not spoken of: {neither:?}");
    let alone = case.mistakes("[cluster]\netcd = [\"http://127.0.0.1:2379\"]\n", &[]);
    assert!(alone[0].contains("set replication.listen"), "{alone:?}");
}

#[test]
fn kafka_is_told_what_it_may_be_told_and_its_settings_are_not_shown() {
    let case = Case::new();
    let toml =
        "[kafka]\nbrokers = \"k1:9092\"\n[kafka.settings]\n\"sasl.password\" = \"hunter2\"\nlinger.ms = 5\n";
    let config = case.read(toml, &[("FRONTROW_KAFKA__SETTINGS__COMPRESSION__CODEC", "none")]);
    let config = config.into_result().unwrap();
    let told = [("compression.codec", "none"), ("linger.ms", "5"), ("sasl.password", "hunter2")];
    assert_eq!(config.kafka.settings, told.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let explained = config.explain();
    assert!(explained.contains("Kafka at k1:9092") && !explained.contains("hunter2"), "{explained}");
    let wrong = case.mistakes(
        "[log]\ndurability = \"memory\"\n[kafka]\nbrokers = \"k1:9092\"\nsettings = { acks = 1 }\n",
        &[("FRONTROW_KAFKA__PREFIX", "a b")],
    );
    assert!(wrong.iter().any(|it| it.contains("log.durability: is `memory`")), "{wrong:?}");
    assert!(wrong.iter().any(|it| it.contains("kafka.prefix: topics cannot be called")), "{wrong:?}");
    let wrong = case.mistakes("[kafka]\nformat = \"avro\"\n", &[]);
    assert!(wrong.len() == 1 && wrong[0].contains("kafka.registry: is not set"), "{wrong:?}");
    let wrong = case.mistakes("[kafka]\nregistry = \"https://r:8081\"\n", &[]);
    assert!(wrong[0].contains("frontrow.toml:2: kafka.registry: https:// is not spoken"), "{wrong:?}");
    let wrong = case.mistakes("[kafka]\nformat = \"protobuf\"\n", &[]);
    assert!(wrong[0].contains("kafka.format") && wrong[0].contains("json, avro"), "{wrong:?}");
    let avro = "[kafka]\nbrokers = \"k1:9092\"\nformat = \"avro\"\nregistry = \"http://me:hunter2@r:8081\"\n";
    let config = case.read(avro, &[]).into_result().unwrap();
    assert_eq!(config.kafka.client(7).unwrap().registry.as_deref(), Some("http://me:hunter2@r:8081"));
    let explained = config.explain();
    assert!(explained.contains("as Avro") && !explained.contains("hunter2"), "{explained}");
    let wrong = case.mistakes("[kafka]\nsettings = { acks = 1 }\n", &[]);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("frontrow.toml:2: kafka.settings: acks is Frontrow's own to set"), "{wrong:?}");
}
