//! What a configuration would do, in words: `frontrow serve --check`.

use frontrow_kafka::Format;
use std::fmt::Write;

use super::value::{show_bytes, show_duration};
use super::{Acknowledge, BookingTable, Config, Durability, Engine, Origin, Reading, TokenKey, count};

impl Config {
    /// What a server would do with this configuration, and where every value that is not the default
    /// came from. Secrets are not shown.
    pub fn explain(&self) -> String {
        let mut out = String::from("A server would\n");
        for line in self.deeds() {
            let _ = writeln!(out, "  {line}");
        }
        let changed: Vec<_> =
            self.settings.iter().filter(|setting| setting.origin != Origin::Default).collect();
        if changed.is_empty() {
            out.push_str("\nEvery setting has its default.\n");
        } else {
            let _ = writeln!(out, "\n{}:", count(changed.len(), "given setting"));
            for setting in changed {
                let default = if setting.default.is_empty() { "not set" } else { setting.default };
                let _ = writeln!(
                    out,
                    "  {} = {} (default {default}), from {}",
                    setting.key, setting.text, setting.origin
                );
            }
        }
        if !self.notes.is_empty() {
            out.push_str("\nWorth knowing:\n");
            for note in &self.notes {
                let _ = writeln!(out, "  {note}");
            }
        }
        out
    }

    fn deeds(&self) -> Vec<String> {
        let (server, limits) = (&self.server, &self.limits);
        let shards = server.shard_cpus.len();
        let ports = match usize::from(server.core_ports) {
            0 => "any free ports".to_owned(),
            first => format!("ports {first} to {}", first + shards.max(1) - 1),
        };
        let place =
            if server.pin { format!("on CPUs {:?}", server.shard_cpus) } else { "not pinned".to_owned() };
        let on = |cpus: &[usize]| match cpus {
            [] => String::new(),
            [one] => format!(" on CPU {one}"),
            several => format!(" on CPUs {several:?}"),
        };
        let http = on(&server.http_cpus);
        let log = match on(&server.log_cpus) {
            none if none.is_empty() => none,
            cpus => format!(", the log's threads{cpus}"),
        };
        let engine = match server.engine {
            Engine::Auto => "io_uring where allowed, else epoll",
            Engine::IoUring => "io_uring",
            Engine::Epoll => "epoll",
            Engine::Glommio => "glommio",
        };
        let polls = server.busy_poll.map_or_else(String::new, |time| {
            format!(", each looking for work for {} before it sleeps", show_duration(time))
        });
        let keys = match &self.identity.key {
            TokenKey::Dev => "a secret of its own in the data directory (HS256)",
            TokenKey::Hs256(_) => "the configured secret (HS256)",
            TokenKey::EdDsa(_) => "the configured public key (EdDSA)",
        };
        let dev = if self.identity.dev { ", and give out tokens at POST /v1/dev/token" } else { "" };
        let durability = match self.log.durability {
            Durability::Auto => "the best durable way found",
            Durability::Mapped => "a flushed mapping",
            Durability::Direct => "direct writes",
            Durability::Memory => "NOTHING (memory only)",
        };
        let by = match (self.log.durability, server.engine) {
            (Durability::Mapped | Durability::Memory, _) | (_, Engine::Epoll | Engine::Glommio) => {
                ", each shard's by a thread of its own"
            }
            (Durability::Auto | Durability::Direct, Engine::IoUring) => ", from each shard's own ring",
            (Durability::Auto | Durability::Direct, Engine::Auto) => {
                ", from each shard's own ring where io_uring is allowed, else by a thread each"
            }
        };
        let replication = match (self.replication.listen, self.replication.acknowledge) {
            (None, _) => "have no standby: this node's disk is all there is".to_owned(),
            (Some(address), Acknowledge::Local) => {
                format!("copy everything to a standby that connects at {address}, and not wait for it")
            }
            (Some(address), Acknowledge::Backup) => format!(
                "answer when a standby that connects at {address} has it on disk, too; new requests are busy when that takes \
                 longer than {}",
                show_duration(self.replication.busy_after)
            ),
        };
        vec![
            format!(
                "listen at {} (TCP), {} (HTTP and WebSocket{http}), and per core at {ports}",
                server.tcp, server.http
            ),
            format!("run {} {place}, with {engine}{polls}", count(shards, "shard")),
            format!(
                "divide rows over {}, and keep data in {}",
                count(self.partitions.count.into(), "partition"),
                server.data.display()
            ),
            format!("commit through {durability}{by}{log}, in segments of {}", show_bytes(self.log.segment)),
            format!("make snapshots after every {} of log, and trim it", show_bytes(self.log.snapshot_every)),
            replication,
            self.cluster_deed(),
            self.archive_after.map_or_else(
                || "archive closed events when an operator says so".to_owned(),
                |after| format!("archive events {} after their closing", show_duration(after)),
            ),
            match self.bookings.table {
                BookingTable::Embedded => {
                    "keep a table of bookings beside the log, for /v1/bookings".to_owned()
                }
                BookingTable::Off => "keep no table of bookings".to_owned(),
            },
            match &self.kafka.brokers {
                Some(brokers) => {
                    let format = match self.kafka.format {
                        Format::Json => "JSON",
                        Format::Avro => "Avro, with its schema at kafka.registry",
                    };
                    format!(
                        "tell every change to Kafka at {brokers}, topics {}.*, as {format}",
                        self.kafka.prefix
                    )
                }
                None => "tell nothing to Kafka".to_owned(),
            },
            format!("believe tokens signed with {keys}{dev}"),
            format!(
                "take up to {} connections ({} per address), frames of {}, and close them after {} of silence",
                limits.connections,
                if limits.connections_per_address == 0 {
                    "any number".to_owned()
                } else {
                    limits.connections_per_address.to_string()
                },
                show_bytes(limits.frame),
                show_duration(limits.idle),
            ),
        ]
    }
}

impl Config {
    fn cluster_deed(&self) -> String {
        let cluster = &self.cluster;
        if cluster.etcd.is_empty() {
            return "be the primary or a standby as it is told: nothing takes over by itself".to_owned();
        }
        let who = if cluster.allow_loss {
            "any standby that follows, WHAT WAS ANSWERED LAST MAY BE LOST"
        } else {
            "a standby that etcd has on record as having everything"
        };
        format!(
            "be primary of cluster {} while it holds a lease of {} in etcd at {}, else follow who is; without a primary, {who}, \
             takes over; a standby that is away for {} is gone on without",
            cluster.name,
            show_duration(cluster.lease),
            cluster.etcd.join(", "),
            show_duration(cluster.alone_after),
        )
    }
}

impl Reading {
    /// [`Config::explain`], with all mistakes behind it, where a terminal shows them last.
    pub fn explain(&self) -> String {
        if self.mistakes.is_empty() {
            return self.config.explain();
        }
        let mistakes = super::Mistakes(self.mistakes.clone());
        let with_defaults = self.config.explain();
        format!(
            "With defaults in the place of the mistakes named below:\n\n{with_defaults}\nA server would not start. {mistakes}"
        )
    }
}
