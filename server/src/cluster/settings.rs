//! What must be the same on both nodes, by the names of the settings: the primary says it beside its addresses, and a
//! standby compares. A difference shows only when it takes over, which is too late.

use crate::config::{Acknowledge, Config, TokenKey};
use crate::identity::{Expected, Minter};
use std::collections::BTreeMap;

/// By name, as text. Of keys a fingerprint of 32 bits, which says nothing about them but whether they differ.
pub(super) type Settings = BTreeMap<String, String>;

/// This node's.
pub(super) fn of(config: &Config) -> Settings {
    let (partitions, cluster) = (&config.partitions, &config.cluster);
    let local = config.replication.acknowledge == Acknowledge::Local;
    let mut settings: Settings = [
        ("partitions.requests_remembered", partitions.requests_remembered.to_string()),
        ("partitions.waiting", partitions.waiting.to_string()),
        ("partitions.queues", partitions.queues.to_string()),
        ("partitions.section_claims", partitions.section_claims.to_string()),
        ("cluster.lease", format!("{}s", cluster.lease.as_secs())),
        ("cluster.alone_after", format!("{}ms", cluster.alone_after.as_millis())),
        ("cluster.allow_loss", cluster.allow_loss.to_string()),
        ("replication.acknowledge", if local { "local" } else { "backup" }.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let identity = &config.identity;
    let expected =
        Expected { issuer: identity.issuer.clone(), audience: identity.audience.clone(), leeway_s: 0 };
    let tokens = match &identity.key {
        // Each node makes its own.
        TokenKey::Dev => None,
        TokenKey::Hs256(secret) => Some(fingerprint(secret.bytes(), &expected)),
        TokenKey::EdDsa(pem) => Some(fingerprint(pem.trim().as_bytes(), &expected)),
    };
    let operators = config.admin.key.as_ref().map(|key| fingerprint(key.bytes(), &Expected::default()));
    for (name, value) in
        [("the key, issuer or audience of tokens ([identity])", tokens), ("admin.key", operators)]
    {
        settings.extend(value.map(|value| (name.to_owned(), value)));
    }
    settings
}

/// 32 bits of a signature by the key.
fn fingerprint(key: &[u8], expected: &Expected) -> String {
    format!("{:08x}", crc32c::crc32c(Minter::new(key, expected).mint(0, 0, 0).as_bytes()))
}

/// What is not the same, each with both values. What only one release has is not compared.
pub(super) fn differences(here: &Settings, there: &Settings) -> Vec<String> {
    let differs = |(name, here): (&String, &String)| {
        let there = there.get(name).filter(|there| *there != here)?;
        Some(format!("{name} is {here} here and {there} at the primary"))
    };
    here.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_with_both_values_and_keys_are_not_told() {
        let key = |text: &str| fingerprint(text.as_bytes(), &Expected::default());
        let settings = |lease: &str, tokens: &str| -> Settings {
            [("cluster.lease", lease.to_owned()), ("tokens", key(tokens))]
                .map(|(k, v)| (k.to_owned(), v))
                .into()
        };
        let (one, other) = (settings("3s", "a secret"), settings("5s", "a secret"));
        assert!(differences(&one, &one).is_empty() && differences(&one, &Settings::new()).is_empty());
        assert_eq!(differences(&one, &other), ["cluster.lease is 3s here and 5s at the primary"]);
        assert_eq!(differences(&one, &settings("3s", "another secret")).len(), 1);
        assert_eq!(key("a secret").len(), 8);
    }
}
