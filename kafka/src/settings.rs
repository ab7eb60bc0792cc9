//! Which Kafka, how the topics are called, and what librdkafka is told.

use crate::registry::{BadRegistry, Registry};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;

/// Where changes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `host:port` of some of Kafka's nodes, with commas between.
    pub brokers: String,
    /// What the topics' names begin with.
    pub prefix: String,
    /// How many partitions topics get that are made.
    pub partitions: u16,
    /// On how many nodes Kafka keeps each.
    pub replication: u16,
    /// What librdkafka is told beside, by its names: security, compression, buffers.
    pub client: BTreeMap<String, String>,
    /// How values are written. Whoever reads them needs not be told.
    pub format: Format,
    /// The schema registry's address, as [`Registry::parse`] reads it: to write Avro, and to read what a later version writes.
    pub registry: Option<String>,
    /// Whose changes.
    pub cluster: u128,
}

/// How values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    #[default]
    Json,
    /// As Avro, with the schema at a registry.
    Avro,
}

/// Names of the topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Every change, in the order of its row.
    pub changes: String,
    /// Bookings and cancellations, by user.
    pub bookings: String,
    /// Up to where the log is in the other two.
    pub positions: String,
    /// Records of `bookings` that a reader could do nothing with.
    pub dead: String,
}

/// What librdkafka must not be told by others, for what is promised rests on it.
const OWN: [&str; 21] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "transaction.timeout.ms",
    "transactional.id",
    "delivery.timeout.ms",
];

/// A setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// What is promised rests on it.
    #[error("{0} is Frontrow's own to set, for exactly-once rests on it; remove it")]
    Own(String),
    /// librdkafka does not take it.
    #[error(
        "librdkafka takes no {name} = {value:?}: {why}; its CONFIGURATION.md has all settings (this build has neither TLS nor \
         Kerberos)"
    )]
    Refused {
        /// Which.
        name: String,
        /// As it was given.
        value: String,
        /// librdkafka's words.
        why: String,
    },
    /// A topic cannot be called so.
    #[error("topics cannot be called {0:?}…: use 1 to 200 of letters, digits, '.', '_' and '-'")]
    Prefix(String),
    /// The schema registry's address.
    #[error("{0}")]
    Registry(#[from] BadRegistry),
    /// Avro without a registry.
    #[error(
        "is not set, and kafka.format is \"avro\": set it to the schema registry's address, like http://127.0.0.1:8081, or \
         choose kafka.format = \"json\""
    )]
    NoRegistry,
}

impl Settings {
    /// Whether librdkafka takes what it is told.
    pub fn check(&self) -> Result<(), BadSetting> {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        if self.prefix.is_empty() || self.prefix.len() > 200 || !self.prefix.chars().all(is_fine) {
            return Err(BadSetting::Prefix(self.prefix.clone()));
        }
        if self.registry()?.is_none() && self.format == Format::Avro {
            return Err(BadSetting::NoRegistry);
        }
        for (name, value) in &self.client {
            if OWN.contains(&name.as_str()) {
                return Err(BadSetting::Own(name.clone()));
            }
            let mut alone = ClientConfig::new();
            if let Err(error) = alone.set(name, value).create_native_config() {
                let why = match error {
                    KafkaError::ClientConfig(_, why, ..) => why,
                    other => other.to_string(),
                };
                return Err(BadSetting::Refused { name: name.clone(), value: value.clone(), why });
            }
        }
        Ok(())
    }

    /// The schema registry, if there is one.
    pub(crate) fn registry(&self) -> Result<Option<Registry>, BadSetting> {
        Ok(self.registry.as_deref().map(Registry::parse).transpose()?)
    }

    /// The topics' names.
    pub fn topics(&self) -> Topics {
        let name = |of: &str| format!("{}.{of}", self.prefix);
        Topics {
            changes: name("changes"),
            bookings: name("bookings"),
            positions: name("positions"),
            dead: name("bookings.dead"),
        }
    }

    /// What every client is told.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // A node that answers nothing for so long is asked anew.
        config.set("socket.timeout.ms", "10000").set("reconnect.backoff.max.ms", "1000");
        config.extend(self.client.iter().map(|(name, value)| (name.clone(), value.clone())));
        config.set("bootstrap.servers", &self.brokers).set("client.id", "frontrow");
        config
    }

    /// Who makes topics.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.client()
    }

    /// Who writes. Two with one name cannot both write: the later one fences the earlier one.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        let or = |config: &mut ClientConfig, name: &str, value: &str| {
            if !self.client.contains_key(name) {
                config.set(name, value);
            }
        };
        or(&mut config, "compression.codec", "lz4");
        or(&mut config, "batch.num.messages", "100000");
        // Records go out while others are made, and their memory is used again while it is near: a third of the time of a queue
        // that holds a whole batch (examples/publish).
        or(&mut config, "queue.buffering.max.messages", "8192");
        config
            .set("transactional.id", format!("frontrow-{:032x}", self.cluster))
            .set("transaction.timeout.ms", "60000")
            .set("delivery.report.only.error", "true");
        config
    }

    /// Who sets records aside.
    pub(crate) fn plain_producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("message.timeout.ms", "20000");
        config
    }

    /// Who reads `positions`, or topics as a member of `group`.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest");
        config
    }

    /// Kafka is there, and does not let this one in: what to do about it.
    pub(crate) fn refused(&self, why: impl std::fmt::Display) -> String {
        format!(
            "Kafka at {}: {why}; see who kafka.settings say this is (sasl.*), and what Kafka lets them do; nothing is lost meanwhile",
            self.brokers
        )
    }

    /// Kafka is there, and does not take a record: what to do about it.
    pub(crate) fn not_taken(&self, why: RDKafkaErrorCode) -> String {
        let remedy = if why == RDKafkaErrorCode::MessageSizeTooLarge {
            format!(
                "raise max.message.bytes of the topics {}.* (it is for what is written at once), or write less at once: \
                 message.max.bytes in kafka.settings",
                self.prefix
            )
        } else {
            format!("see the settings of the topics {}.*, and what Kafka's log says", self.prefix)
        };
        format!(
            "Kafka at {} does not take what is written: {why}; {remedy}; nothing is lost meanwhile",
            self.brokers
        )
    }

    /// Kafka is not there: what to do about it.
    pub(crate) fn away(&self, why: impl std::fmt::Display) -> String {
        format!(
            "Kafka at {}: {why}; start it, or set kafka.brokers to where it is; nothing is lost meanwhile",
            self.brokers
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(client: &[(&str, &str)]) -> Settings {
        let client = client.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (brokers, prefix) = ("127.0.0.1:9092".into(), "frontrow".into());
        let (format, registry) = (Format::Json, None);
        Settings { brokers, prefix, partitions: 16, replication: 1, client, format, registry, cluster: 7 }
    }

    #[test]
    fn what_exactly_once_rests_on_is_not_given_away() {
        settings(&[("compression.codec", "none"), ("linger.ms", "3")]).check().unwrap();
        let own = settings(&[("enable.idempotence", "false")]).check().unwrap_err();
        assert!(own.to_string().contains("enable.idempotence is Frontrow's own"), "{own}");
        for (name, value) in [("no.such.thing", "1"), ("linger.ms", "many"), ("security.protocol", "odd")] {
            let refused = settings(&[(name, value)]).check().unwrap_err();
            assert!(matches!(&refused, BadSetting::Refused { .. }) && refused.to_string().contains(name));
        }
        let avro = |registry: Option<&str>| {
            let registry = registry.map(str::to_owned);
            Settings { format: Format::Avro, registry, ..settings(&[]) }.check()
        };
        assert_eq!(avro(None), Err(BadSetting::NoRegistry));
        assert_eq!(avro(Some("https://r:1")), Err(BadSetting::Registry(BadRegistry::Tls)));
        assert_eq!(avro(Some("r:1")), Err(BadSetting::Registry(BadRegistry::Address)));
        assert_eq!(avro(Some("http://r:1")), Ok(()));
        for prefix in ["", "a b", "ü", "a/b"] {
            let settings = Settings { prefix: prefix.into(), ..settings(&[]) };
            assert!(matches!(settings.check(), Err(BadSetting::Prefix(_))), "{prefix}");
        }
    }
}
