//! Kafka, a schema registry and PostgreSQL as they are, each on free ports in a folder of its own, ended when dropped: for
//! tests, benchmarks and `make run-full`. Nothing here is part of the server.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`kafka`] | one Apache Kafka node (KRaft) from Maven's artifacts |
//! | [`registry`] | a schema registry, Apicurio's, from Maven's artifacts |
//! | [`postgres`] | PostgreSQL from Debian's packages, with a streaming replica |

pub mod kafka;
pub mod postgres;
pub mod registry;
